"""What a flavour of TIFF says beside its voxels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from microtome_ingest.source import SourceChannel


@dataclass(frozen=True, slots=True)
class Facts:
    """Parts of a `Description` that a flavour of TIFF fills in.

    Parameters
    ----------
    format : str
    voxel_size : dict
        (size, standard unit or None) by axis.
    time_step : float, optional
        Seconds.
    channels : tuple of SourceChannel
    metadata : dict
    notes : tuple of str
    """

    format: str
    voxel_size: Mapping[str, tuple[float, str | None]] = field(default_factory=dict)
    time_step: float | None = None
    channels: tuple[SourceChannel, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
