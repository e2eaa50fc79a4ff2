"""Small layers of unequal extents and voxel sizes, to be exported."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.names import LayerId
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_ingest.export.cut import Cut, make_cut

# z, y, x: all differ, so that no order of axes passes for another.
SHAPE = (5, 40, 70)
SIZES = {"z": 2.0, "y": 0.5, "x": 0.25}
SUBJECT = {
    "neurodata_type": "Subject",
    "subject_id": "m7",
    "species": "Mus musculus",
    "sex": "F",
    "age": "P90D",
    "strain": "C57BL/6J",
    "genotype": "wild type",
}


@dataclass(frozen=True)
class Made:
    """A layer and the voxels that it was made of."""

    root: Path
    address: str
    voxels: NDArray[Any]

    def cut(self, level: int = 0, **words: str) -> Cut:
        """Return a part of it."""
        layer = read_layer(Store(str(self.root)), LayerId.parse(self.address))
        return make_cut(layer, level, words)

    def export(self, kind: str, out: Path, *options: str) -> int:
        """Run ``microtome export`` of it."""
        return main(["export", kind, str(self.root), self.address, "--out", str(out), *options])

    def tell(self, **more: Any) -> None:  # noqa: ANN401 - JSON of any kind
        """Add to the layer's record."""
        path = next(self.root.glob(f"**/{self.address.split('/')[-1]}/zarr.json"))
        document = json.loads(path.read_text())
        document["attributes"]["nwb"] |= more
        path.write_text(json.dumps(document))


def make(
    root: Path,
    axes: str = "zyx",
    dtype: str = "uint16",
    *options: str,
    name: str = "lab/mouse/brain",
    shape: tuple[int, ...] | None = None,
    chunk: str | None = "z=2,y=16,x=32",
) -> Made:
    """Ingest noise with `axes`: 3 time points, 2 channels, `SHAPE` in space."""
    extents = {"t": 3, "c": 2, **dict(zip("zyx", SHAPE, strict=True))}
    size = shape or tuple(extents[axis] for axis in axes)
    random = np.random.default_rng(1)
    if np.dtype(dtype).kind == "f":
        voxels = random.normal(size=size).astype(dtype)
    else:
        voxels = random.integers(0, min(np.iinfo(dtype).max, 2**40), size).astype(dtype)
    source = root.parent / f"{root.name}-{name.replace('/', '-')}.npy"
    np.save(source, voxels)
    told = ",".join(f"{axis}={SIZES[axis]}" for axis in axes if axis in SIZES)
    words = ["ingest", str(source), str(root), "--as", name, "--axes", axes, "--voxel-size", told]
    steps = ["--time-step", "0.2"] if "t" in axes else []
    chunks = ["--chunk", ",".join(p for p in chunk.split(",") if p[0] in axes)] if chunk else []
    assert main([*words, *steps, *chunks, *options]) == 0
    return Made(root, name, voxels)
