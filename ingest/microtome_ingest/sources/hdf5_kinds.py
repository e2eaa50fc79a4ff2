"""Which program wrote an HDF5 file, by what lies at its root."""

from typing import Any

from microtome_ingest.files import Files
from microtome_ingest.sources.hdf5_file import Hdf5File


def kind_of(path: str, files: Files) -> str:
    """Return ``imaris``, ``bdv``, ``nwb`` or ``hdf5``."""
    file = Hdf5File(files.open(path))
    try:
        return str(file.call(_kind))
    finally:
        file.close()


def _kind(file: Any) -> str:  # noqa: ANN401 - h5py has no types
    return "hdf5"
