"""The store as whoever asks may see it: which documents and shards there are, and nothing else.

A key is never joined to a path: it is compared with what the metadata of a visible layer names.
Groups are served with the metadata of all that is visible below them (``consolidated_metadata``, as
zarr-python writes it), so that a reader needs no listing.
"""

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from microtome_core.errors import InputError, NotFound, StorageError
from microtome_core.names import DatasetId, LayerId, check_name
from microtome_core.store.layer import Layer
from microtome_core.store.recording import Recording
from microtome_service import labelled
from microtome_service.errors import Unreadable
from microtome_service.objects import Objects
from microtome_service.recording_files import (
    RecordingFiles,
    RecordingObject,
    load_recording_files,
)
from microtome_service.refreshing import look_at
from microtome_service.stored import ZARR_3, Document, LayerFiles, Shard, attributes, load_files
from microtome_service.view import View

_LOG = logging.getLogger(__name__)
# Above so many datasets, the root and collections say nothing of what lies below them.
_MOST_DATASETS = 200
_LAYERS_KEPT = 1024
_RECORDINGS_KEPT = 64


class Hierarchy:
    """Looks keys up.

    Parameters
    ----------
    objects : Objects
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._kept: OrderedDict[str, tuple[Layer, asyncio.Task[LayerFiles]]] = OrderedDict()
        self._recordings: OrderedDict[str, RecordingFiles] = OrderedDict()

    async def find(self, view: View, key: str) -> Document | Shard | RecordingObject:
        """Return what lies at a key below the root of the store.

        Raises
        ------
        NotFound
            Nothing does, or nothing that may be seen.
        Unreadable
            Storage failed.
        """
        words = key.split("/")
        if words[-1] == ZARR_3 and len(words) <= 3:
            return await self._group(view, words[:-1])
        if len(words) == 5 and words[3:] == ["labels", ZARR_3]:
            return await self._group(view, words[:-1])
        if "/".join(words[:3]) in self._recordings and (found := await self._stored(view, words)):
            return found
        try:
            layer, rest = await _layer(view, words)
        except NotFound:
            if found := await self._stored(view, words):
                return found
            raise
        files = await self.files(layer)
        return await self._group(view, words[:-1]) if rest == ZARR_3 else _in_layer(files, rest)

    async def files(self, layer: Layer) -> LayerFiles:
        """Return what a layer's folder holds, read once for all who ask at one time.

        Raises
        ------
        Unreadable
            Storage failed, or holds metadata that is none.
        """
        kept, flight = self._kept.get(layer.path, (None, None))
        # The very layer: its arrays may have been opened anew.
        if kept is not layer or flight is None:
            flight = asyncio.create_task(self._load(layer))
            flight.add_done_callback(look_at)
            self._kept[layer.path] = (layer, flight)
            while len(self._kept) > _LAYERS_KEPT:
                self._kept.popitem(last=False)
        # One caller who goes away must not take the answer from the others.
        return await asyncio.shield(flight)

    async def _load(self, layer: Layer) -> LayerFiles:
        try:
            return await self._objects.run(load_files, self._objects.store, layer)
        except BaseException as error:
            self._kept.pop(layer.path, None)
            if isinstance(error, StorageError):
                raise _unreadable(f"layer {layer.info.id}") from error
            raise

    async def _stored(self, view: View, words: Sequence[str]) -> Document | RecordingObject | None:
        """Return what lies at a key in a recording's folder; None if there is no recording."""
        try:
            recording = await view.recording(LayerId.parse("/".join(words[:3])))
        except (InputError, NotFound):
            return None
        return await self._in_recording(recording, "/".join(words[3:]))

    async def _in_recording(self, recording: Recording, rest: str) -> Document | RecordingObject:
        files = await self._recording_files(recording)
        group = f"{recording.path}/{rest}".removesuffix(f"/{ZARR_3}")
        documents = files.documents()
        if rest.endswith(ZARR_3) and documents.get(group, {}).get("node_type") == "group":
            below = {
                path.removeprefix(f"{group}/"): document
                for path, document in sorted(documents.items())
                if path.startswith(f"{group}/")
            }
            return Document(_dump(_with_members(documents[group], below)))
        return files.find(rest)

    async def _recording_files(self, recording: Recording) -> RecordingFiles:
        """Return what a recording's folder holds, read once for each version of it."""
        kept = self._recordings.get(recording.path)
        if kept is None or kept.recording is not recording:
            try:
                kept = await self._objects.run(load_recording_files, self._objects.store, recording)
            except StorageError as error:
                raise _unreadable(f"recording {recording.id}") from error
            self._recordings[recording.path] = kept
            while len(self._recordings) > _RECORDINGS_KEPT:
                self._recordings.popitem(last=False)
        return kept

    async def _recordings_below(
        self, view: View, datasets: Iterable[DatasetId], path: str
    ) -> dict[str, Any]:
        """Return the metadata of all recordings below a path; a damaged one hides no other."""
        found: dict[str, Any] = {}
        for dataset in datasets:
            try:
                recordings = await view.recordings(dataset)
            except NotFound:
                continue
            for each in recordings:
                if isinstance(each, Recording) and f"{each.path}/".startswith(
                    f"{path}/".lstrip("/")
                ):
                    try:
                        found |= (await self._recording_files(each)).documents()
                    except Unreadable as error:
                        _LOG.warning("%s", error, exc_info=error)
        return found

    async def _group(self, view: View, words: Sequence[str]) -> Document:
        path = "/".join(words)
        datasets, layers = await _below(view, words)
        if len(words) > 2 and not layers:
            raise _absent(path)
        group = _group(await self._attributes(path, layers))
        if len(datasets) <= _MOST_DATASETS:
            found = await asyncio.gather(*map(self._files_or_none, layers))
            readable = [files for files in found if files is not None]
            more = await self._recordings_below(view, datasets, path) if len(words) < 3 else {}
            return Document(await self._objects.run(_whole, group, path, datasets, readable, more))
        return Document(_dump(group))

    async def _files_or_none(self, layer: Layer) -> LayerFiles | None:
        """Return what a layer's folder holds; one that is damaged hides no other."""
        try:
            return await self.files(layer)
        except Unreadable as error:
            _LOG.warning("%s", error, exc_info=error)
            return None

    async def _attributes(self, path: str, layers: Iterable[Layer]) -> Any:  # noqa: ANN401 - JSON
        """Return the attributes of a group: of layers and datasets those that are stored."""
        for layer in layers:
            if layer.path == path:
                return attributes(layer.document)
        if path.count("/") == 1:
            try:
                stored = await self._objects.run(self._objects.store.read, f"{path}/{ZARR_3}")
                return attributes(stored or b"{}")
            except (StorageError, ValueError) as error:
                raise _unreadable(f"dataset {path}") from error
        return _group_attributes(path, layers)


