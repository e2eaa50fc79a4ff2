"""What the user says: of a source, over what its file says, and of how it is stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from microtome_core.errors import InputError
from microtome_core.store.array import Codec
from microtome_ingest.extents import Extents

Kind = Literal["image", "labels"]


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


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How a layer is stored.

    Parameters
    ----------
    kind : str
        ``image`` or ``labels``: binned by mean or by mode.
    labels_of : str, optional
        Name of the image in the same dataset to which these labels belong.
    chunk, shard : Extents, optional
        Instead of those that microtome would choose.
    codec : Codec
    levels : int, optional
        How many, instead of until the coarsest fits one chunk.
    memory : int
        Bytes that the whole job may take.
    threads : int, optional
        Steps in flight at most; one more than there are cores by default.
    restart : bool
        Replace a layer, or an unfinished ingest of it, that was made of another source or with
        other settings; one that was made with the same is gone on with. A layer stays as it is
        until the new one is whole.
    grace : float
        Seconds for which a replaced layer's voxels are kept for those who have it open.
    scene : int, optional
        Which image of the source it is, to find it again.
    started : str, optional
        The time in the layer's history, ISO 8601, instead of now.
    metadata : dict, optional
        What is said of the layer over what its source says: a merge patch of its record.

    Raises
    ------
    InputError
        Levels, memory or threads below 1.
    """

    kind: Kind = "image"
    labels_of: str | None = None
    chunk: Extents | None = None
    shard: Extents | None = None
    codec: Codec = Codec()
    levels: int | None = None
    memory: int = 2 * 2**30
    threads: int | None = None
    restart: bool = False
    grace: float = 10.0
    scene: int | None = None
    started: str | None = None
    metadata: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("levels", "memory", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name} {value}: expected at least 1")
        if not 0 <= self.grace <= 86400:
            raise InputError(f"--grace {self.grace}: expected 0 to 86400 seconds")
