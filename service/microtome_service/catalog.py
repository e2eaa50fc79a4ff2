"""The datasets and layers of a store, as they are now, without blocking the event loop."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TypeVar

from microtome_core.errors import InputError, MicrotomeError, NotFound, StorageError
from microtome_core.names import DatasetId, LayerId
from microtome_core.store.annotations import (
    Annotation,
    find_annotation,
    list_annotations,
    read_annotation,
)
from microtome_core.store.layer import (
    Layer,
    find_layer,
    label_names,
    list_datasets,
    read_layer,
)
from microtome_core.store.location import Store
from microtome_core.store.recording import Recording
from microtome_core.store.recordings import RECORDING, is_recording, read_recording
from microtome_core.swc import Nodes, parse_nodes
from microtome_service.errors import Unreadable
from microtome_service.location import Root
from microtome_service.refreshing import Refreshing
from microtome_service.servable import check_recording, check_servable

Found = TypeVar("Found")

_LOG = logging.getLogger(__name__)
_LAYERS_KEPT = 4096
# Each holds a megabyte, and open arrays.
_RECORDINGS_KEPT = 256
# Bytes of the nodes that are kept: those of any one file at least.
_SKELETONS_KEPT = 512 << 20
_THREADS = 16


@dataclass(frozen=True, slots=True)
class Damaged:
    """A layer that is there but cannot be served.

    Parameters
    ----------
    id : LayerId
    error : str
        Why, fit for strangers.
    recording : bool
        It is a recording.
    """

    id: LayerId
    error: str
    recording: bool = False


@dataclass(frozen=True, slots=True)
class Skeleton:
    """An annotation of a dataset, read.

    Parameters
    ----------
    info : Annotation
    nodes : Nodes
    """

    info: Annotation
    nodes: Nodes


@dataclass(frozen=True, slots=True)
class _Listed:
    """What a dataset holds: volumes, and recordings."""

    layers: tuple[LayerId, ...]
    recordings: tuple[LayerId, ...]


@dataclass(frozen=True, slots=True)
class _Opened:
    layer: Layer
    digest: bytes


class Catalog:
    """Look-ups in one store. What it returned is believed for `seconds`, then checked again.

    A layer is opened anew when its ``zarr.json`` has changed; so a new layer appears, and a
    replaced one gets its new version, without a restart.

    Parameters
    ----------
    store : Store
    seconds : float
    seen : callable
        Called in a thread with each layer that was looked at.
    patience : float
        Seconds that whoever asks waits for storage.
    """

    def __init__(
        self,
        store: Store,
        seconds: float,
        seen: Callable[[Layer], None] = lambda _: None,
        patience: float = 120.0,
    ) -> None:
        self._patience = patience
        self._store, self._seen, self._root = store, seen, Root(store)
        self._pool = ThreadPoolExecutor(_THREADS, "catalog")
        self._datasets = Refreshing(self._load_datasets, self._pool, seconds, 1)
        self._layer_ids = Refreshing(self._load_layer_ids, self._pool, seconds, _LAYERS_KEPT)
        self._layers = Refreshing(self._load_layer, self._pool, seconds, _LAYERS_KEPT)
        self._recordings = Refreshing(self._load_recording, self._pool, seconds, _RECORDINGS_KEPT)
        self._skeleton_ids = Refreshing(self._load_skeleton_ids, self._pool, seconds, _LAYERS_KEPT)
        # A file may have 128 MiB, and takes some times that to be read: one at a time.
        self._parser = ThreadPoolExecutor(1, "skeletons")
        self._skeletons = Refreshing(
            self._load_skeleton, self._parser, seconds, _SKELETONS_KEPT, lambda s: s.nodes.nbytes
        )

    def forget(self) -> None:
        """Look at everything anew when it is asked for next: something was made or removed."""
        for kept in (self._datasets, self._layer_ids, self._layers, self._recordings):
            kept.forget_all()

    def find_datasets(self) -> tuple[DatasetId, ...]:
        """Return every dataset as the store is now, sorted; raises Unreadable. Blocks."""
        return self._load_datasets("", None)

    def look(self, dataset: DatasetId) -> tuple[Layer | Recording | Damaged, ...]:
        """Return what is visible of a dataset as it is now; raises as `layers`. Blocks."""
        listed = self._load_layer_ids(dataset, None)
        layers = (self._look(i, lambda i: self._load_layer(i, None).layer) for i in listed.layers)
        looked = (self._look(i, lambda i: self._load_recording(i, None)) for i in listed.recordings)
        recordings = (replace(r, recording=True) if isinstance(r, Damaged) else r for r in looked)
        return tuple(entry for entry in (*layers, *recordings) if entry is not None)

    def find_skeletons(self, dataset: DatasetId) -> tuple[LayerId, ...]:
        """Return the annotations of a dataset as they are now; raises as `skeletons`. Blocks."""
        return self._load_skeleton_ids(dataset, None)

    def check_root(self) -> None:
        """Return if the root of the store is there; raises as `Root.check`. Blocks."""
        self._root.check()

    def close(self) -> None:
        """Let the threads go."""
        for pool in (self._pool, self._parser):
            pool.shutdown(wait=False, cancel_futures=True)

    async def datasets(self) -> tuple[DatasetId, ...]:
        """Return every dataset, sorted."""
        return await self._wait("the list of datasets", self._datasets.get(""))

    async def layers(self, dataset: DatasetId) -> tuple[Layer | Damaged, ...]:
        """Return every visible layer of a dataset; one that is damaged hides no other.

        Raises
        ------
        NotFound
            No such dataset.
        Unreadable
            Storage failed.
        """
        listed = await self._list(dataset)
        found = await asyncio.gather(*(self._or_damaged(i, self.layer) for i in listed.layers))
        return tuple(entry for entry in found if entry is not None)

    async def recordings(self, dataset: DatasetId) -> tuple[Recording | Damaged, ...]:
        """Return every visible recording of a dataset; raises as `layers`."""
        listed = await self._list(dataset)
        found = await asyncio.gather(
            *(self._or_damaged(i, self.recording) for i in listed.recordings)
        )
        return tuple(entry for entry in found if entry is not None)

    async def entry(self, layer_id: LayerId) -> Layer | Recording:
        """Return what has this address, a volume or a recording; raises as `layer`."""
        try:
            listed = await self._list(layer_id.parent)
        except NotFound:
            raise NotFound(f"no layer {layer_id}") from None
        if layer_id in listed.recordings:
            return await self.recording(layer_id)
        return await self.layer(layer_id)

    async def layer(self, layer_id: LayerId) -> Layer:
        """Return a layer as it is now, give or take `seconds`.

        Raises
        ------
        NotFound
            No such layer.
        Unreadable
            Storage failed, or holds metadata that cannot be served.
        """
        return (await self._wait(f"layer {layer_id}", self._layers.get(layer_id))).layer

    async def recording(self, layer_id: LayerId) -> Recording:
        """Return a recording as it is now, give or take `seconds`; raises as `layer`."""
        return await self._wait(f"recording {layer_id}", self._recordings.get(layer_id))

    async def skeletons(self, dataset: DatasetId) -> tuple[LayerId, ...]:
        """Return the annotations of a dataset, sorted; none if there is no such dataset.

        Raises
        ------
        Unreadable
            Storage failed.
        """
        return await self._wait(f"annotations of {dataset}", self._skeleton_ids.get(dataset))

    async def skeleton(self, annotation: LayerId) -> Skeleton:
        """Return an annotation as it is now, give or take `seconds`.

        Raises
        ------
        NotFound
            No such annotation.
        Unreadable
            Storage failed, or holds something else.
        """
        return await self._wait(f"annotation {annotation}", self._skeletons.get(annotation))

    async def _wait(self, what: str, looking: Awaitable[Found]) -> Found:
        """Wait for storage, but not for ever; the look-up itself goes on for who asks again."""
        try:
            async with asyncio.timeout(self._patience):
                return await looking
        except TimeoutError as late:
            raise Unreadable(f"{what}: storage did not answer in time") from late

    async def _list(self, dataset: DatasetId) -> _Listed:
        return await self._wait(f"dataset {dataset}", self._layer_ids.get(dataset))

    async def _or_damaged(
        self, layer_id: LayerId, look: Callable[[LayerId], Awaitable[Found]]
    ) -> Found | Damaged | None:
        try:
            return await look(layer_id)
        except NotFound:
            return None
        except Unreadable as error:
            _LOG.warning("%s", error, exc_info=error)
            return Damaged(layer_id, str(error))

    def _look(self, layer_id: LayerId, load: Callable[[LayerId], Found]) -> Found | Damaged | None:
        try:
            return load(layer_id)
        except NotFound:
            return None
        except Unreadable as error:
            _LOG.warning("%s", error, exc_info=error)
            return Damaged(layer_id, str(error))

    def _load_datasets(self, _: str, __: object) -> tuple[DatasetId, ...]:
        with self._looking("the list of datasets"):
            found = tuple(list_datasets(self._store))
            self._root.check()
            return found

    def _load_layer_ids(self, dataset: DatasetId, _: object) -> _Listed:
        with self._looking(f"dataset {dataset}"):
            names = self._store.children(str(dataset))
            if not names and dataset.dataset not in self._store.children(dataset.collection):
                raise NotFound(f"no dataset {dataset}")
        # A dict keeps the order and drops a label that is named like a folder.
        layers: dict[LayerId, None] = {}
        recordings: list[LayerId] = []
        for name in names:
            document = self._store.read(f"{dataset}/{name}/zarr.json")
            if document is None:
                continue
            if _is_recording(document):
                recordings += _ids(dataset, name)
            else:
                layers |= dict.fromkeys(self._visible(dataset, name))
        return _Listed(tuple(layers), tuple(recordings))

    def _visible(self, dataset: DatasetId, name: str) -> Iterator[LayerId]:
        """Yield an image and its labels; whether they can be read is seen when they are opened."""
        path = f"{dataset}/{name}"
        yield from _ids(dataset, name)
        try:
            with _unreadable(f"labels of {path}"):
                labels = label_names(self._store, path)
        except Unreadable as error:
            _LOG.warning("%s", error, exc_info=error)
            return
        for label in labels:
            yield from _ids(dataset, str(label))

    def _load_layer(self, layer_id: LayerId, old: _Opened | None) -> _Opened:
        with self._looking(f"layer {layer_id}"):
            if old is not None and self._digest(old.layer.path) == old.digest:
                self._seen(old.layer)
                return old
            path = find_layer(self._store, layer_id)
            if path is None and is_recording(self._store, layer_id):
                raise NotFound(f"{layer_id} is a recording: it has trials and no voxels")
            if path is None:
                raise NotFound(f"no layer {layer_id}")
            # Taken before opening: a layer replaced in between is seen as changed next time.
            digest = self._digest(path)
            layer = read_layer(self._store, layer_id)
            check_servable(layer)
            self._seen(layer)
            self._root.note()
        return _Opened(layer, digest)

    def _load_recording(self, layer_id: LayerId, old: Recording | None) -> Recording:
        with self._looking(f"recording {layer_id}"):
            if old is not None and self._store.read(f"{old.path}/zarr.json") == old.document:
                return old
            try:
                found = read_recording(self._store, layer_id)
            except NotFound:
                if find_layer(self._store, layer_id) is None:
                    raise NotFound(f"no layer {layer_id}") from None
                raise NotFound(f"{layer_id} has voxels and no trials") from None
            check_recording(found)
            self._root.note()
        return found

    def _load_skeleton_ids(self, dataset: DatasetId, _: object) -> tuple[LayerId, ...]:
        with self._looking(f"annotations of {dataset}"):
            found = list_annotations(self._store, dataset)
            if not found:
                self._root.check()
            return found

    def _load_skeleton(self, annotation: LayerId, old: Skeleton | None) -> Skeleton:
        with self._looking(f"annotation {annotation}"):
            if old is not None and find_annotation(self._store, annotation) == old.info:
                return old
            content, info = read_annotation(self._store, annotation)
            return Skeleton(info, parse_nodes(content, str(annotation)))

    @contextmanager
    def _looking(self, what: str) -> Iterator[None]:
        """Look for something: of a root that is gone nothing is called absent."""
        with _unreadable(what):
            try:
                yield
            except NotFound:
                self._root.check()
                raise

    def _digest(self, path: str) -> bytes:
        return sha256(self._store.read(f"{path}/zarr.json") or b"").digest()


def _ids(dataset: DatasetId, name: str) -> Iterator[LayerId]:
    try:
        yield LayerId(dataset.collection, dataset.dataset, name)
    except InputError:
        _LOG.warning("%s: %r is no name of a layer, left out", dataset, name)


def _is_recording(document: bytes) -> bool:
    try:
        return RECORDING in json.loads(document)["attributes"]
    except (ValueError, LookupError, TypeError):
        return False  # what it is, or how it is damaged, is told by who opens it


@contextmanager
def _unreadable(what: str) -> Iterator[None]:
    """Turn every way in which storage or its metadata can fail into `Unreadable`."""
    try:
        yield
    except (StorageError, InputError) as error:
        raise Unreadable(f"{what}: storage failed or holds damaged data") from error
    except MicrotomeError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OSError, RuntimeError) as error:
        raise Unreadable(f"{what}: storage holds damaged metadata") from error
