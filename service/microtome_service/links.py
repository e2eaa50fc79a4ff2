"""Short links to what the viewer shows, kept in the service's database.

A link's name is of what it leads to: the same view has the same link.
"""

import asyncio
import base64
import json
import logging
import re
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from time import monotonic, time
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from microtome_core.errors import InputError, NotFound, StorageError
from microtome_core.names import DatasetId
from microtome_service.auth.database import Database
from microtome_service.auth.models import LINKS
from microtome_service.errors import TooMany, Unreadable

_LOG = logging.getLogger(__name__)
LARGEST = 64 << 10
# Of all; those that were not used for longest make room.
_MOST = 100_000
_MADE, _WITHIN = 30, 600.0
_CALLERS = 4096
_DAY = 86400
_LENGTH = 12
_HOST = "microtome-host:"
_WORD = "[a-z0-9][a-z0-9._-]{0,63}"
_PAGE = re.compile(f"/view/({_WORD})/({_WORD})(?:/{_WORD})?")
_NAME = re.compile(r"[a-z2-7]{12}")


@dataclass(frozen=True, slots=True)
class Link:
    """A view that was kept.

    Parameters
    ----------
    page : str
        Of the viewer, below the service's address.
    state : dict
        Neuroglancer's, whose sources are at the service itself.
    """

    page: str
    state: Mapping[str, Any]

    @property
    def dataset(self) -> DatasetId:
        """The dataset that it shows."""
        return dataset_of(self.page)


