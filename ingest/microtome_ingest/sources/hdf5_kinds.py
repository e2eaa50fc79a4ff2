"""Which program wrote an HDF5 file, by what lies at its root."""

import re
from typing import Any, Literal

import h5py  # type: ignore[import-untyped]

from microtome_ingest.files import Files
from microtome_ingest.sources.hdf5_file import Hdf5File

Kind = Literal["imaris", "bdv", "nwb", "hdf5"]

_TIME_POINT = re.compile(r"t\d{5,}")
_SETUP = re.compile(r"s\d{2,}")


def kind_of(path: str, files: Files) -> Kind:
    """Return the kind of a file.

    Raises
    ------
    SourceError
        Damage.
    StorageError
        A service that may answer later.
    """
    file = Hdf5File(files.open(path))
    try:
        return file.call(kind)
    finally:
        file.close()


def kind(file: Any) -> Kind:  # noqa: ANN401 - h5py has no types
    """Return which program's layout an ``h5py.File`` has; ``hdf5`` for any other."""
    if "ImarisDataSet" in file.attrs:
        return "imaris"
    # Version 1 of NWB keeps its version in a dataset, and is laid out otherwise.
    if "nwb_version" in file.attrs:
        return "nwb"
    times = [name for name in map(str, file) if _TIME_POINT.fullmatch(name)]
    setups = (name for name in map(str, file) if _SETUP.fullmatch(name))
    if times and any(at(file, f"{name}/resolutions") for name in setups):
        return "bdv"
    first = at(file, times[0]) if times else None
    views = [name for name in map(str, first or ()) if _SETUP.fullmatch(name)]
    return "bdv" if any(at(first, f"{name}/0/cells") for name in views) else "hdf5"


def at(group: Any, path: str) -> Any:  # noqa: ANN401
    """Return what lies at a path without following links, or None."""
    for name in path.split("/"):
        direct = isinstance(group, h5py.Group) and isinstance(
            group.get(name, getlink=True), h5py.HardLink
        )
        if not direct:
            return None
        group = group[name]
    return group
