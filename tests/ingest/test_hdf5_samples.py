"""Real HDF5 files: each array of numbers reads as h5py reads it and as the manifest says.

Whatever program wrote them: files of Imaris, BigDataViewer and NWB are HDF5 too, by ``::/path``.
"""

import os
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_ingest.formats import open_source
from microtome_ingest.sources.hdf5 import scenes
from tests.counted import Counted
from tests.ingest.test_hdf5 import whole


def facts() -> list[Any]:
    """Return file and verified facts of every HDF5 sample."""
    folder = os.environ.get("MICROTOME_SAMPLES")
    if not folder:
        return [pytest.param("", "", id="no-samples")]
    lines = (Path(folder) / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()[1:]
    cells = [line.split("\t") for line in lines]
    kinds = (".h5", ".nwb", ".ims")
    return [pytest.param(row[0], row[5], id=row[0]) for row in cells if row[0].endswith(kinds)]


@pytest.mark.samples
@pytest.mark.parametrize(("name", "verified"), facts())
def test_every_sample_reads_as_h5py_does_or_is_refused(
    samples: Path, name: str, verified: str
) -> None:
    """Each array of numbers is h5py's and the manifest's, here and from afar; a file without one
    lists what it has.
    """
    path = str(samples / name)
    expected = arrays(path)
    Counted.reset()
    for place in (path, Counted.put(Path(name).name, Path(path).read_bytes())):
        if not expected:
            with pytest.raises(SourceError, match="two axes or more; it holds"):
                scenes(place)
            continue
        found = scenes(place)
        assert [scene.name for scene in found] == list(expected)
        shapes = {(scene.name.strip("/"), scene.shape) for scene in found}
        assert in_manifest(verified) <= shapes
        for scene in found:
            source = open_source(f"{place}::{scene.name}")
            assert source.description.format == "HDF5"
            np.testing.assert_array_equal(whole(source), expected[scene.name])
            source.close()


def arrays(path: str) -> dict[str, NDArray[Any]]:
    """Return all arrays of numbers with two axes at least, as h5py reads them."""
    found: dict[str, NDArray[Any]] = {}

    def visit(name: str, item: object) -> None:
        image = isinstance(item, h5py.Dataset) and len(item.shape) > 1 and item.size
        if image and item.dtype.kind in "iuf" and not item.dtype.subdtype:
            found[f"/{name}"] = item[...]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def in_manifest(verified: str) -> set[tuple[str, tuple[int, ...]]]:
    """Return the arrays of numbers with two axes at least that the manifest names."""
    rows = re.findall(r"([^;]+)\((\d+(?:, \d+)+)\)(?:[<>][uif]\d|u?int|float)", verified)
    return {
        (name.rpartition("datasets: ")[2].strip(), tuple(map(int, extents.split(", "))))
        for name, extents in rows
        if "0" not in extents.split(", ")
    }
