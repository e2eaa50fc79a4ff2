"""Real files through the whole ingest: what is stored is what an independent reader sees."""

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import SourceError
from microtome_core.names import LayerId
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.source import Description

pytestmark = pytest.mark.samples

KINDS = (".tif", ".tiff", ".svs", ".npy", ".npz")
LAYER = LayerId("samples", "real", "file")


def files() -> list[Any]:
    """Return every TIFF, NPY and NPZ file of the manifest."""
    folder = os.environ.get("MICROTOME_SAMPLES")
    if not folder:
        return [pytest.param("", id="no-samples")]
    lines = (Path(folder) / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()[1:]
    names = [line.split("\t")[0] for line in lines]
    return [pytest.param(name, id=name) for name in names if name.lower().endswith(KINDS)]


def answers(found: Description) -> list[str]:
    """Return the options that such a file needs: open axes are taken from the back, z first."""
    words = []
    if not set(found.axes) <= set("tczyxs"):
        spare = [axis for axis in "yxztcs" if axis not in found.axes]
        opened = [i for i, axis in enumerate(found.axes) if axis not in "tczyxs"]
        letters = dict(zip(opened, sorted(spare[: len(opened)], key="tczyx".index), strict=True))
        words += ["--axes", "".join(letters.get(i, a) for i, a in enumerate(found.axes))]
    return words if found.voxel_size else [*words, "--unit", "pixel"]


@pytest.mark.parametrize("name", files())
def test_what_is_stored_is_what_the_file_holds(samples: Path, tmp_path: Path, name: str) -> None:
    """Each readable image becomes a layer with the file's voxels, as zarr-python reads them; each
    damaged one is refused with exit code 2 and leaves nothing.
    """
    path = samples / name
    try:
        found = scenes(str(path))
    except SourceError:
        assert main(["ingest", str(path), str(tmp_path), "--as", str(LAYER)]) == 2
        assert list(tmp_path.iterdir()) == []
        return
    for scene in found:
        with closing(open_source(str(path), scene.index)) as source:
            options = answers(source.description)
        root = tmp_path / str(scene.index)
        words = ["ingest", str(path), str(root), "--as", str(LAYER), "--scene", str(scene.index)]
        assert main([*words, *options]) == 0
        check(path, scene.index, root)


def check(path: Path, scene: int, root: Path) -> None:
    """Compare a layer with what tifffile or numpy read."""
    info = read_layer(Store(str(root)), LAYER).info
    stored = np.asarray(zarr.open_array(f"{root}/{LAYER}/0", mode="r")[...])
    expected, letters = independent(path, scene)
    assert stored.dtype == expected.dtype.newbyteorder("=")
    if set(letters) <= set("tczyxs"):
        expected = expected.transpose([letters.index(axis) for axis in "tcszyx" if axis in letters])
    assert np.array_equal(stored.squeeze(), expected.squeeze())
    assert info.dtype == stored.dtype.name


def independent(path: Path, scene: int) -> tuple[NDArray[Any], str]:
    """Return one image's voxels and its axes as another reader has them."""
    if path.suffix == ".npy":
        array = np.load(path)
        return array, "tczyx"[-array.ndim :]
    if path.suffix == ".npz":
        with np.load(path) as archive:
            array = archive[archive.files[scene]]
            return array, "tczyx"[-array.ndim :]
    if "multifile-Z" in path.name:
        planes = [tifffile.imread(path.parent / f"multifile-Z{z}.ome.tiff") for z in range(1, 6)]
        return np.stack(planes), "zyx"
    with tifffile.TiffFile(path) as tif:
        series = tif.series[scene]
        return series.asarray(), series.axes.lower()
