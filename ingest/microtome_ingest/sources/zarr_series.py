"""The OME-XML that bioformats2raw puts beside the images that it converts.

Source: https://ngff.openmicroscopy.org/0.5, "bioformats2raw.layout": ``OME/METADATA.ome.xml``
describes the images in the order of ``series``, or of their numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from microtome_core.errors import SourceError
from microtome_ingest.source import SourceChannel
from microtome_ingest.sources import ome_xml
from microtome_ingest.sources.chunk_folder import Folder, joined
from microtome_ingest.sources.zarr_nodes import read_node

_DOCUMENT = "OME/METADATA.ome.xml"


@dataclass(frozen=True, slots=True)
class Series:
    """What OME-XML says of one image; nothing where there is none."""

    files: tuple[str, ...] = ()
    channels: tuple[SourceChannel, ...] = ()
    time_step: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def series_of(folder: Folder, inside: str) -> Series:
    """Return what the OME-XML above the group of an image says of it."""
    above, _, name = inside.rpartition("/")
    group = read_node(folder, above) if name else None
    if group is None or group.ome.get("bioformats2raw.layout") is None:
        return Series()
    document = joined(above, _DOCUMENT)
    data = folder.read(document)
    if data is None:
        return Series()
    listed = read_node(folder, joined(above, "OME"))
    names = listed.ome.get("series") if listed is not None else None
    try:
        xml = data.decode()
        images = ome_xml.images(ome_xml.parse(xml, document), document, "MetadataOnly")
        image = images[names.index(name) if isinstance(names, list) else int(name)]
    except (SourceError, ValueError, LookupError) as error:
        return Series(notes=(f"{document} is left out: {error}",))
    return Series(
        (folder.file(document),),
        image.channels,
        image.time_step,
        {**image.metadata, "OME": xml},
        image.notes,
    )


def merged(
    own: tuple[SourceChannel, ...], theirs: tuple[SourceChannel, ...], count: int
) -> tuple[SourceChannel, ...]:
    """Return channels as the store has them, with what OME-XML adds."""
    if len(theirs) != count:
        return own
    if not own:
        return theirs
    return tuple(
        SourceChannel(
            mine.name or their.name,
            mine.color or their.color,
            mine.window or their.window,
            {**their.metadata, **mine.metadata},
        )
        for mine, their in zip(own, theirs, strict=True)
    )
