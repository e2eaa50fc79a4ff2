"""What there is, in BossDB's words: collections, experiments, channels, frames, downsampling."""

from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from microtome_core.errors import InputError
from microtome_core.names import DatasetId
from microtome_service.bossdb.channels import Channel
from microtome_service.bossdb.documents import (
    channel_json,
    collection_json,
    downsample_json,
    downsample_status,
    experiment_json,
    frame_json,
)
from microtome_service.bossdb.frames import frame_of
from microtome_service.bossdb.records import ChannelRecord
from microtome_service.routes.boss_call import Call, route

_FRESH = {"Cache-Control": "no-cache"}


async def list_collections(call: Call) -> Response:
    """List collections."""
    call.query()
    return said({"collections": await call.resources.collections()})


async def list_experiments(call: Call) -> Response:
    """List the experiments of a collection."""
    call.query()
    return said({"experiments": await call.resources.experiments(call.words["collection"])})


async def list_channels(call: Call) -> Response:
    """List the channels of an experiment."""
    call.query()
    found = await call.resources.experiment(call.words["collection"], call.words["experiment"])
    return said({"channels": [channel.name for channel in found.channels]})


async def list_frames(call: Call) -> Response:
    """List coordinate frames."""
    call.query("owner")
    return said({"coords": await call.resources.frames()})


async def get_collection(call: Call) -> Response:
    """Return one collection."""
    call.query()
    return said(await collection_of(call, call.words["collection"]))


async def get_experiment(call: Call) -> Response:
    """Return one experiment."""
    call.query()
    return said(await experiment_of(call, call.words["collection"], call.words["experiment"]))


async def get_channel(call: Call) -> Response:
    """Return one channel."""
    call.query()
    return said(await channel_of(call))


async def get_frame(call: Call) -> Response:
    """Return one coordinate frame."""
    call.query()
    return said(await frame_of_name(call, call.words["frame"]))


async def get_downsample(call: Call) -> Response:
    """Return which resolutions a channel has, and the voxel size and extents of each."""
    # Resolutions halve x and y alone: to ask for isotropic ones is to ask for others.
    if call.query("iso").get("iso", "false").lower() != "false":
        raise InputError("iso: resolutions halve x and y alone, isotropic ones are not served")
    channel = await call.resources.channel(*names(call))
    words = downsample_json(channel, frame_of(channel.info))
    return said({**words, "status": await _status(call, channel)})


def names(call: Call) -> tuple[str, str, str]:
    """Return collection, experiment and channel of a path."""
    return call.words["collection"], call.words["experiment"], call.words["channel"]


def said(words: dict[str, Any] | list[Any], status: int = 200) -> Response:
    """Return JSON as an answer."""
    return JSONResponse(words, status, headers=_FRESH)


async def collection_of(call: Call, name: str) -> dict[str, Any]:
    """Return what is known of a collection; NotFound if there is none."""
    experiments = await call.resources.experiments(name)
    record = await call.records.collection(name)
    datasets = [d for d in await call.view.datasets() if d.collection == name]
    public = bool(datasets) and all(map(call.is_public, datasets))
    return collection_json(name, record, experiments, public=public)


async def experiment_of(call: Call, collection: str, name: str) -> dict[str, Any]:
    """Return what is known of an experiment; NotFound if there is none."""
    found = await call.resources.experiment(collection, name)
    return experiment_json(found, public=call.is_public(found.dataset))


async def channel_of(call: Call) -> dict[str, Any]:
    """Return what is known of the channel of a path."""
    channel = await call.resources.framed_channel(*names(call))
    dataset = channel.info.layer_id.parent
    record = await channel_record(call, dataset, channel)
    words = channel_json(channel, record, public=call.is_public(dataset))
    return {**words, "downsample_status": await _status(call, channel)}


async def _status(call: Call, channel: Channel) -> str:
    """Return BossDB's word for whether coarser resolutions have all that was written."""
    status = downsample_status(channel.info)
    if channel.layer.live is None or len(channel.info.levels) == 1:
        return status
    return status if await call.service.writes.is_current(channel.layer) else "IN_PROGRESS"


async def channel_record(call: Call, dataset: DatasetId, channel: Channel) -> ChannelRecord:
    """Return what was written down of a channel."""
    record = await call.records.experiment(dataset)
    return record.channels.get(channel.name, ChannelRecord())


async def frame_of_name(call: Call, name: str) -> dict[str, Any]:
    """Return what is known of a frame; NotFound if there is none."""
    frame, description = await call.resources.frame(name)
    return frame_json(name, frame, description)


COLLECTION = "/collection/{collection}"
EXPERIMENT = f"{COLLECTION}/experiment/{{experiment}}"
CHANNEL = f"{EXPERIMENT}/channel/{{channel}}"
FRAME = "/coord/{frame}"
DOWNSAMPLE = "/downsample/{collection}/{experiment}/{channel}"


def routes() -> list[Route]:
    """Return the routes."""
    return [
        route("/collection", list_collections),
        route(COLLECTION, get_collection),
        route(f"{COLLECTION}/experiment", list_experiments),
        route(EXPERIMENT, get_experiment),
        route(f"{EXPERIMENT}/channel", list_channels),
        route(CHANNEL, get_channel),
        route("/coord", list_frames),
        route(FRAME, get_frame),
        route(DOWNSAMPLE, get_downsample),
    ]
