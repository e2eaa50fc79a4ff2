"""What the arrays of a layer allow its record to say of frames and bits."""

from collections.abc import Container, Iterator
from dataclasses import dataclass

import numpy as np

from microtome_core.names import LayerId
from microtome_core.store.layer import find_layer, read_layer
from microtome_core.store.location import Store
from microtome_core.store.record import Record
from microtome_core.units import convert
from microtome_core.wire import LayerInfo

_HELD = ("significant_bits", "imaging_plane")
# 29.97 frames a second are told as 30.
_SAME_RATE = 0.01


@dataclass(frozen=True, slots=True)
class Arrays:
    """What a record may not contradict.

    Parameters
    ----------
    dtype : str
    time_step : float, optional
        Seconds from frame to frame, or from volume to volume; None where nobody knows.
    planes : int
        Along z.
    """

    dtype: str
    time_step: float | None = None
    planes: int = 1

    def faults(self, record: Record, given: Container[str]) -> Iterator[str]:
        """Yield each contradiction in what is given of a record, by its field, and how to mend it.

        Fields that were not given stand as their source told them.
        """
        bits = record.significant_bits if "significant_bits" in given else None
        most = np.dtype(self.dtype).itemsize * 8
        if bits is not None and bits > most:
            yield f"significant_bits: {bits} is more than {self.dtype} has; write at most {most}"
        plane = record.imaging_plane if "imaging_plane" in given else None
        rate = plane.imaging_rate if plane else None
        if rate and self.time_step and not self._is_rate(rate * self.time_step):
            yield (
                f"imaging_plane.imaging_rate: {rate:g} frames a second are not those of the layer, "
                f"whose time step is {self.time_step:g} s; write {1 / self.time_step:.6g}, or "
                "ingest with --time-step"
            )

    def _is_rate(self, frames: float) -> bool:
        """Tell whether so many frames may fall into one time step: of a stack, those of planes."""
        return abs(frames - 1) <= _SAME_RATE or (self.planes > 1 and frames > 1)


def arrays_of(info: LayerInfo) -> Arrays:
    """Return what the record of a layer may not contradict."""
    along = dict(zip(info.axes, zip(info.levels[0].scale, info.units, strict=True), strict=True))
    step, unit = along.get("t", (0.0, None))
    planes = dict(zip(info.axes, info.shape, strict=True)).get("z", 1)
    return Arrays(info.dtype, convert(step, unit, "second") if unit else None, planes)


def arrays_for(store: Store, layer_id: LayerId, given: Container[str]) -> Arrays | None:
    """Return the same where it is needed for what is given: a recording has no voxels to deny it.

    Raises
    ------
    StorageError
    """
    asked = any(name in given for name in _HELD)
    if not asked or find_layer(store, layer_id) is None:
        return None
    return arrays_of(read_layer(store, layer_id).info)
