"""Pictures that were made, kept in memory and on disk; what several ask for is made once."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress

from microtome_service.errors import Busy
from microtome_service.picture_folder import PictureFolder
from microtome_service.refreshing import look_at


class KeptPictures:
    """The pictures used last, by what they are of.

    Parameters
    ----------
    nbytes : int
        Of all that are kept in memory.
    folder : PictureFolder, optional
        Keeps them between runs.
    """

    def __init__(self, nbytes: int, folder: PictureFolder | None = None) -> None:
        self._room = nbytes
        self._folder = folder
        self._held = 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._flights: dict[str, asyncio.Task[bytes]] = {}

    async def get(self, key: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return a picture, made by `make` unless it is kept or is being made; raises as it does.

        A caller who goes away leaves it to be finished for the next.

        Parameters
        ----------
        key : str
            Another one for any other picture: an entity tag.
        """
        while True:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
            flight = self._flights.get(key)
            if flight is None:
                return await asyncio.shield(self._begin(key, make))
            # Whoever began it may have had no share of the room left: that is not the next one's.
            with suppress(Busy):
                return await asyncio.shield(flight)

    def _begin(self, key: str, make: Callable[[], Awaitable[bytes]]) -> asyncio.Task[bytes]:
        flight = asyncio.create_task(self._make(key, make))
        self._flights[key] = flight
        flight.add_done_callback(look_at)
        return flight

    async def _make(self, key: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        try:
            picture = await self._found(key, make)
        finally:
            del self._flights[key]
        if len(picture) <= self._room:
            self._kept[key] = picture
            self._held += len(picture)
            while self._held > self._room:
                self._held -= len(self._kept.popitem(last=False)[1])
        return picture

    async def _found(self, key: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        kept = await self._folder.get(key) if self._folder else None
        if kept is not None:
            return kept
        picture = await make()
        if self._folder:
            self._folder.put(key, picture)
        return picture
