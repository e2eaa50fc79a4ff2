"""NWB files: every image series, picture and stack of masks, in the axes of the schema.

Source of the format: Neurodata Without Borders, NWB core schema 2.x, which lays the voxels of a
series out as ``frame, x, y`` or ``frame, x, y, z``.
"""

from functools import partial
from typing import Any

from microtome_core.errors import SourceError
from microtome_ingest.files import Files
from microtome_ingest.source import Description, Scene
from microtome_ingest.sources import hdf5_facts
from microtome_ingest.sources import nwb_facts as facts
from microtome_ingest.sources import nwb_microscopy as microscopy
from microtome_ingest.sources.hdf5_file import Hdf5Files
from microtome_ingest.sources.hdf5_find import listing
from microtome_ingest.sources.hdf5_source import Hdf5Source
from microtome_ingest.sources.hdf5_storage import Piece
from microtome_ingest.sources.members import choose
from microtome_ingest.sources.nwb_find import Contents, Image, contents
from microtome_ingest.sources.times import Times

_COLOURS = (3, 4)


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the images whose voxels are in the file."""
    with Hdf5Files(files or Files()) as books:
        found = _contents(books, path)
        described = [_described(books, path, image, ())[0] for image in found.images]
    return tuple(Scene(i, d.image, d.axes, d.shape, d.dtype) for i, d in enumerate(described))


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> Hdf5Source:
    """Open an image.

    Raises
    ------
    SourceError
        Damage, no images (the message names the files that have them), several and none chosen, or
        voxels in another file.
    """
    books = Hdf5Files(files or Files())
    with books.closing_on_error():
        found = _contents(books, path)
        image = found.images[choose(path, [one.owner for one in found.images], scene)]
        description, piece = _described(books, path, image, found.others)
    return Hdf5Source(description, books, {(): piece})


def _contents(books: Hdf5Files, path: str) -> Contents:
    found = books[path].call(contents)
    if not found.images:
        there = "; ".join(found.others) or books[path].call(listing)
        raise SourceError(path, f"holds no images of its own: {there}")
    return found


def _described(
    books: Hdf5Files, path: str, image: Image, others: tuple[str, ...]
) -> tuple[Description, Piece]:
    piece = books.piece(path, image.path)
    described = books[path].call(partial(_describe, image, piece, others), image.path)
    return described, piece


def _describe(image: Image, piece: Piece, others: tuple[str, ...], file: Any) -> Description:  # noqa: ANN401 - h5py has no types
    owner = file[image.owner]
    plane = facts.member(owner, "imaging_plane")
    axes, axis_notes = _axes(image, piece, owner)
    extents = dict(zip(axes, piece.shape, strict=True))
    if image.is_microscopy:
        sizes, unit = microscopy.voxel_size(owner, extents)
        channel = microscopy.channel(owner)
    else:
        sizes, unit = facts.voxel_size(owner, plane, extents)
        channel = None if "s" in axes or plane is None else facts.channel(plane)
    times = facts.times(owner, extents["t"]) if "t" in axes else Times()
    return Description(
        format="NWB",
        axes=axes,
        shape=piece.shape,
        dtype=piece.dtype,
        block=piece.block,
        files=(piece.file,),
        image=image.owner,
        voxel_size=sizes,
        unit=unit,
        time_step=times.step,
        channels=() if channel is None else (channel,),
        metadata={**_metadata(image, file, owner, plane), **times.metadata},
        notes=(
            *axis_notes,
            *times.notes,
            *_scaled(file[piece.path]),
            *(f"also in the file: {other}" for other in others),
            *piece.notes,
        ),
    )


def _axes(image: Image, piece: Piece, owner: Any) -> tuple[str, tuple[str, ...]]:  # noqa: ANN401
    """Return the axes, and what to think of them."""
    axes = image.letters(len(piece.shape))
    if image.is_microscopy and "x" in axes:
        return microscopy.axes(axes, piece.shape, owner)
    said = facts.numbers(facts.member(owner, "dimension"))
    space = dict(zip("xyz", said, strict=False))
    mine = piece.shape[1:]
    if axes[:1] == "t" and "s" not in axes and len(said) == len(mine) and tuple(said) != mine:
        turned = {extent: axis for axis, extent in space.items()}
        if len(turned) == len(mine) and set(turned) == set(mine):
            found = "t" + "".join(turned[extent] for extent in mine)
            return found, (f"its dimension x, y = {said} tells that its axes are {found}",)
        note = f"its dimension {said} is not that of its array {mine}"
        return axes, (note, _schema(axes))
    if "x" not in axes:
        return axes, (f"{len(axes)} axes: the NWB schema has no such {image.kind}",)
    doubt = axes == "txyz" and piece.shape[3] in _COLOURS
    colours = "its last axis is z by the schema: if it is colour, pass --axes txys"
    return axes, (_schema(axes), *([colours] if doubt else []))


def _schema(axes: str) -> str:
    rows = axes.replace("xy", "yx")
    return f"axes {axes} are those of the NWB schema: if its rows come first, pass --axes {rows}"


def _metadata(image: Image, file: Any, owner: Any, plane: Any) -> dict[str, Any]:  # noqa: ANN401
    session = facts.session(file)
    device = facts.member(owner, "device") or facts.member(plane, "device")
    device = device or (microscopy.microscope(owner) if image.is_microscopy else None)
    words = hdf5_facts.attributes_of(owner).get("description")
    known = {
        "name": image.owner.rpartition("/")[2],
        "description": words if words != "no description" else None,
        "acquisition_date": session.get("session", {}).get("session_start_time"),
        "instrument": _device(device),
    }
    verbatim = {
        "path": image.path,
        **session,
        "image": facts.tree(owner),
        "imaging_plane": facts.tree(plane),
        "imaging_space": microscopy.space_words(owner) if image.is_microscopy else None,
    }
    return {
        **{key: value for key, value in known.items() if value},
        "NWB": {key: value for key, value in verbatim.items() if value},
    }


def _device(device: Any) -> dict[str, str]:  # noqa: ANN401
    if device is None:
        return {}
    words = {**hdf5_facts.attributes_of(device), "name": device.name.rpartition("/")[2]}
    wanted = ("name", "description", "manufacturer", "model_name", "model_number", "serial_number")
    return {key: words[key] for key in wanted if isinstance(words.get(key), str)}


def _scaled(dataset: Any) -> tuple[str, ...]:  # noqa: ANN401
    words = hdf5_facts.attributes_of(dataset)
    factor, offset = words.get("conversion", 1.0), words.get("offset", 0.0)
    if (factor, offset) == (1.0, 0.0):
        return ()
    unit = words.get("unit", "its unit")
    return (f"voxels are as stored: in {unit} they are {factor} times that, plus {offset}",)
