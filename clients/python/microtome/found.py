"""Datasets and layers as lists name them: light, until one is opened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from microtome.address import Address, Addressed
from microtome.display import voxel_text
from microtome.errors import NotFound, WrongAnswer
from microtome.transport import Transport
from microtome.volume import open_at
from microtome_core.names import LayerId
from microtome_core.units import bytes_text


@dataclass(frozen=True, slots=True, repr=False)
class FoundLayer(Addressed):
    """A layer or a recording in a list.

    Parameters
    ----------
    address : Address
    kind : str
        ``image``, ``labels`` or ``recording``; empty for one that is damaged.
    about : mapping of str to tuple of str
        What its record says of species, sex, technique, license and channel.
    facts : mapping
        What else the list says: of a volume axes, shape, dtype, scale, units and levels; of a
        recording trials, neurons and variables; of a damaged one the error.
    transport : Transport
    """

    address: Address
    kind: str
    about: Mapping[str, tuple[str, ...]]
    facts: Mapping[str, Any] = field(repr=False)
    transport: Transport = field(repr=False)

    @property
    def error(self) -> str | None:
        """Why it cannot be read; None where it can."""
        return self.facts.get("error")

    def open(self, level: int = 0) -> Any:  # noqa: ANN401 - as microtome.open
        """Open it, as `microtome.open` does."""
        return open_at(self.address, self.transport, level)

    def __repr__(self) -> str:
        return f"<microtome {self.kind or 'damaged layer'} {self.id}: {self._text()}>"

    def _text(self) -> str:
        told = self.facts
        if self.error is not None:
            return self.error
        if self.kind == "recording":
            return f"{told.get('trials')} trials of {told.get('neurons')} neurons"
        axes, shape = str(told.get("axes")), tuple(told.get("shape", ()))
        sizes = dict(zip(axes, told.get("scale", ()), strict=False))
        spatial = {axis: size for axis, size in sizes.items() if axis in "zyx"}
        units = dict(zip(axes, told.get("units", ()), strict=False))
        size = bytes_text(told.get("nbytes", 0))
        return f"{axes} {shape} {told.get('dtype')}, {size}, voxel {voxel_text(spatial, units)}"


@dataclass(frozen=True, slots=True, repr=False)
class Dataset:
    """A dataset in a list.

    Parameters
    ----------
    id : str
        ``collection/dataset``.
    url : str
        The address of its page.
    layers : tuple of FoundLayer
        Its volumes and recordings.
    annotations : tuple of str
        Names of its SWC files.
    """

    id: str
    url: str
    layers: tuple[FoundLayer, ...]
    annotations: tuple[str, ...]

    def __getitem__(self, name: str) -> FoundLayer:
        """Return a layer by its name.

        Raises
        ------
        NotFound
            There is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = ", ".join(layer.name for layer in self.layers) or "none"
        raise NotFound(f"dataset {self.id} has no layer {name[:80]!r}: it has {names}")

    @property
    def about(self) -> dict[str, tuple[str, ...]]:
        """What the records of its layers say, each value once."""
        merged: dict[str, dict[str, None]] = {}
        for layer in self.layers:
            for name, values in layer.about.items():
                merged.setdefault(name, {}).update(dict.fromkeys(values))
        return {name: tuple(values) for name, values in merged.items()}

    def __repr__(self) -> str:
        names = ", ".join(layer.name for layer in self.layers) or "no layer"
        species = ", ".join(self.about.get("species", ()))
        return f"<microtome.Dataset {self.id}: {names}{species and f'; {species}'}>"


def read_dataset(value: Any, base: str, transport: Transport) -> Dataset:  # noqa: ANN401 - JSON
    """Read a dataset's JSON; what is unknown here is left alone.

    Raises
    ------
    WrongAnswer
        It has another form.
    """
    try:
        told: dict[str, Any] = dict(value)
        parts = [*told["layers"], *told.get("recordings", ())]
        layers = tuple(_layer(dict(part), str(told["id"]), base, transport) for part in parts)
        annotations = tuple(str(each["name"]) for each in told.get("annotations", ()))
        return Dataset(str(told["id"]), f"{base}/{told['id']}", layers, annotations)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise WrongAnswer(f"{base}: not a dataset's JSON: {error!r}") from error


def _layer(told: dict[str, Any], dataset: str, base: str, transport: Transport) -> FoundLayer:
    # Of a dataset that cannot be listed at all, the dataset itself is named.
    name = told["id"] if told["id"].count("/") == 2 else f"{dataset}/unknown"
    about = {key: tuple(values) for key, values in dict(told.get("about", {})).items()}
    address = Address(base, LayerId.parse(name))
    return FoundLayer(address, str(told.get("kind", "")), about, told, transport)
