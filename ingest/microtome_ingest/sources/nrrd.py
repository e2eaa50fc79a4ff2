"""NRRD: attached or detached, in one data file or many, raw, gzip, bzip2, text or hexadecimal.

Source of the format: Teem, "Definition of NRRD File Format". The fastest axis comes first in its
headers, so the axes of the description are theirs in reverse.
"""

from microtome_core.errors import SourceError
from microtome_core.grid import Grid
from microtome_ingest.files import Files
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.nrrd_data import pieces
from microtome_ingest.sources.nrrd_facts import facts, stored_type
from microtome_ingest.sources.nrrd_header import read_header
from microtome_ingest.sources.raw_source import RawSource


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> RawSource:
    """Open the array of a ``.nrrd`` or ``.nhdr`` file.

    Raises
    ------
    SourceError
        Damage, a header that claims more than its files hold or less, data files outside of its
        folder, fewer than two axes, or voxels of a type that microtome does not store.
    """
    files = files or Files()
    if scene not in (None, 0):
        raise SourceError(path, f"has no scene {scene}: it holds one array")
    with strict(path):
        with files.open(path) as data:
            header = read_header(data)
        found, stored = facts(header), stored_type(header)
        parts, cell = pieces(header, files, stored)
    shape = header.sizes[::-1]
    count = 3 if found.axes[-1] == "s" and len(shape) > 2 else 2
    description = Description(
        format="NRRD",
        axes=found.axes,
        shape=shape,
        dtype=stored.newbyteorder("=").name,
        block=(1,) * (len(shape) - count) + shape[-count:],
        files=tuple(dict.fromkeys((path, *(part.path for part in parts)))),
        voxel_size=found.voxel_size,
        unit=found.unit,
        time_step=found.time_step,
        metadata=found.metadata,
        notes=found.notes,
    )
    return RawSource(description, files, stored, parts, Grid(found.axes, shape, cell))


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """Return the one array."""
    found = open_image(path, files=files).description
    return (Scene(0, "", found.axes, found.shape, found.dtype),)
