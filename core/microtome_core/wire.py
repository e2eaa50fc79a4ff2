"""What service and client say to each other about a layer, as plain frozen structures.

Both sides share these classes, so a field is spelt once. JSON is what `dataclasses.asdict` gives.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import prod
from typing import Any

import numpy as np

from microtome_core.errors import InputError
from microtome_core.names import LayerId


@dataclass(frozen=True, slots=True)
class Channel:
    """One colour of a layer.

    Parameters
    ----------
    name : str
        As the source or the user calls it.
    color : str
        Six hexadecimal digits, ``RRGGBB``.
    window : (float, float)
        Values shown as black and as full colour.
    """

    name: str
    color: str
    window: tuple[float, float]


@dataclass(frozen=True, slots=True)
class LevelInfo:
    """One resolution of a layer; every sequence is in the order of the layer's axes.

    Parameters
    ----------
    shape, chunk, shard : tuple of int
        Extents in voxels of the level, of a unit of compression and of a stored object.
    scale, translation : tuple of float
        Voxel size and centre of the first voxel, in the units of the layer's axes.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...]
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """All that one needs to know to read a layer.

    Parameters
    ----------
    id : str
        ``collection/dataset/layer``.
    kind : str
        ``image`` or ``labels``.
    axes : str
        One letter an axis, in array order.
    units : tuple of str or None
        Unit of each axis, in the order of `axes`.
    dtype : str
        NumPy's name, without byte order.
    levels : tuple of LevelInfo
        Finest first.
    channels : tuple of Channel
        One for each index of axis c; a single one where that axis is absent; none for labels.
    version : str
        Of the voxels and what is needed to read them: another one once they were replaced.
    attrs : dict
        The NWB-style record.
    writable : bool
        It was created to be written: its voxels may change while its version stays.
    record_version : str
        Of all metadata: another one whenever the record has changed, too.
    """

    id: str
    kind: str
    axes: str
    units: tuple[str | None, ...]
    dtype: str
    levels: tuple[LevelInfo, ...]
    channels: tuple[Channel, ...]
    version: str
    attrs: dict[str, Any] = field(default_factory=dict)
    writable: bool = False
    record_version: str = ""

    @property
    def layer_id(self) -> LayerId:
        """The address, taken apart."""
        return LayerId.parse(self.id)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of level 0."""
        return self.levels[0].shape

    @property
    def nbytes(self) -> int:
        """Bytes of level 0, uncompressed."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "LayerInfo":
        """Read a layer's JSON; fields that are unknown here are left alone.

        Raises
        ------
        InputError
            A field that is missing or has the wrong form: the other side is no microtome service,
            or one of another age.
        """
        try:
            return cls(
                **{k: _tuples(value[k]) for k in _FLAT},
                levels=tuple(LevelInfo(**_known(LevelInfo, level)) for level in value["levels"]),
                channels=tuple(Channel(**_known(Channel, c)) for c in value["channels"]),
                attrs=dict(value["attrs"]),
                writable=bool(value.get("writable", False)),
                record_version=str(value.get("record_version", value["version"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a layer's JSON: {error!r}") from error


_FLAT = ("id", "kind", "axes", "units", "dtype", "version")


def _known(cls: type, value: Mapping[str, Any]) -> dict[str, Any]:
    return {f.name: _tuples(value[f.name]) for f in fields(cls)}


def _tuples(value: Any) -> Any:  # noqa: ANN401 - a JSON value is anything
    return tuple(value) if isinstance(value, list) else value
