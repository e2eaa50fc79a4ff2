"""Making a layer of a channel's description, and removing one that was so made."""

from microtome_core.errors import Conflict, TooLarge
from microtome_core.grid import Grid
from microtome_core.layout import choose_layout
from microtome_core.levels import Level
from microtome_core.names import LayerId
from microtome_core.store.create import SHARD_BYTES, NewLayer, create_layer
from microtome_core.store.layer import Layer
from microtome_core.store.location import Store
from microtome_core.units import convert
from microtome_service.bossdb.bodies import ChannelBody
from microtome_service.bossdb.frames import Frame
from microtome_service.bossdb.records import ExperimentRecord

# Which of a layer's shards are empty is one list.
_MOST_SHARDS = 1 << 22


def create_channel(
    store: Store, layer: LayerId, frame: Frame, record: ExperimentRecord, body: ChannelBody
) -> None:
    """Create an empty layer that may be written. Blocks.

    Its levels halve x and y alone, as many as the experiment says: what BossDB's resolutions are.

    Raises
    ------
    Conflict
        It exists, or an ingest of it is under way.
    TooLarge
        More shards than a layer may have.
    """
    times = max(record.num_time_samples, 1)
    axes = "tzyx" if times > 1 else "zyx"
    unit = frame.unit.removesuffix("s") if frame.known else None
    step, step_unit = _time(record)
    shape = (times, *frame.extents)[-len(axes) :]
    scale = (step, *frame.sizes)[-len(axes) :]
    units = (step_unit, unit, unit, unit)[-len(axes) :]
    new = NewLayer(
        axes, shape, body.datatype, scale, units,
        kind="labels" if body.type == "annotation" else "image",
        levels=_levels(axes, shape, scale, record.num_hierarchy_levels or 1),
    )  # fmt: skip
    _check_shards(new)
    create_layer(store, layer, new)


def delete_channel(store: Store, layer: Layer) -> None:
    """Remove a layer that was created to be written: hidden first, then its voxels. Blocks.

    Raises
    ------
    Conflict
        It was ingested, or belongs to an image.
    """
    if not layer.info.writable or layer.path != layer.info.id:
        raise Conflict(f"layer {layer.info.id} was not created through this API: it stays")
    store.remove(f"{layer.path}/zarr.json")
    store.delete(layer.path)


def _levels(
    axes: str, shape: tuple[int, ...], scale: tuple[float, ...], count: int
) -> tuple[Level, ...]:
    levels = []
    for number in range(count):
        if min(shape[-2:]) >> number < 1:
            break
        factors = tuple(2**number if axis in "yx" else 1 for axis in axes)
        extents = tuple(-(-n // f) for n, f in zip(shape, factors, strict=True))
        sizes = tuple(s * f for s, f in zip(scale, factors, strict=True))
        levels.append(Level(factors, extents, sizes))
    return tuple(levels)


def _time(record: ExperimentRecord) -> tuple[float, str | None]:
    if not record.time_step_unit or not record.time_step:
        return 1.0, None
    return convert(record.time_step, record.time_step_unit, "second"), "second"


def _check_shards(new: NewLayer) -> None:
    itemsize = int(new.dtype.removeprefix("uint")) // 8
    layout = choose_layout(new.axes, new.shape, new.scale, itemsize, None, None, SHARD_BYTES)
    count = Grid(new.axes, new.shape, layout.shard).size
    if count > _MOST_SHARDS:
        raise TooLarge(f"a channel of {count} shards: {_MOST_SHARDS} are the most")
