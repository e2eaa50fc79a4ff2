"""Key-value metadata of collections, experiments and channels."""

import asyncio
from collections.abc import Callable

from starlette.responses import Response
from starlette.routing import Route

from microtome_core.errors import Conflict, InputError, NotFound, TooLarge
from microtome_core.names import DatasetId
from microtome_service.bossdb.changes import change_pairs, refused
from microtome_service.bossdb.records import ChannelRecord
from microtome_service.routes.boss_call import Call, route
from microtome_service.routes.boss_resources import said

_LONGEST_KEY = 255
_LONGEST_VALUE = 16384
Pairs = dict[str, str]


async def get_pairs(call: Call) -> Response:
    """List keys, or return the value of one."""
    query = call.query("key")
    place = await _place(call)
    pairs = await _pairs(call, place)
    if "key" not in query:
        return said({"keys": sorted(pairs)})
    if query["key"] not in pairs:
        raise _absent(query["key"])
    return said({"key": query["key"], "value": pairs[query["key"]]})


async def create_pair(call: Call) -> Response:
    """Add a key; 409 where it has another value."""
    place = await _change_place(call)
    key, value = _key(call), _value(call)

    def change(pairs: Pairs) -> Pairs:
        if pairs.get(key, value) != value:
            raise refused(Conflict(f"key {key[:80]!r} exists"))
        return {**pairs, key: value}

    await _apply(call, place, change)
    return said({"key": key, "value": value}, 201)


async def update_pair(call: Call) -> Response:
    """Give a key another value."""
    place = await _change_place(call)
    key, value = _key(call), _value(call)

    def change(pairs: Pairs) -> Pairs:
        if key not in pairs:
            raise refused(_absent(key))
        return {**pairs, key: value}

    await _apply(call, place, change)
    return said({"key": key, "value": value})


async def delete_pair(call: Call) -> Response:
    """Remove a key."""
    place = await _change_place(call)
    key = _key(call)
    if key not in await _pairs(call, place):
        raise _absent(key)
    await _apply(call, place, lambda pairs: {k: v for k, v in pairs.items() if k != key})
    return Response(status_code=204)


async def _apply(call: Call, place: tuple[str, ...], change: Callable[[Pairs], Pairs]) -> None:
    await asyncio.to_thread(change_pairs, call.service.store, place, change)


async def _place(call: Call) -> tuple[str, ...]:
    """Return collection, dataset and channel, as many as the path names; NotFound if absent."""
    words = call.words
    if "experiment" not in words:
        await call.resources.check_collection(words["collection"])
        return (words["collection"],)
    if "channel" not in words:
        found = await call.resources.experiment(words["collection"], words["experiment"])
        return (found.dataset.collection, found.dataset.dataset)
    where = (words["collection"], words["experiment"], words["channel"])
    channel = await call.resources.channel(*where)
    dataset = channel.info.layer_id.parent
    return (dataset.collection, dataset.dataset, channel.name)


async def _change_place(call: Call) -> tuple[str, ...]:
    """Return the same of what the caller may change."""
    if "experiment" not in call.words:
        await call.check_may_create_in(call.words["collection"])
        return await _place(call)
    place = await _place(call)
    await call.check_may_create(DatasetId(place[0], place[1]))
    return place


async def _pairs(call: Call, place: tuple[str, ...]) -> Pairs:
    if len(place) == 1:
        return (await call.records.collection(place[0])).metadata
    record = await call.records.experiment(DatasetId(place[0], place[1]))
    if len(place) == 2:
        return record.metadata
    return record.channels.get(place[2], ChannelRecord()).metadata


def _key(call: Call) -> str:
    key = call.query("key", "value").get("key", "")
    if not 0 < len(key) <= _LONGEST_KEY:
        raise InputError(f"key of {len(key)} characters: expected 1 to {_LONGEST_KEY}")
    return key


def _value(call: Call) -> str:
    query = call.query("key", "value")
    if "value" not in query:
        raise InputError("no value: expected ?key=KEY&value=VALUE")
    if len(query["value"]) > _LONGEST_VALUE:
        raise TooLarge(f"a value of {len(query['value'])} characters: {_LONGEST_VALUE} are kept")
    return query["value"]


def _absent(key: str) -> NotFound:
    return NotFound(f"no key {key[:80]!r}")


def routes() -> list[Route]:
    """Return the routes."""
    found = []
    for path in (
        "{collection}",
        "{collection}/{experiment}",
        "{collection}/{experiment}/{channel}",
    ):
        found += [
            route(f"/meta/{path}", get_pairs),
            route(f"/meta/{path}", create_pair, "POST"),
            route(f"/meta/{path}", update_pair, "PUT"),
            route(f"/meta/{path}", delete_pair, "DELETE"),
        ]
    return found
