"""Real files, all of them: each reads as the table and an independent reader say, or is refused."""

import re
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from microtome_core.errors import InputError, SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.source import Description, Source
from microtome_ingest.sources import hdf5
from tests.counted import Counted
from tests.ingest.expectations import Expected, Image, manifest, parametrized, sources, table
from tests.ingest.judges import JUDGES, arrays
from tests.trial import boxes

pytestmark = pytest.mark.samples


def test_no_file_is_left_out(samples: Path) -> None:
    """Each file of the manifest is a row of the table, lies in a folder that is one, or belongs to
    one; and each row is about a file.
    """
    known = sources()
    beside = {f"{name.rpartition('/')[0]}/{o}" for name, row in known.items() for o in row.beside}
    for name in manifest():
        parents = {str(parent) for parent in Path(name).parents}
        assert name in known or parents & set(known) or name in beside, f"{name}: not in the table"
    for name in table():
        there = samples / name.partition("::")[0]
        assert "*" in name or there.exists(), f"{name}: not among the samples"
    judges = {row.judge for row in known.values() if row.images and not row.unreadable}
    assert judges <= set(JUDGES)


@pytest.mark.parametrize(("name", "expected"), parametrized(readable=False))
def test_what_cannot_be_read_is_refused(samples: Path, name: str, expected: Expected) -> None:
    """Damage, other kinds of files and voxels that are not stored are errors that say so."""
    with pytest.raises(InputError, match=expected.refused) as caught:
        open_source(str(samples / name), 0)
    assert Path(name).name in str(caught.value)


@pytest.mark.parametrize(("name", "expected"), parametrized(readable=True))
def test_each_source_reads_as_expected(samples: Path, name: str, expected: Expected) -> None:
    """Axes, shape, type, sizes and channels are the table's, voxels the independent reader's; of
    large images those at the beginning, in the middle and at the end.
    """
    path = samples / name
    listed = scenes(str(path))
    assert len(listed) == len(expected.images)
    if len(listed) > 1:
        with pytest.raises(SourceError, match="--scene N"):
            open_source(str(path))
    for scene, image in zip(listed, expected.images, strict=True):
        with closing(open_source(str(path), scene.index)) as source:
            found = source.description
            assert (found.format, told(found)) == (expected.format, image)
            assert (scene.axes, scene.shape) == (found.axes, found.shape)
            if expected.unreadable:
                with pytest.raises(SourceError, match=expected.unreadable):
                    whole(source)
                continue
            letters, judged = JUDGES[expected.judge](path, scene.index)
            assert not letters or letters == found.axes
            assert found.shape == judged.shape
            for box in boxes(found.axes, found.shape, judged.dtype.itemsize):
                voxels = source.read(box)
                assert voxels.dtype == judged.dtype.newbyteorder("=")
                np.testing.assert_array_equal(voxels, judged[box.slices])


@pytest.mark.parametrize(("name", "expected"), parametrized(readable=True))
def test_the_table_agrees_with_the_manifest(name: str, expected: Expected) -> None:
    """Shapes that somebody else verified are those that are expected."""
    facts = manifest().get(name, "")
    if expected.judge == "tifffile":
        for image in expected.images[:3]:
            shape = tuple(image.shape)
            assert f"{image.axes.upper()}{shape}{image.dtype}" in facts.replace(" lsm", "")
    if expected.judge == "h5py":
        shapes = {tuple(image.shape) for image in expected.images}
        verified = re.findall(r"\((\d+(?:, \d+)+)\)(?:[<>][uif]\d|u?int|float)", facts)
        assert {tuple(map(int, one.split(", "))) for one in verified} <= shapes


@pytest.mark.parametrize("name", [n for n in manifest() if n.endswith((".h5", ".ims", ".nwb"))])
def test_every_array_of_an_hdf5_file_reads_here_and_from_afar(samples: Path, name: str) -> None:
    """Whatever program wrote it, ``::/path`` reads what h5py does; a file without arrays of numbers
    lists what it has.
    """
    path, expected = str(samples / name), arrays(samples / name)
    Counted.reset()
    for place in (path, Counted.put(Path(name).name, Path(path).read_bytes())):
        if not expected:
            with pytest.raises(SourceError, match="two axes or more; it holds"):
                hdf5.scenes(place)
            continue
        assert [scene.name for scene in hdf5.scenes(place)] == list(expected)
        for inside, array in expected.items():
            with closing(open_source(f"{place}::{inside}")) as source:
                assert source.description.format == "HDF5"
                np.testing.assert_array_equal(whole(source), array)


def told(found: Description) -> Image:
    """Return what a source says of itself in the words of the table."""
    names = [channel.name or "" for channel in found.channels]
    return Image(
        axes=found.axes,
        shape=list(found.shape),
        dtype=found.dtype,
        voxel_size={axis: pytest.approx(size) for axis, size in found.voxel_size.items()},
        unit=found.unit,
        time_step=found.time_step and pytest.approx(found.time_step),
        channels=names if any(names) else [],
    )


def whole(source: Source) -> NDArray[Any]:
    """Read all of an image."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))
