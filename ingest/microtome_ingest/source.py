"""What a source is: a description of itself, and regions on demand."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from microtome_core.region import Region
from microtome_ingest.files import Stamp


@dataclass(frozen=True, slots=True)
class SourceChannel:
    """A channel as its file tells it; None where the file is silent.

    Parameters
    ----------
    name : str, optional
    color : str, optional
        Six hexadecimal digits.
    window : (float, float), optional
        The display range that the file stores.
    metadata : dict
        Dye, wavelengths in nm and the like, under NWB's names where NWB has one.
    """

    name: str | None = None
    color: str | None = None
    window: tuple[float, float] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scene:
    """One image of a source that holds several.

    Parameters
    ----------
    index : int
        What ``--scene`` takes.
    name : str
        As the file calls it, or empty.
    axes : str
        As in `Description`.
    shape : tuple of int
        In the order of `axes`.
    dtype : str
        NumPy's name.
    """

    index: int
    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        extent = " × ".join(map(str, self.shape))
        return f"{self.index}: {self.name or 'unnamed'}, {self.axes} {extent} {self.dtype}"


@dataclass(frozen=True, slots=True)
class Description:
    """What a source says of one of its images. Nothing in here is a guess.

    Parameters
    ----------
    format : str
        For example ``OME-TIFF``.
    axes : str
        One lower-case letter an axis, in the order of the file's array: ``t c z y x``, ``s`` for
        the samples of a pixel (RGB), any other for an axis whose meaning the file leaves open.
    shape : tuple of int
        In the order of `axes`.
    dtype : str
        NumPy's name, native byte order.
    block : tuple of int
        Extents of what the format decodes at once, in the order of `axes`.
    files : tuple of str
        Every file that belongs to the image; hashed into the record.
    image : str
        What, beside the bytes of `files`, decides which voxels these are: the number of the scene,
        the name of a member, the address of a computed volume.
    voxel_size : dict
        Size by spatial axis, in `unit`; axes that the file does not measure are absent.
    unit : str, optional
        Standard name of the unit of `voxel_size`; None where the file has numbers without a unit.
    time_step : float, optional
        Seconds between time points.
    channels : tuple of SourceChannel
        As many as axis c (or s) is long, or empty.
    metadata : dict
        Everything else, JSON-able, verbatim under the format's name.
    notes : tuple of str
        What could not be kept, in words for the user.
    """

    format: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    block: tuple[int, ...]
    files: tuple[str, ...]
    image: str = ""
    voxel_size: Mapping[str, float] = field(default_factory=dict)
    unit: str | None = None
    time_step: float | None = None
    channels: tuple[SourceChannel, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What messages call it: its first file, or its format where it has none."""
        return self.files[0] if self.files else self.format


class Source(Protocol):
    """One image of one source. `read` may be called from several threads at once."""

    @property
    def description(self) -> Description:
        """What the source says of itself."""

    def read(self, region: Region) -> NDArray[Any]:
        """Return one region, its axes being those of the description, in native byte order.

        Raises
        ------
        SourceError
            Damage, with the file and the position. Never zeros instead.
        """

    @property
    def decoded(self) -> int:
        """Bytes of voxels decoded or computed so far, those that a read did not need included."""

    @property
    def stamps(self) -> Mapping[str, Stamp]:
        """Every file of the description by its path, as it was when the source was opened."""

    def close(self) -> None:
        """Release files; safe to call twice."""
