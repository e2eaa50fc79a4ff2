"""Writing into layers that were created for it."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

from numpy.typing import NDArray

from microtome_core.errors import PreconditionFailed
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.layer import Layer
from microtome_core.store.location import Store
from microtome_core.store.notes import Owner, begin, end, forget, record_write
from microtome_core.store.record_changes import Change, change_record
from microtome_core.store.voxels import State
from microtome_core.store.writing import Edits, check_writable, write_region
from microtome_core.wire import LayerInfo
from microtome_service.errors import Unreadable
from microtome_service.following import Following

Done = TypeVar("Done")

# Most of a write is waiting for storage.
_THREADS = 8
_TAG = re.compile(r'"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did.

    Parameters
    ----------
    before, after : str
        The state of the region's shards, as ETags begin with it.
    shards : int
        How many are others now.
    """

    before: str
    after: str
    shards: int


class Writes:
    """Writes of one process, and the levels that follow them."""

    def __init__(self) -> None:
        self._owner = Owner()
        self._pool = ThreadPoolExecutor(_THREADS, "write")
        self.following = Following(self._owner)

    async def write(
        self,
        layer: Layer,
        region: Region,
        block: NDArray[Any],
        facts: Mapping[str, Any],
        *,
        merge: bool = False,
        if_match: str | None = None,
    ) -> Written:
        """Write voxels of level 0, note who did, and let the levels above follow.

        Parameters
        ----------
        layer : Layer
        region : Region
        block : ndarray
            In the shape and dtype of the region.
        facts : dict
            Who, how and with what: noted with the region.
        merge : bool
            Zeros leave voxels as they are.
        if_match : str, optional
            Tags, of which one must be of the state that the region has.

        Raises
        ------
        Conflict
            The layer is not writable.
        PreconditionFailed
            The region has changed.
        Unreadable
            Storage failed; each shard is the old one or the new one.
        """
        check_writable(layer)
        expected = await self._expected(layer, region, if_match)
        run = asyncio.get_running_loop().run_in_executor
        try:
            # It is not broken off where the caller goes away.
            work = run(self._pool, self._write, layer, region, block, facts, merge, expected)
            written = await _finished(work)
        except (ValueError, OSError, RuntimeError) as error:
            raise Unreadable(
                f"layer {layer.info.id}, region {region}: storage failed; it is not known whether "
                "all was written: the same request may be sent again"
            ) from error
        return written

    async def change_record(
        self,
        store: Store,
        layer_id: LayerId,
        given: Mapping[str, Any],
        facts: Mapping[str, Any],
        versions: Sequence[str] | None,
    ) -> Change:
        """Change the record of a layer; parameters and errors are those of `change_record`."""
        run = asyncio.get_running_loop().run_in_executor
        work = run(self._pool, change_record, store, layer_id, given, facts, versions)
        return await _finished(work)

    async def is_current(self, layer: Layer) -> bool:
        """Tell whether the levels above have all that was written."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self.following.is_current, layer)
        except OSError as error:
            raise Unreadable(f"layer {layer.info.id}: storage failed") from error

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=False)
        self.following.close()

    async def _expected(self, layer: Layer, region: Region, if_match: str | None) -> State | None:
        if if_match is None or if_match.strip() == "*":
            return None
        state = await read_state(layer, 0, region)
        states = [tag.partition("-")[0] for tag in _TAG.findall(if_match)]
        if state is None or state_tag(layer.info, 0, [state]) not in states:
            raise PreconditionFailed(
                f"layer {layer.info.id}, region {region} has changed: its tag is none of If-Match"
            )
        return state

    def _write(
        self,
        layer: Layer,
        region: Region,
        block: NDArray[Any],
        facts: Mapping[str, Any],
        merge: bool,
        expected: State | None,
    ) -> Written:
        live = check_writable(layer)
        note = begin(live, region, self._owner)
        edits: Edits | None = None
        try:
            edits = write_region(layer, region, block, merge=merge, expected=expected)
        finally:
            if edits is not None and not any(edit.changed for edit in edits.values()):
                forget(live, note)
            else:
                end(live, note)
                self.following.follow(layer)
        written = _written(layer.info, edits)
        told = {"region": str(region), "before": written.before, "after": written.after}
        record_write(live, {**facts, **told, "shards": written.shards})
        return written


async def _finished(work: asyncio.Future[Done]) -> Done:
    """Return what a thread does; whoever leaves waits for its end: until then it holds memory."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


async def state_of(layer: Layer, level: int, regions: Sequence[Region]) -> str:
    """Return what changes exactly when voxels of regions may have; empty where none ever do.

    Raises
    ------
    Unreadable
        Storage failed.
    """
    if layer.live is None:
        return ""
    found = [await read_state(layer, level, region) for region in regions]
    return state_tag(layer.info, level, [state for state in found if state is not None])


async def read_state(layer: Layer, level: int, region: Region) -> State | None:
    """Return the state of a region; raises as `state_of`."""
    try:
        return await layer.voxels[level].state(region)
    except (ValueError, OSError, RuntimeError) as error:
        raise Unreadable(
            f"layer {layer.info.id}, level {level}, region {region}: storage failed"
        ) from error


def state_tag(info: LayerInfo, level: int, states: Sequence[State]) -> str:
    """Return a word for states of one level, such as an ETag begins with."""
    digest = sha256(f"{info.id}\0{info.version}\0{level}".encode())
    for state in states:
        for index, generation in sorted(state.items()):
            digest.update(f"\0{index}\0".encode() + generation)
    return digest.hexdigest()[:32]


def _written(info: LayerInfo, edits: Edits) -> Written:
    before = {index: edit.before for index, edit in edits.items()}
    after = {index: edit.after for index, edit in edits.items()}
    count = sum(edit.changed for edit in edits.values())
    return Written(state_tag(info, 0, [before]), state_tag(info, 0, [after]), count)
