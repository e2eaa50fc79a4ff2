"""Zarr 2 and 3, OME-Zarr: ``store.zarr``, ``store.zarr::path/inside``, ``store.zarr.zip``, OCDBT.

Sources of the formats: Zarr storage specification v2, Zarr core specification v3.1,
https://ngff.openmicroscopy.org. A chunk that was never written holds the fill value by definition;
how many there are is noted. The layers of microtome itself say which shards are empty on purpose,
and any other that is not there is an error.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from microtome_core.errors import InputError, SourceError
from microtome_ingest.files import Files
from microtome_ingest.source import Description, Scene, SourceChannel
from microtome_ingest.sources import ngff
from microtome_ingest.sources.chunk_folder import MANIFEST, Folder, Packed
from microtome_ingest.sources.chunked import ChunkedSource, chunk_of, open_array
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.json_values import plain_json
from microtome_ingest.sources.members import choose, split
from microtome_ingest.sources.zarr_nodes import Stored, chunk_files, letters, stored
from microtome_ingest.sources.zarr_own import empty_shards, is_complete, record_of
from microtome_ingest.sources.zarr_series import Series, merged, series_of
from microtome_ingest.sources.zarr_tree import Image, Tree

_LABELS = "its voxels are ids of objects: --kind labels keeps them whole"


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the images of a store, or those at the path that ``::`` names."""
    folder, _, found = _found(path, files or Files())
    with _told(folder):
        kept = [(image, _stored(folder, image)) for image in found]
        return tuple(
            Scene(i, image.name, _geometry(image, facts).axes, facts.shape, facts.dtype)
            for i, (image, facts) in enumerate(kept)
        )


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> ChunkedSource:
    """Open level 0 of an image, or the array that ``::`` names.

    Raises
    ------
    SourceError
        Damage, several images and none chosen, voxels or a codec that are not read.
    """
    files = files or Files()
    folder, name, found = _found(path, files)
    image = found[choose(name, [one.name for one in found], scene)]
    with _told(folder):
        return _opened(folder, files, image)


def _found(path: str, files: Files) -> tuple[Folder, str, list[Image]]:
    name, inside = split(path, files)
    folder = Folder(name, files, _packed(name, files))
    with _told(folder):
        found = Tree(folder).images(inside)
        if len(found) > 1:
            found = _images_only(folder, found)
        return folder, folder.path, found


def _packed(name: str, files: Files) -> Packed:
    """Tell how a store is packed; web servers may answer for folders as if they were files."""
    web = name.startswith(("http://", "https://"))
    if (not web or name.lower().endswith(".zip")) and files.kind(name) == "file":
        return "zip"
    database = not web and files.kind(f"{name.rstrip('/')}/{MANIFEST}") == "file"
    return "ocdbt" if database else ""


def _images_only(folder: Folder, found: list[Image]) -> list[Image]:
    """Leave out tables, axes and other arrays that can be no images, as long as one can."""
    good = [image for image in found if image.multiscale is not None or _refusal(image) is None]
    if not good:
        listing = "; ".join(f"{image.name} {_refusal(image)}" for image in found[:5])
        raise SourceError(folder.path, f"holds no array that is an image: {listing}")
    return good


def _refusal(image: Image) -> str | None:
    try:
        stored(image.array)
    except InputError as error:
        return str(error)
    return None


@contextmanager
def _told(folder: Folder) -> Iterator[None]:
    """Turn what wrong metadata makes Python raise into an error that names the store."""
    with strict(folder.path, log="tensorstore"):
        try:
            yield
        except SourceError:
            raise
        except InputError as error:
            raise SourceError(folder.path, str(error)) from error


def _stored(folder: Folder, image: Image) -> Stored:
    try:
        return stored(image.array)
    except InputError as error:
        raise SourceError(
            folder.path, f"{image.array.inside}: {error}".removeprefix(": ")
        ) from error


