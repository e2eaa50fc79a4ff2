"""Which channels a layer is, and of which of BossDB's three types."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_core.errors import InputError
from microtome_core.store.layer import Layer
from microtome_core.wire import LayerInfo
from microtome_service.appearance import channel_count
from microtome_service.bossdb.errors import TypeMismatch

# intern refuses every other.
DATATYPES = ("uint8", "uint16", "uint64")
_WIDER = {"uint32": "uint64"}
_IDS = ("int8", "int16", "int32", "int64")
_PART = re.compile(r"(.+)--c([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel: a layer, or one index of its axis c.

    Parameters
    ----------
    name : str
        ``layer``, or ``layer--c0`` and so on where the layer has several.
    layer : Layer
    index : int
        Along axis c.
    datatype : str
        One of `DATATYPES`.
    """

    name: str
    layer: Layer
    index: int
    datatype: str

    @property
    def info(self) -> LayerInfo:
        """What is known of the layer."""
        return self.layer.info

    @property
    def kind(self) -> str:
        """BossDB's word: ``image`` or ``annotation``."""
        return "annotation" if self.info.kind == "labels" else "image"

    def cast(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return voxels in the channel's type, none of them changed.

        Raises
        ------
        TypeMismatch
            A negative id, for which BossDB has no type.
        """
        if block.dtype.kind == "i" and block.size and block.min() < 0:
            raise TypeMismatch(
                f"layer {self.info.id} holds a negative id here, which {self.datatype} cannot: "
                f"read it by /api/datasets/{self.info.id}/cutout"
            )
        return block.astype(self.datatype, copy=False)

    def uncast(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return voxels of the channel's type in that of the layer, none of them changed.

        Raises
        ------
        TypeMismatch
            One that the layer cannot hold.
        """
        most = np.iinfo(self.info.dtype).max
        if np.iinfo(block.dtype).max > most and block.size and block.max() > most:
            raise TypeMismatch(
                f"layer {self.info.id} is stored as {self.info.dtype}: {most} is the largest"
            )
        return block.astype(self.info.dtype, copy=False)


def datatype_of(info: LayerInfo) -> str:
    """Return the type by which a layer's voxels go out, each of them exact.

    uint32 becomes uint64, and so do ids of signed types, none of which may be negative.

    Raises
    ------
    TypeMismatch
        Floating point, or an image of a signed type: BossDB has no type for them.
    """
    if info.dtype in DATATYPES:
        return info.dtype
    if info.dtype in _WIDER:
        return _WIDER[info.dtype]
    if info.kind == "labels" and info.dtype in _IDS:
        return "uint64"
    raise TypeMismatch(
        f"layer {info.id} holds {info.dtype}, and this API {', '.join(DATATYPES)} alone: "
        f"read it by /api/datasets/{info.id}/cutout or /zarr/{info.id}"
    )


def is_presentable(info: LayerInfo) -> bool:
    """Tell whether BossDB has a type for a layer."""
    try:
        datatype_of(info)
    except TypeMismatch:
        return False
    return True


def channels_of(layer: Layer) -> tuple[Channel, ...]:
    """Return every channel of a layer for which BossDB has a type."""
    if not is_presentable(layer.info):
        return ()
    return tuple(channel_at(layer, i) for i in range(channel_count(layer.info)))


def channel_at(layer: Layer, index: int) -> Channel:
    """Return one channel; raises as `datatype_of`.

    Raises
    ------
    InputError
        No such index.
    """
    name, count = layer.info.layer_id.layer, channel_count(layer.info)
    if not 0 <= index < count:
        raise InputError(
            f"layer {layer.info.id} has {count} channels: valid is --c0 to --c{count - 1}"
        )
    full = name if count == 1 else f"{name}--c{index}"
    return Channel(full, layer, index, datatype_of(layer.info))


def split_name(name: str) -> tuple[str, int] | None:
    """Return layer and index of ``layer--cN``, or None.

    >>> split_name("brain--c2"), split_name("brain")
    (('brain', 2), None)
    """
    found = _PART.fullmatch(name)
    return (found[1], int(found[2])) if found else None
