"""Real files through the whole ingest: what is stored is what an independent reader sees."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import zarr

from microtome_cli.main import main
from microtome_core.names import LayerId
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_ingest.formats import open_source
from microtome_ingest.resolve import missing
from microtome_ingest.source import Description
from tests.ingest.expectations import Expected, parametrized
from tests.ingest.judges import JUDGES

pytestmark = pytest.mark.samples

LAYER = LayerId("samples", "real", "file")


def answers(found: Description) -> list[str]:
    """Return the options that such a file needs: open axes are taken from the back, z first."""
    words = []
    if not set(found.axes) <= set("tczyxs"):
        words += ["--axes", letters(found.axes)]
    return [*words, "--unit", "pixel"] if not found.voxel_size or missing(found) else words


def letters(axes: str) -> str:
    """Return known letters in place of open ones."""
    spare = [axis for axis in "yxztcs" if axis not in axes]
    opened = [i for i, axis in enumerate(axes) if axis not in "tczyxs"]
    chosen = dict(zip(opened, sorted(spare[: len(opened)], key="tczyx".index), strict=True))
    return "".join(chosen.get(i, axis) for i, axis in enumerate(axes))


@pytest.mark.parametrize(("name", "expected"), parametrized(readable=True, large="slow"))
def test_what_is_stored_is_what_the_file_holds(
    samples: Path, tmp_path: Path, name: str, expected: Expected
) -> None:
    """Each readable image becomes a layer with the file's voxels, as zarr-python reads them."""
    path = samples / name
    if expected.unreadable:
        words = ["ingest", str(path), str(tmp_path), "--as", str(LAYER), "--unit", "pixel"]
        assert main(words) == 2
        return
    for index in range(len(expected.images)):
        with closing(open_source(str(path), index)) as source:
            found = source.description
        root = tmp_path / str(index)
        words = ["ingest", str(path), str(root), "--as", str(LAYER), "--scene", str(index)]
        assert main([*words, *answers(found)]) == 0
        stored = np.asarray(zarr.open_array(f"{root}/{LAYER}/0", mode="r")[...])
        judged = JUDGES[expected.judge](path, index)[1]
        axes = letters(found.axes)
        judged = judged.transpose([axes.index(axis) for axis in "tcszyx" if axis in axes])
        assert stored.dtype == judged.dtype.newbyteorder("=")
        assert np.array_equal(stored.squeeze(), judged.squeeze())
        assert read_layer(Store(str(root)), LAYER).info.dtype == stored.dtype.name


@pytest.mark.parametrize(("name", "expected"), parametrized(readable=False))
def test_what_is_refused_leaves_nothing(
    samples: Path, tmp_path: Path, name: str, expected: Expected
) -> None:
    """A source that cannot be read ends with exit code 2."""
    assert main(["ingest", str(samples / name), str(tmp_path), "--as", str(LAYER)]) == 2
    assert list(tmp_path.iterdir()) == []