def _opened(folder: Folder, files: Files, image: Image) -> ChunkedSource:
    facts, node = _stored(folder, image), image.array
    geometry = _geometry(image, facts)
    chunks = chunk_files(node, geometry.axes, facts.shape)
    empty = empty_shards(folder, image, chunks.grid)
    spec = {
        "driver": facts.driver,
        "kvstore": folder.spec(node.inside),
        "recheck_cached_data": "open",
        "fill_missing_data_reads": not is_complete(image),
    }
    block = chunk_of(open_array(folder, spec, node.inside), folder, node.inside)
    series = series_of(folder, image.group.inside) if image.group is not None else Series()
    channels, notes = _channels(image, geometry.axes, facts.shape, series)
    counted = () if is_complete(image) else chunks.note(folder, facts.fill)
    labels = (_LABELS,) if _is_labels(image) else ()
    description = Description(
        format=_format(image),
        axes=geometry.axes,
        shape=facts.shape,
        dtype=facts.dtype,
        block=tuple(map(min, block, facts.shape)),
        files=(*_files(folder, image), *series.files),
        image=node.inside,
        voxel_size=geometry.voxel_size,
        unit=geometry.unit,
        time_step=geometry.time_step or series.time_step,
        channels=channels,
        metadata={**series.metadata, **_metadata(image, geometry)},
        notes=(*geometry.notes, *notes, *series.notes, *labels, *counted),
    )
    return ChunkedSource(description, files, folder, spec, chunks, empty)


def _geometry(image: Image, facts: Stored) -> ngff.Geometry:
    if image.multiscale is not None:
        return ngff.geometry(image.multiscale, image.level, len(facts.shape))
    return ngff.Geometry(letters(facts.names, len(facts.shape)), {}, None, None, {})


def _files(folder: Folder, image: Image) -> tuple[str, ...]:
    group = image.group.files if image.group is not None else ()
    names = [folder.file(name) for name in (*group, *image.array.files)]
    return tuple(dict.fromkeys(names))


def _format(image: Image) -> str:
    if image.group is None or image.multiscale is None:
        return f"Zarr {image.array.version}"
    version = image.group.ome.get("version") or image.multiscale.get("version")
    return f"OME-Zarr {version}" if isinstance(version, str) else "OME-Zarr"


def _is_labels(image: Image) -> bool:
    return image.group is not None and "image-label" in image.group.ome


def _channels(
    image: Image, axes: str, shape: tuple[int, ...], series: Series
) -> tuple[tuple[SourceChannel, ...], tuple[str, ...]]:
    if image.group is None:
        return (), ()
    count = dict(zip(axes, shape, strict=True)).get("c", 1)
    found, notes = ngff.channels(image.group.ome.get("omero"), count)
    found = merged(found, series.channels, count)
    own = record_of(image).get("channels") or []
    if len(own) != len(found):
        return found, notes
    dyes = [{k: v for k, v in one.items() if k not in ("name", "neurodata_type")} for one in own]
    return tuple(
        SourceChannel(channel.name, channel.color, channel.window, dye)
        for channel, dye in zip(found, dyes, strict=True)
    ), notes


def _metadata(image: Image, geometry: ngff.Geometry) -> dict[str, Any]:
    """Return what the store says; a layer of microtome hands on what it knows of its own source."""
    kept = dict(image.group.attributes if image.group is not None else {})
    original: Mapping[str, Any] = {}
    if record := record_of(image):
        kept["nwb"] = {name: value for name, value in record.items() if name != "original_metadata"}
        original = record.get("original_metadata") or {}
    where = {"path": image.array.inside, "attributes": kept}
    if image.group is not None and image.array.attributes:
        where["array_attributes"] = dict(image.array.attributes)
    elif image.group is None:
        where["attributes"] = dict(image.array.attributes)
    origin = {"origin": geometry.origin} if geometry.origin else {}
    kind = "Zarr" if image.multiscale is None else "OME-Zarr"
    return cast(dict[str, Any], plain_json({**original, **origin, kind: where}))
