"""What answers say of a layer that may be written at any moment."""

from collections.abc import Sequence

from microtome_core.errors import TooLarge
from microtome_core.region import Region
from microtome_core.store.layer import Layer
from microtome_service.negotiate import entity_tag
from microtome_service.state import Service
from microtome_service.writes import state_of


async def live_headers(
    service: Service, layer: Layer, level: int, regions: Sequence[Region], etag: str
) -> dict[str, str]:
    """Return headers that replace those of a layer which never changes; none for such a layer.

    The tag is of the voxels before they are read: what is read may be newer, never older.

    Raises
    ------
    TooLarge
        Of more shards than one answer may touch chunks: of each the state is looked at.
    Unreadable
        Storage failed.
    """
    if layer.live is None:
        return {}
    _check_shards(service, layer, level, regions)
    state = await state_of(layer, level, regions)
    headers = {"ETag": entity_tag(etag, state=state), "Cache-Control": "public, no-cache"}
    if level > 0:
        current = await service.writes.is_current(layer)
        headers["X-Microtome-Pyramid"] = "current" if current else "updating"
    return headers


def _check_shards(service: Service, layer: Layer, level: int, regions: Sequence[Region]) -> None:
    count = sum(map(layer.voxels[level].shards.count_touched, regions))
    if count > service.limits.chunks:
        raise TooLarge(
            f"{count} shards of a layer that may be written, the limit is {service.limits.chunks}: "
            "ask for smaller parts"
        )