class Links:
    """The links of one service.

    Parameters
    ----------
    database : Database or None
        Where there is none, no link is kept.
    """

    def __init__(self, database: Database | None) -> None:
        self._database = database
        self._pool = ThreadPoolExecutor(1, "links")
        self._made: OrderedDict[str, list[float]] = OrderedDict()

    def close(self) -> None:
        """Let the thread go."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def kept(self) -> bool:
        """Whether there is a place to keep them."""
        return self._database is not None

    async def put(self, page: str, state: object, host: str, caller: str) -> str:
        """Keep a view and return the name of its link.

        Parameters
        ----------
        page : str
            ``/view/collection/dataset`` or one with a layer.
        state : JSON object
        host : str
            Where the service is reached; every source of the state must lie there.
        caller : str
            Of whom 30 links are taken in ten minutes.

        Raises
        ------
        InputError
            A page or a state that cannot be, or one with sources elsewhere.
        TooMany, NotFound, Unreadable
            Too many of one caller; no database; or it does not answer.
        """
        dataset_of(page)
        text = _text(state, host)
        if len(text) > LARGEST:
            raise InputError(f"a state of {len(text)} bytes: {LARGEST} is the most of a link")
        self._count(caller)
        name = base64.b32encode(sha256(f"{page}\n{text}".encode()).digest()).decode().lower()
        await self._run(self._put, name[:_LENGTH], page, text)
        return name[:_LENGTH]

    async def get(self, name: str, host: str) -> Link:
        """Return what a link leads to.

        Raises
        ------
        NotFound
            There is no such link.
        Unreadable
            The database does not answer.
        """
        found = await self._run(self._get, name) if _NAME.fullmatch(name) else None
        if found is None:
            raise NotFound(f"no link {name[:40]}")
        page, text = found
        return Link(page, _state(text, host))

    def _count(self, caller: str) -> None:
        now = monotonic()
        recent = [at for at in self._made.pop(caller, []) if now - at < _WITHIN]
        self._made[caller] = recent
        while len(self._made) > _CALLERS:
            self._made.popitem(last=False)
        if len(recent) >= _MADE:
            raise TooMany(f"{_MADE} links within {_WITHIN / 60:g} minutes: wait a while")
        recent.append(now)

    async def _run(self, work: Any, *args: str) -> Any:  # noqa: ANN401 - as the work has it
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)
        except StorageError as error:
            raise Unreadable("the database of links cannot be used") from error

    def _open(self) -> Database:
        if self._database is None:
            raise NotFound("this service keeps no links: it has no database")
        return self._database

    def _put(self, name: str, page: str, text: str) -> None:
        database, now = self._open(), int(time())
        database.make()
        with database.write() as connection:
            same = connection.execute(update(LINKS).where(LINKS.c.id == name).values(used=now))
            if same.rowcount:
                return
            count = connection.execute(select(func.count()).select_from(LINKS)).scalar_one()
            if count >= _MOST:
                oldest = select(LINKS.c.id).order_by(LINKS.c.used).limit(count - _MOST + 1)
                connection.execute(delete(LINKS).where(LINKS.c.id.in_(oldest)))
            connection.execute(insert(LINKS).values(id=name, page=page, state=text, used=now))

    def _get(self, name: str) -> tuple[str, str] | None:
        database, now = self._database, int(time())
        if database is None or not database.exists():
            return None
        with database.read() as connection:
            row = connection.execute(select(LINKS).where(LINKS.c.id == name)).first()
        if row is None:
            return None
        if now - row.used > _DAY:
            self._note_use(database, name, now)
        return row.page, row.state

    def _note_use(self, database: Database, name: str, now: int) -> None:
        try:
            with database.write() as connection:
                connection.execute(update(LINKS).where(LINKS.c.id == name).values(used=now))
        except StorageError as error:
            _LOG.warning("when link %s was used could not be kept: %s", name, error)


def dataset_of(page: str) -> DatasetId:
    """Return the dataset of a page of the viewer.

    Raises
    ------
    InputError
        It is no such page.
    """
    match = _PAGE.fullmatch(page)
    if match is None:
        raise InputError(f"page {page[:80]!r}: expected /view/collection/dataset")
    return DatasetId(match[1], match[2])


def _text(state: object, host: str) -> str:
    """Return a state as it is kept, in ASCII; refuse what could not be sent again."""
    try:
        text = json.dumps(
            _portable(state, host), separators=(",", ":"), sort_keys=True, allow_nan=False
        )
        # JSON can spell half a character, which is no text.
        json.dumps(_state(text, host), ensure_ascii=False).encode()
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"state: {error}") from error
    return text


def _state(text: str, host: str) -> dict[str, Any]:
    """Return a state that is kept, for those who reach the service at `host`."""
    state: dict[str, Any] = json.loads(text, object_hook=_at(host))
    return state


def _portable(state: object, host: str) -> dict[str, Any]:
    """Return a state whose sources name the service by no address of its own."""
    if not isinstance(state, dict) or not isinstance(state.get("layers"), list):
        raise InputError("state: expected an object with a list of layers")
    layers = [_layer(layer, host) for layer in state["layers"]]
    return {**state, "layers": layers}


def _layer(layer: object, host: str) -> dict[str, Any]:
    if not isinstance(layer, dict):
        raise InputError("state: expected each layer to be an object")
    return {**layer, "source": _source(layer.get("source"), host)} if "source" in layer else layer


def _source(source: object, host: str) -> object:
    if isinstance(source, list):
        return [_source(each, host) for each in source]
    if isinstance(source, dict):
        return {**source, "url": _source(source.get("url"), host)}
    if not isinstance(source, str):
        raise InputError("state: expected the source of a layer to be an address")
    scheme, _, place = source.partition("://")
    if scheme == "local":
        return source
    # As `precomputed://http://host/…`; behind a stroke may stand another address.
    if not place.startswith(f"{host}/") or "|" in place or "://" in place[len(host) :]:
        raise InputError(f"state: the source {source[:120]!r} is not at this service")
    return f"{_HOST}{scheme}://{place[len(host) :]}"


def _at(host: str) -> Any:  # noqa: ANN401 - a hook of json
    def fill(found: dict[str, Any]) -> dict[str, Any]:
        return {key: _filled(value, host) for key, value in found.items()}

    return fill


def _filled(value: object, host: str) -> object:
    if isinstance(value, str) and value.startswith(_HOST):
        scheme, _, place = value[len(_HOST) :].partition("://")
        return f"{scheme}://{host}{place}"
    return [_filled(each, host) for each in value] if isinstance(value, list) else value
