"""Pictures kept on disk between runs, so that a restart draws none anew; nobody waits for it."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from microtome_core.errors import InputError
from microtome_core.file_cache import FileCache

_LOG = logging.getLogger(__name__)
_SUFFIX = ".picture"
# A disk that takes longer is slower than to draw.
_SECONDS = 1.0
# Pictures that wait to be written; further ones are drawn again after a restart.
_WAITING = 64


class PictureFolder:
    """A folder of pictures of one store.

    Parameters
    ----------
    folder : str
        Made if it is not there, for its owner alone; several services may share it.
    nbytes : int
        Of all files in it, the oldest of which make room.
    store : str
        URL of the store, whose pictures no other store is given.

    Raises
    ------
    InputError
        The folder cannot be made.
    """

    def __init__(self, folder: str, nbytes: int, store: str) -> None:
        try:
            self._cache = FileCache(folder, nbytes, _SUFFIX)
        except OSError as error:
            raise InputError(f"picture_folder {folder}: {error.strerror or error}") from error
        self._store = store
        self._pool = ThreadPoolExecutor(1, "pictures")
        self._room = threading.BoundedSemaphore(_WAITING)

    def close(self) -> None:
        """Write what waits, and let the thread go."""
        self._pool.shutdown(wait=True)

    async def get(self, key: str) -> bytes | None:
        """Return a picture; None where it is not kept, or is not read soon."""
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(self._pool, self._cache.get, self._name(key))
        try:
            async with asyncio.timeout(_SECONDS):
                return await reading
        except TimeoutError:
            _LOG.warning("the folder of pictures does not answer within %g s", _SECONDS)
            return None

    def put(self, key: str, picture: bytes) -> None:
        """Keep a picture, some time later."""
        if self._room.acquire(blocking=False):
            self._pool.submit(self._put, self._name(key), picture)

    def _put(self, name: str, picture: bytes) -> None:
        try:
            self._cache.put(name, picture)
        except OSError:
            _LOG.warning("a picture could not be kept", exc_info=True)
        finally:
            self._room.release()

    def _name(self, key: str) -> str:
        return f"{self._store} {key}"
