"""Levels above that follow what is written, in the background, whoever wrote it."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock, Timer
from time import monotonic, time

from microtome_core.errors import MicrotomeError
from microtome_core.store.coarser import update_levels
from microtome_core.store.layer import Layer
from microtome_core.store.notes import Note, Owner, any_pending, forget, pending

_LOG = logging.getLogger(__name__)
_THREADS = 2
# Writes come in bursts: so long they are gathered.
_GATHER_SECONDS = 0.2
_RETRY_SECONDS = 5.0
_LOOK_SECONDS = 5.0


class Following:
    """Brings the levels of layers up to date; each layer by one thread at a time.

    Parameters
    ----------
    owner : Owner
        This process.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._pool = ThreadPoolExecutor(_THREADS, "levels")
        self._lock = Lock()
        self._busy: set[str] = set()
        self._again: dict[str, Layer] = {}
        self._looked: dict[str, float] = {}
        self._closing = Event()

    def follow(self, layer: Layer) -> None:
        """Bring the levels of a layer that was written up to date, soon."""
        with self._lock:
            if self._closing.is_set():
                return  # the notes stay, and are found by the next process
            if layer.path in self._busy:
                self._again[layer.path] = layer
                return
            self._busy.add(layer.path)
            self._pool.submit(self._run, layer)

    def look(self, layer: Layer) -> None:
        """Find out, now and then, whether another process left work, and do it."""
        if layer.live is None:
            return
        with self._lock:
            if monotonic() - self._looked.get(layer.path, -_LOOK_SECONDS) < _LOOK_SECONDS:
                return
            self._looked[layer.path] = monotonic()
        self.follow(layer)

    def is_current(self, layer: Layer) -> bool:
        """Tell whether all levels have what was written. Blocks.

        Raises
        ------
        StorageError
        """
        return layer.live is None or not any_pending(layer.live)

    def close(self) -> None:
        """End what is under way after its shard; the rest is found by the next process."""
        with self._lock:
            self._closing.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, layer: Layer) -> None:
        try:
            while notes := self._due(layer):
                self._closing.wait(_GATHER_SECONDS)
                notes = self._due(layer) or notes
                if not self._do(layer, notes):
                    break
        except (MicrotomeError, OSError, ValueError, RuntimeError) as error:
            _LOG.warning("levels of %s: %s; tried again", layer.info.id, error, exc_info=error)
            self._later(layer)
        finally:
            self._leave(layer)

    def _do(self, layer: Layer, notes: Sequence[Note]) -> bool:
        done = update_levels(layer, [n.region for n in notes], lambda: not self._closing.is_set())
        if done and layer.live is not None:
            for note in notes:
                forget(layer.live, note)
        return done

    def _due(self, layer: Layer) -> list[Note]:
        if layer.live is None or self._closing.is_set():
            return []
        return [note for note in pending(layer.live) if note.is_due(self._owner, time())]

    def _later(self, layer: Layer) -> None:
        timer = Timer(_RETRY_SECONDS, self.follow, [layer])
        timer.daemon = True
        timer.start()

    def _leave(self, layer: Layer) -> None:
        with self._lock:
            self._busy.discard(layer.path)
            again = self._again.pop(layer.path, None)
        if again is not None:
            self.follow(again)
