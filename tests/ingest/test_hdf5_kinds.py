"""Which program wrote an HDF5 file, and that ``::/path`` is an array of it all the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microtome_core.errors import SourceError
from microtome_ingest.files import Files
from microtome_ingest.formats import open_source
from microtome_ingest.sources.hdf5_kinds import kind_of
from tests.ingest.test_hdf5 import ARRAY, Make, dataset, saved, whole, written


def imaris(file: Any) -> None:  # noqa: ANN401
    """Write what tells an Imaris file."""
    file.attrs["ImarisDataSet"] = np.array([b"D", b"a"])
    file["DataSet/Data"] = ARRAY


def viewer(file: Any) -> None:  # noqa: ANN401
    """Write an array where BigDataViewer has it."""
    file["t00000/s00/0/cells"] = ARRAY.astype("int16")


def neurodata(file: Any) -> None:  # noqa: ANN401
    """Write what tells an NWB file."""
    file.attrs["nwb_version"] = "2.7.0"
    file["acquisition/a/data"] = ARRAY


@pytest.mark.parametrize(
    ("make", "inside", "kind"),
    [
        (imaris, "/DataSet/Data", "imaris"),
        (viewer, "/t00000/s00/0/cells", "bdv"),
        (neurodata, "/acquisition/a/data", "nwb"),
        (dataset(), "/group/voxels", "hdf5"),
    ],
)
def test_a_path_always_means_the_array_as_stored(
    tmp_path: Path, make: Make, inside: str, kind: str
) -> None:
    """Whatever wrote the file; a note says where its program means more than the array."""
    path = saved(tmp_path, make)
    assert kind_of(path, Files()) == kind
    found = open_source(f"{path}::{inside}")
    assert found.description.format == "HDF5"
    np.testing.assert_array_equal(whole(found), ARRAY)
    assert ["as it is stored" in note for note in found.description.notes] == [True] * (
        kind != "hdf5"
    )


@pytest.mark.parametrize(
    ("at", "text"), [(0, "is empty|truncated|file signature"), (700, r"a\.h5"), (-1, r"a\.h5")]
)
def test_the_kind_of_a_damaged_file_is_an_error(tmp_path: Path, at: int, text: str) -> None:
    """A file that cannot be opened has no kind."""
    path = tmp_path / "a.h5"
    path.write_bytes(written(dataset())[:at])
    with pytest.raises(SourceError, match=text):
        kind_of(str(path), Files())
