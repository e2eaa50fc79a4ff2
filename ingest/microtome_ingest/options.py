"""What the user says of a source, over what its file says or where it is silent."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Answers to what a source leaves open; each overrides the file.

    Parameters
    ----------
    axes : str, optional
        The letters of the source's array, in its own order: ``zyx``, ``tzcyx``; ``s`` for samples.
    voxel_size : dict or tuple of float, optional
        Size by spatial axis, or one number a spatial axis in the order of the image's axes; in
        `unit`. Axes that a dict leaves out keep what the file says.
    unit : str, optional
        Any spelling of a length: the unit of `voxel_size` (micrometer without it) or, where that is
        not given, of the numbers in the file.
    time_step : float, optional
        Seconds between time points.
    channels : tuple of str
        Names, as many as there are channels.
    colors : tuple of str
        ``RRGGBB``, as many as there are channels.
    """

    axes: str | None = None
    voxel_size: Mapping[str, float] | tuple[float, ...] | None = None
    unit: str | None = None
    time_step: float | None = None
    channels: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    """What will be stored, every question answered; sequences are in the order of `axes`.

    Parameters
    ----------
    axes : str
        A subsequence of ``tczyx``.
    shape : tuple of int
    dtype : str
        NumPy's name.
    scale : tuple of float
        Voxel size in `units`; seconds for t (1 where unknown), 1 for c.
    units : tuple of str or None
        Standard names; None for c, and for t where the time step is unknown.
    block : tuple of int
        Extents of what the source decodes at once.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...]
    units: tuple[str | None, ...]
    block: tuple[int, ...]
