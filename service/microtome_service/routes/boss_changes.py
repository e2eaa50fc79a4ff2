"""Creating, changing and deleting collections, experiments, channels and coordinate frames."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.routing import Route

from microtome_core.errors import Conflict, InputError, MicrotomeError, NotFound
from microtome_core.names import DatasetId, LayerId, check_name
from microtome_service.auth.roles import EVERYWHERE, Role
from microtome_service.bossdb import changes
from microtome_service.bossdb.bodies import (
    MOST_BODY,
    Body,
    ChannelBody,
    ChannelChange,
    CollectionBody,
    ExperimentBody,
    ExperimentChange,
    FrameBody,
    read_body,
)
from microtome_service.bossdb.creation import create_channel, delete_channel
from microtome_service.bossdb.records import (
    ChannelRecord,
    ExperimentRecord,
    FrameRecord,
    ResourceRecord,
)
from microtome_service.bossdb.resources import places_of_frame
from microtome_service.bossdb.words import frame_name
from microtome_service.errors import Forbidden
from microtome_service.routes.boss_call import Call, route
from microtome_service.routes.boss_resources import (
    CHANNEL,
    COLLECTION,
    EXPERIMENT,
    FRAME,
    channel_of,
    collection_of,
    experiment_of,
    frame_of_name,
    names,
    said,
)

_B = TypeVar("_B", bound=Body)


async def create_collection(call: Call) -> Response:
    """Create a collection."""
    name = check_name(call.words["collection"])
    await call.check_may_create_in(name)
    body = await _body(call, CollectionBody, name)
    if any(dataset.collection == name for dataset in await call.view.datasets()):
        raise Conflict(f"collection {name} exists")
    record = ResourceRecord(description=body.description or "", creator=_who(call))
    await _done(call, changes.create_collection, call.service.store, name, record)
    return said(await collection_of(call, name), 201)


async def update_collection(call: Call) -> Response:
    """Describe a collection."""
    name = call.words["collection"]
    await call.check_may_create_in(name)
    await call.resources.check_collection(name)
    body = await _body(call, CollectionBody, name)
    await _describe(call, name, None, body)
    return said(await collection_of(call, name))


async def delete_collection(call: Call) -> Response:
    """Delete a collection in which no experiment is."""
    name = call.words["collection"]
    await call.check_may_create_in(name)
    await call.resources.check_collection(name)
    role = call.view.rules.role_in_collection(call.view.principal, name)
    _check_admin(call, role, name)
    await _done(call, changes.delete_resource, call.service.store, name)
    return Response(status_code=204)


async def create_experiment(call: Call) -> Response:
    """Create an experiment: a dataset whose coordinate frame is there already."""
    dataset = DatasetId(call.words["collection"], call.words["experiment"])
    await call.check_may_create(dataset)
    await call.resources.check_collection(dataset.collection)
    body = await _body(call, ExperimentBody, dataset.dataset)
    await call.resources.frame(body.coord_frame)
    if await _exists(call, dataset):
        raise Conflict(f"experiment {dataset} exists")
    record = ExperimentRecord(
        **{k: v for k, v in body.model_dump(exclude={"name"}).items() if v is not None},
        creator=_who(call),
    )
    store, frame = call.service.store, body.coord_frame
    if await call.records.frame(frame) is None:
        # That of another dataset may go with it: this one needs its own.
        raise Conflict(f"coordinate frame {frame} is that of another experiment: create one")
    await _done(call, changes.update_frame, store, frame, lambda old: _used(old, dataset, True))
    await _done(call, changes.create_experiment, store, dataset, record)
    return said(await experiment_of(call, dataset.collection, dataset.dataset), 201)


async def update_experiment(call: Call) -> Response:
    """Describe an experiment."""
    found = await call.resources.experiment(call.words["collection"], call.words["experiment"])
    await call.check_may_create(found.dataset)
    body = await _body(call, ExperimentChange, found.name)
    await _describe(call, found.dataset.collection, found.dataset.dataset, body)
    return said(await experiment_of(call, found.dataset.collection, found.name))


async def delete_experiment(call: Call) -> Response:
    """Delete an experiment in which no channel is."""
    dataset = DatasetId(call.words["collection"], call.words["experiment"])
    await call.view.layers(dataset)
    await call.check_may_administer(dataset)
    store, record = call.service.store, await call.records.experiment(dataset)
    await _done(call, changes.delete_resource, store, str(dataset))
    if record.coord_frame and await call.records.frame(record.coord_frame) is not None:
        release = changes.update_frame, store, record.coord_frame
        await _done(call, *release, lambda old: _used(old, dataset, False))
    return Response(status_code=204)


async def create_channel_of_path(call: Call) -> Response:
    """Create a channel: a layer of the experiment's frame whose voxels are 0 and may be written."""
    collection, experiment, name = names(call)
    layer = LayerId(collection, experiment, name)
    await call.check_may_create(layer.parent)
    body = await _body(call, ChannelBody, name)
    home = await call.resources.experiment(collection, experiment)
    if home.frame is None or home.name != layer.dataset or home.dataset != layer.parent:
        raise NotFound(f"no experiment {layer.parent} with a coordinate frame of its own")
    if any(channel.name == name for channel in home.channels):
        raise Conflict(f"channel {layer} exists")
    await _done(call, create_channel, call.service.store, layer, home.frame, home.record, body)
    record = ChannelRecord(
        description=body.description or "",
        creator=_who(call),
        sources=body.sources,
        related=body.related,
    )
    values = record.model_dump(exclude={"metadata", "next_id", "reserved_by"})
    await _done(call, changes.update_channel, call.service.store, layer.parent, name, values)
    return said(await channel_of(call), 201)