def _group_attributes(path: str, layers: Iterable[Layer]) -> dict[str, Any]:
    """Return the attributes of a group that is no layer: those of labels name what can be seen."""
    if not path.endswith("/labels") or path.count("/") != 3:
        return {}
    names = sorted(layer.path.rpartition("/")[2] for layer in layers)
    return {"ome": {"version": "0.5", "labels": names}}


async def _below(view: View, words: Sequence[str]) -> tuple[list[DatasetId], list[Layer]]:
    """Return the datasets and layers at or below a path, those of too many datasets left out."""
    path = "/".join(words)
    if len(words) >= 2:
        dataset = _dataset(words[0], words[1])
        layers = await _layers(view, dataset)
        return [dataset], [each for each in layers if f"{each.path}/".startswith(f"{path}/")]
    datasets = [d for d in await view.datasets() if not words or d.collection == words[0]]
    if words and not datasets:
        raise _absent(path)
    if len(datasets) > _MOST_DATASETS:
        return datasets, []
    found = await asyncio.gather(*(_layers_or_none(view, dataset) for dataset in datasets))
    return datasets, [layer for layers in found for layer in layers]


async def _layers(view: View, dataset: DatasetId) -> list[Layer]:
    return [each for each in await view.layers(dataset) if isinstance(each, Layer)]


async def _layers_or_none(view: View, dataset: DatasetId) -> list[Layer]:
    try:
        return await _layers(view, dataset)
    except NotFound:
        return []


async def _layer(view: View, words: Sequence[str]) -> tuple[Layer, str]:
    """Return the layer in whose folder a key lies, and the rest of the key."""
    depth = 5 if words[3:4] == ["labels"] else 3
    if len(words) <= depth:
        raise _absent("/".join(words))
    try:
        layer_id = LayerId(words[0], words[1], words[depth - 1])
        check_name(words[2])
    except InputError:
        raise _absent("/".join(words)) from None
    layer = await view.layer(layer_id)
    # A label has an address of its own, but lies below its image.
    if layer.path != "/".join(words[:depth]):
        raise _absent("/".join(words))
    return layer, "/".join(words[depth:])


