"""Neuroglancer precomputed volumes: a folder with ``info``, with or without ``precomputed://``.

Source of the format: https://github.com/google/neuroglancer, src/datasource/precomputed/volume.md.
The finest scale is the image; ``::key`` names another. A chunk that is absent is missing: reading
it is an error. x comes first in the format, so axes turn.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from microtome_core.dtypes import check_dtype
from microtome_core.errors import InputError, SourceError
from microtome_ingest.files import Files, is_remote, name_of, plain
from microtome_ingest.format import Format
from microtome_ingest.isolation import Isolated
from microtome_ingest.source import Description, Scene, Source
from microtome_ingest.sources.chunk_folder import Folder
from microtome_ingest.sources.damage import strict
from microtome_ingest.sources.json_values import plain_json
from microtome_ingest.sources.members import split
from microtome_ingest.sources.precomputed_chunks import PrecomputedSource
from microtome_ingest.sources.precomputed_scale import Scale, check_scale

SCHEME = "precomputed://"
_NAME = "Neuroglancer precomputed"
_GOOGLE = "https://storage.googleapis.com/"
_LABELS = "its voxels are ids of segments: --kind labels keeps them whole"
# compresso crashes on damage, so that a process of its own reads what it packed.
_COMPRESSO = Format(
    _NAME,
    "microtome_ingest.sources.precomputed_compresso",
    lambda _: False,
    reader="compresso",
    extra="compresso",
    needs=("compresso",),
    isolated=True,
)


def scenes(path: str, files: Files | None = None) -> tuple[Scene, ...]:
    """List the one image of a volume."""
    _, info, scale = _found(path, files or Files())
    with _told(path):
        return (Scene(0, scale.key, scale.axes, scale.shape, _dtype(info)),)


def open_image(path: str, scene: int | None = None, files: Files | None = None) -> Source:
    """Open the finest scale of a volume, or the one whose key follows ``::``.

    Raises
    ------
    SourceError
        Damage, a folder of meshes or skeletons, an encoding that is not read.
    InputError
        A library that is not installed.
    """
    files = files or Files()
    _check_scene(path, scene)
    folder, info, scale = _found(path, files)
    if scale.encoding != "compresso":
        return _opened(folder, files, info, scale)
    if _COMPRESSO.missing:
        raise InputError(
            f"{_NAME} with encoding compresso needs compresso, which is not installed: "
            "install the extra 'compresso' of microtome"
        )
    return Isolated(_COMPRESSO, path, scene, files.options)


def open_here(path: str, scene: int | None = None, files: Files | None = None) -> Source:
    """Open a volume like `open_image`, whatever its encoding, in this process."""
    files = files or Files()
    _check_scene(path, scene)
    folder, info, scale = _found(path, files)
    return _opened(folder, files, info, scale)


def _check_scene(path: str, scene: int | None) -> None:
    if scene not in (None, 0):
        raise SourceError(path, f"has no scene {scene}: it holds one image")


def _found(path: str, files: Files) -> tuple[Folder, Mapping[str, Any], Scale]:
    """Return the folder of a volume, its ``info``, and the scale that is meant."""
    name, key = split(_address(path), files)
    if name_of(name) == "info" and files.kind(name) == "file":
        name = name.rpartition("/")[0] or "."
    folder = Folder(name, files)
    with _told(folder.path):
        info = folder.document("info")
        if info is None:
            raise SourceError(folder.path, "holds no file info")
        _check_kind(folder.path, info)
        listed = info["scales"]
        keys = [str(scale["key"]) for scale in listed]
        if key and key not in keys:
            raise SourceError(folder.path, f"has no scale {key!r}, but {', '.join(keys[:20])}")
        scale = check_scale(info, listed[keys.index(key) if key else 0])
    return folder, info, scale


def _address(path: str) -> str:
    """Return where a volume lies; public buckets of Google's are read over HTTP."""
    path = plain(path.removeprefix(SCHEME))
    return _GOOGLE + path.removeprefix("gs://") if path.startswith("gs://") else path


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Turn what wrong metadata makes Python raise into an error that names the volume."""
    with strict(path, "info", log="tensorstore"):
        try:
            yield
        except SourceError:
            raise
        except InputError as error:
            raise SourceError(path, str(error)) from error


def _check_kind(path: str, info: Mapping[str, Any]) -> None:
    kind = str(info.get("@type", "neuroglancer_multiscale_volume"))[:60]
    if kind != "neuroglancer_multiscale_volume":
        raise SourceError(path, f"holds {kind}, not a volume of voxels")
    if not isinstance(info.get("scales"), list) or not info["scales"]:
        raise SourceError(path, "its info lists no scales: it is not a volume of voxels")


def _dtype(info: Mapping[str, Any]) -> str:
    try:
        return check_dtype(str(info["data_type"])).name
    except TypeError as error:
        raise InputError(f"data_type {str(info['data_type'])[:40]!r}: no numbers") from error


def _opened(folder: Folder, files: Files, info: Mapping[str, Any], scale: Scale) -> Source:
    with _told(folder.path):
        description = _describe(folder, info, scale)
        source = PrecomputedSource(description, files, folder, scale, dict(info))
        return source.noted(_missing(source, folder, info, scale))


def _describe(folder: Folder, info: Mapping[str, Any], scale: Scale) -> Description:
    steps = dict(zip("xyz", scale.resolution, strict=True))
    offsets = dict(zip("xyz", scale.offset, strict=True))
    origin = {axis: offsets[axis] * steps[axis] for axis in "zyx"}
    placed = {"origin": {**origin, "unit": "nanometer"}} if any(origin.values()) else {}
    numbers = ", ".join(f"{axis}={n:g}" for axis, n in origin.items())
    moved = (f"its origin, {numbers} nanometer, is kept in the record only",) if placed else ()
    labels = (_LABELS,) if info.get("type") == "segmentation" else ()
    lossy = ("its voxels were compressed with loss (JPEG)",) if scale.encoding == "jpeg" else ()
    return Description(
        format=_NAME,
        axes=scale.axes,
        shape=scale.shape,
        dtype=_dtype(info),
        block=tuple(map(min, scale.grid.cell, scale.shape)),
        files=(folder.file("info"),),
        image=scale.key,
        voxel_size=steps,
        unit="nanometer",
        metadata={**placed, _NAME: plain_json({"scale": scale.key, "info": info})},
        notes=(*moved, *labels, *lossy),
    )


def _missing(
    source: PrecomputedSource, folder: Folder, info: Mapping[str, Any], scale: Scale
) -> tuple[str, ...]:
    """Say how many chunks are missing, where that can be told."""
    count, missing = scale.grid.size, source.missing()
    if scale.sharding is not None:
        return ()
    if missing is None:
        how = "over HTTP" if is_remote(folder.path) and not folder.listable else "they are many"
        return (f"whether all {count} chunks are there was not counted ({how})",)
    if not missing:
        return ()
    others = [str(one["key"]) for one in info["scales"] if one["key"] != scale.key]
    other = f"; another scale is named with ::{others[0]}" if others else ""
    return (f"{missing} of {count} chunks are missing, reading them is an error{other}",)
