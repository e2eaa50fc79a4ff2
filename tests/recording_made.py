"""A small recording written straight into a store, and the arrays that it was made of."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorstore as ts
import xxhash
from numpy.typing import NDArray

from microtome_core.names import LayerId
from microtome_core.store.layer import ensure_groups
from microtome_core.store.location import Store
from tests.sensorium_folders import Mouse, arrays_of, npy

AXES = {
    "videos": ["y", "x", "time"],
    "responses": ["neuron", "time"],
    "behavior": ["row", "time"],
    "pupil_center": ["row", "time"],
}
UNITS = {"videos": None, "responses": None, "behavior": None, "pupil_center": "pixel"}
RATE = 30.0
SLOT = 8


@dataclass(frozen=True, slots=True)
class Made:
    """A recording, and what it holds.

    Parameters
    ----------
    id : LayerId
    mouse : Mouse
    arrays : dict
        By trial and variable, without padding.
    coordinates : ndarray
        (neurons, 3), in µm.
    mean : ndarray
        Of responses.
    """

    id: LayerId
    mouse: Mouse
    arrays: dict[tuple[int, str], NDArray[Any]]
    coordinates: NDArray[Any]
    mean: NDArray[Any]

    @property
    def withheld(self) -> list[int]:
        """Trials without responses."""
        return [t for t, tier in enumerate(self.mouse.tiers()) if "test" in tier]


def make_recording(store: Store, address: str, mouse: Mouse | None = None) -> Made:
    """Write a recording of a made mouse."""
    mouse, layer_id = mouse or Mouse(), LayerId.parse(address)
    ensure_groups(store, layer_id.parent)
    valid, tiers = mouse.valid(), mouse.tiers()
    padded = {trial: arrays_of(mouse, trial) for trial in range(mouse.trials)}
    arrays = {(t, n): padded[t][n][..., : valid[t]] for t in padded for n in AXES}
    variables = {name: _variable(store, address, name, arrays, tiers, mouse) for name in AXES}
    draw = np.random.default_rng(5)
    coordinates = draw.uniform(-500, 500, (mouse.neurons, 3))
    _write(store, f"{address}/neurons/xyz", coordinates, coordinates.shape)
    mean = draw.normal(size=mouse.neurons)
    store.write(f"{address}/files/mean.npy", npy(mean))
    kept = {"path": "files/mean.npy", "size": len(npy(mean)),
            "xxh3": xxhash.xxh3_128_hexdigest(npy(mean))}  # fmt: skip
    facts = {
        "format": "sensorium",
        "name": layer_id.layer,
        "trials": list(range(mouse.trials)),
        "names": [str(t) for t in range(mouse.trials)],
        "tiers": tiers,
        "variables": variables,
        "neurons": {
            "xyz": {"path": "neurons/xyz", "source": "meta/xyz.npy", "dtype": "float64",
                    "shape": list(coordinates.shape), "unit": "micrometer",
                    "parts": ["x", "y", "z"]},
        },
        "statistics": [{"variable": "responses", "group": "all", "name": "mean",
                        "supplied": "files/mean.npy"}],
        "files": [kept],
    }  # fmt: skip
    document = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"recording": facts, "nwb": {"session_description": "made"}},
    }
    store.write(f"{address}/zarr.json", json.dumps(document).encode())
    return Made(layer_id, mouse, arrays, coordinates, mean)


def _variable(
    store: Store,
    address: str,
    name: str,
    arrays: dict[tuple[int, str], NDArray[Any]],
    tiers: Sequence[str],
    mouse: Mouse,
) -> dict[str, Any]:
    states, offsets, lengths, parts, end = [], [], [], [], 0
    for trial, tier in enumerate(tiers):
        values = arrays[trial, name]
        withheld = name == "responses" and "test" in tier
        states.append("withheld" if withheld else "stored")
        offsets.append(-1 if withheld else end)
        lengths.append(values.shape[-1])
        if not withheld:
            room = -values.shape[-1] % SLOT
            parts.append(np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, room)]))
            end += values.shape[-1] + room
    whole = np.concatenate(parts, -1)
    chunk = (*whole.shape[:-1], SLOT)
    _write(store, f"{address}/data/{name}", whole, (min(5, whole.shape[0]), *chunk[1:]))
    stored = {"path": f"data/{name}", "dtype": whole.dtype.name, "shape": whole.shape[:-1],
              "slot": SLOT}  # fmt: skip
    if whole.ndim == 2:
        stored["by_row"] = f"rows/{name}"
        _write(store, f"{address}/rows/{name}", whole, (1, whole.shape[1]))
    count, none = len(tiers), [None] * len(tiers)
    pieces = {
        "state": states, "array": [0] * count, "offset": offsets, "stored": lengths,
        "length": [mouse.longest] * count, "valid": lengths, "header": [-1] * count,
        "tail": none, "size": [0] * count, "xxh3": none,
    }  # fmt: skip
    return {"axes": AXES[name], "unit": UNITS[name], "rate": RATE, "rows": None,
            "arrays": [stored], "pieces": pieces}  # fmt: skip


def _write(store: Store, path: str, values: NDArray[Any], chunk: Sequence[int]) -> None:
    spec = {
        "driver": "zarr3",
        "kvstore": store.kvstore(path),
        "metadata": {
            "shape": list(values.shape),
            "data_type": values.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        },
        "store_data_equal_to_fill_value": True,
    }
    ts.open(spec, context=store.context, create=True).result()[...] = values