def _in_layer(files: LayerFiles, rest: str) -> Document | Shard:
    for level, array in enumerate(files.arrays):
        key = rest.removeprefix(f"{array.folder}/")
        if key == rest:
            continue
        if key in array.documents:
            return Document(array.documents[key])
        index = array.parse(key)
        if index is not None:
            return Shard(files.layer, level, index, array)
    if rest.startswith(f"{labelled.FOLDER}/"):
        return _in_labelled(files, rest)
    return _folder(files, rest.removesuffix(f"/{ZARR_3}"))


def _in_labelled(files: LayerFiles, path: str) -> Document | Shard:
    """Return what lies in a level that xarray opens, such as ``0/zarr.json`` or ``0/z/c/0``."""
    info = files.layer.info
    _, number, name, key = [*path.split("/", 3), "", ""][:4]
    # Numbers are compared as words, so that each object has one name.
    level = next((n for n in range(len(files.arrays)) if str(n) == number), None)
    metadata = None if level is None else files.arrays[level].metadata
    if level is None or metadata is None or path.endswith("/"):
        raise _absent(path)
    below = labelled.level_group(info, level, metadata)
    if (name, key) == (ZARR_3, ""):
        return Document(_dump(_with_members(_group({"layer": info.id}), below)))
    if name in below and key == ZARR_3:
        return Document(_dump(below[name]))
    if name == info.kind and (index := files.arrays[level].parse(key)) is not None:
        return Shard(files.layer, level, index, files.arrays[level])
    coordinates = labelled.coordinate_bytes(info, level, name, key)
    if coordinates is None:
        raise _absent(path)
    return Document(coordinates, "application/octet-stream")


def _folder(files: LayerFiles, folder: str) -> Document:
    """Return a folder that holds the arrays of a later version as the group that it is."""
    below = {
        array.folder.removeprefix(f"{folder}/"): array.metadata
        for array in files.arrays
        if array.folder.startswith(f"{folder}/") and array.metadata is not None
    }
    if not below:
        raise _absent(folder)
    return Document(_dump(_with_members(_group({}), below)))


def _whole(
    group: dict[str, Any],
    path: str,
    datasets: Iterable[DatasetId],
    found: Iterable[LayerFiles],
    more: Mapping[str, Any],
) -> bytes:
    """Return a group with all that lies below it as JSON: of a large store some megabytes."""
    return _dump(_with_members(group, _consolidated(path, datasets, list(found), more)))


def _consolidated(
    path: str,
    datasets: Iterable[DatasetId],
    found: Sequence[LayerFiles],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the metadata of every group and array below a path, by their path relative to it."""
    documents: dict[str, Any] = dict(more)
    layers = [files.layer for files in found]
    for full in (str(dataset) for dataset in datasets):
        for above in _ancestors(full, path):
            documents[above] = _group({})
    for files in found:
        for above in _ancestors(files.layer.path.rpartition("/")[0], path):
            if above not in documents:
                inside = [layer for layer in layers if layer.path.startswith(f"{above}/")]
                documents[above] = _group(_group_attributes(above, inside))
        documents |= _documents_of(files)
    documents.pop(path, None)
    start = len(path) + 1 if path else 0
    return {full[start:]: documents[full] for full in sorted(documents)}


def _documents_of(files: LayerFiles) -> dict[str, Any]:
    """Return the metadata of a layer, its arrays, and the folders that these lie in."""
    path = files.layer.path
    documents: dict[str, Any] = {path: _group(attributes(files.layer.document))}
    for array in files.arrays:
        if (metadata := array.metadata) is not None:
            documents[f"{path}/{array.folder}"] = metadata
            for above in _ancestors(f"{path}/{array.folder}", path):
                documents.setdefault(above, _group({}))
    return documents


def _ancestors(full: str, path: str) -> Iterator[str]:
    """Yield `full` and the folders above it, as far down as below `path`."""
    while len(full) > len(path):
        yield full
        full = full.rpartition("/")[0]


def _dataset(collection: str, dataset: str) -> DatasetId:
    try:
        return DatasetId(collection, dataset)
    except InputError:
        raise _absent(f"{collection}/{dataset}") from None


def _group(attributes: object) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def _with_members(group: dict[str, Any], below: dict[str, Any]) -> dict[str, Any]:
    """Return a group with the metadata of what lies below it, in zarr-python's form."""
    inline = {"kind": "inline", "must_understand": False, "metadata": below}
    return {**group, "consolidated_metadata": inline}


def _dump(group: dict[str, Any]) -> bytes:
    return json.dumps(group).encode()


def _absent(path: str) -> NotFound:
    return NotFound(f"nothing lies at {path[:200]!r}")


def _unreadable(what: str) -> Unreadable:
    return Unreadable(f"{what}: storage failed or holds damaged data")