async def update_channel(call: Call) -> Response:
    """Describe a channel."""
    channel = await call.resources.channel(*names(call))
    layer = channel.info.layer_id
    await call.check_may_write(layer)
    body = await _body(call, ChannelChange, channel.name)
    if body.public not in (None, call.is_public(layer.parent)):
        raise Forbidden("who may see a dataset is said by microtome's own grants, not here")
    values = body.model_dump(exclude={"name", "public"}, exclude_none=True)
    await _done(
        call, changes.update_channel, call.service.store, layer.parent, channel.name, values
    )
    return said(await channel_of(call))


async def delete_channel_of_path(call: Call) -> Response:
    """Delete a channel that was created, with its voxels; what was ingested stays."""
    channel = await call.resources.channel(*names(call))
    layer = channel.info.layer_id
    await call.check_may_administer(layer.parent)
    await _done(call, delete_channel, call.service.store, channel.layer)
    await _done(call, changes.update_channel, call.service.store, layer.parent, channel.name, None)
    return Response(status_code=204)


async def create_frame(call: Call) -> Response:
    """Create a coordinate frame."""
    await _check_may_name(call, call.words["frame"])
    name = frame_name(call.words["frame"])
    body = await _body(call, FrameBody, name)
    try:
        await call.resources.frame(name)
    except NotFound:
        pass
    else:
        raise Conflict(f"coordinate frame {name} exists")
    frame = body.frame
    record = FrameRecord(
        description=body.description or "", creator=_who(call),
        extents=frame.extents, sizes=frame.sizes, unit=frame.unit,
    )  # fmt: skip
    await _done(call, changes.create_frame, call.service.store, name, record)
    return said(await frame_of_name(call, name), 201)


async def update_frame(call: Call) -> Response:
    """Describe a coordinate frame that was created; its extents stay."""
    name = await _own_frame(call)
    body = await _body(call, Body, name)
    if body.description is not None:
        text = body.description
        await _done(call, changes.update_frame, call.service.store, name,
                    lambda _: {"description": text})  # fmt: skip
    return said(await frame_of_name(call, name))


async def delete_frame(call: Call) -> Response:
    """Delete a coordinate frame that no experiment uses."""
    name = await _own_frame(call)
    record = await call.records.frame(name)
    if record is not None and record.used_by:
        raise Conflict(f"coordinate frame {name} is used by {len(record.used_by)} experiments")
    await _done(call, changes.delete_frame, call.service.store, name)
    return Response(status_code=204)


async def _own_frame(call: Call) -> str:
    """Return the name of a frame that the caller created, or may change as the administrator."""
    name = call.words["frame"]
    await _check_may_name(call, name)
    await call.resources.frame(name)
    record = await call.records.frame(name)
    if record is None:
        raise Conflict(f"coordinate frame {name} is that of a dataset, and as its layers are")
    if record.creator != _who(call):
        _check_admin(
            call, call.view.rules.role_in_collection(call.view.principal, EVERYWHERE), name
        )
    return name


async def _check_may_name(call: Call, name: str) -> None:
    """Return if the caller may write, and in the dataset for whose frame a name stands, if for any.

    Raises as `View.check_may_create`.
    """
    call.check_may_write_somewhere()
    refusals: list[MicrotomeError] = []
    for collection, experiment in places_of_frame(name):
        try:
            await call.check_may_create(DatasetId(collection, experiment))
        except (InputError, NotFound, Forbidden) as error:
            refusals.append(error)
        else:
            return
    told = [error for error in refusals if not isinstance(error, InputError)]
    if told:
        raise next((e for e in told if isinstance(e, Forbidden)), told[0])


def _check_admin(call: Call, role: Role, what: str) -> None:
    if role < Role.ADMIN and not call.service.settings.anonymous_writes:
        raise Forbidden(f"{what}: {call.view.principal.name} may not administer it")


async def _exists(call: Call, dataset: DatasetId) -> bool:
    try:
        await call.view.layers(dataset)
    except NotFound:
        return False
    return True


def _used(record: FrameRecord, dataset: DatasetId, used: bool) -> dict[str, Any]:
    others = set(record.used_by) - {str(dataset)}
    return {"used_by": sorted(others | {str(dataset)} if used else others)}


async def _describe(call: Call, collection: str, dataset: str | None, body: Body) -> None:
    values = body.model_dump(exclude={"name"}, exclude_none=True)
    await _done(call, changes.update_resource, call.service.store, collection, dataset, values)


async def _body(call: Call, model: type[_B], name: str) -> _B:
    call.query()
    return read_body(model, await call.body(MOST_BODY, "a description"), name)


def _who(call: Call) -> str:
    return call.view.principal.name


async def _done(call: Call, work: Callable[..., object], *args: object) -> None:
    """Do what blocks in a thread, and let everybody here see it."""
    try:
        await asyncio.to_thread(work, *args)
    finally:
        call.service.catalog.forget()
        call.service.index.forget()


def routes() -> list[Route]:
    """Return the routes."""
    handlers = {
        COLLECTION: (create_collection, update_collection, delete_collection),
        EXPERIMENT: (create_experiment, update_experiment, delete_experiment),
        CHANNEL: (create_channel_of_path, update_channel, delete_channel_of_path),
        FRAME: (create_frame, update_frame, delete_frame),
    }
    return [
        route(path, handler, method)
        for path, each in handlers.items()
        for handler, method in zip(each, ("POST", "PUT", "DELETE"), strict=True)
    ]
