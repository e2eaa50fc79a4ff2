"""Every way in by which voxels of a small image and its labels are read and written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import blosc
import numpy as np

NPY = {"Content-Type": "application/x-npy"}
EM, SEG = "/api/datasets/demo/brain/em", "/api/datasets/demo/brain/seg"


@dataclass(frozen=True, slots=True)
class Way:
    """A request, and whether it needs the voxels of an image or of labels."""

    url: str
    method: str = "GET"
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return f"{self.method} {self.url} {self.headers.get('Accept', '')}".strip()

    @property
    def layer(self) -> str:
        """The layer that it reads."""
        return "seg" if "/seg" in self.url else "em"


def npy(voxels: Any) -> bytes:  # noqa: ANN401 - an array of any type
    """Return a .npy file."""
    body = BytesIO()
    np.save(body, voxels)
    return body.getvalue()


def _packed(voxels: Any) -> bytes:  # noqa: ANN401 - an array of any type
    return bytes(blosc.compress(np.ascontiguousarray(voxels), typesize=64))


BOXES = b'{"boxes": [[[0, 16], [0, 32], [0, 32]], [[0, 16], [0, 32], [0, 32]]]}'
POINTS = json.dumps(
    {"points": [[z, y, x] for z in (0, 8) for y in range(0, 32, 8) for x in range(0, 32, 8)]}
).encode()
PIECE = np.full((4, 5, 6), 3, "uint32")
BLOSC = {"Content-Type": "application/blosc"}
# Reads that touch every voxel of a plane or of the whole layer.
READS = (
    *(
        Way(f"{layer}/cutout?format={name}")
        for layer in (EM, SEG)
        for name in ("npy", "raw", "blosc", "zstd", "chunks")
    ),
    Way(f"{EM}/cutout?format=tiff"),
    Way(f"{EM}/cutout?format=png&z=1"),
    Way(f"{EM}/cutout?format=jpeg&z=1"),
    Way(f"{EM}/cutout?z=0:3&y=0:9&x=0:9"),
    *(
        Way(f"{layer}/cutouts?format={name}", "POST", BOXES, {"Content-Type": "application/json"})
        for layer in (EM, SEG)
        for name in ("npy", "raw", "zstd")
    ),
    *(
        Way(f"{layer}/points?format=raw", "POST", POINTS, {"Content-Type": "application/json"})
        for layer in (EM, SEG)
    ),
    Way(f"{SEG}/ids"),
    Way(f"{SEG}/ids/7"),
    Way(f"{EM}/tiles/xy/0/1/0/0.png"),
    Way(f"{EM}/tiles/xz/0/1/0/0.jpg"),
    Way(f"{EM}/thumbnail.png"),
    Way("/zarr/demo/brain/em/0/c/0/0/0"),
    Way("/zarr/demo/brain/em/0/c/0/0/0", headers={"Range": "bytes=0-3,-8"}),
    Way("/precomputed/demo/brain/em/c0-raw/0/0-8_0-8_0-8"),
    Way("/precomputed/demo/brain/em/c0-jpeg/0/0-8_0-8_0-8"),
    Way("/precomputed/demo/brain/em/c0-png/0/0-8_0-8_0-8"),
    Way("/precomputed/demo/brain/seg/c0-raw/0/0-8_0-8_0-8"),
    Way("/precomputed/demo/brain/seg/c0-compressed_segmentation/0/0-8_0-8_0-8"),
    *(
        Way(f"/{prefix}/cutout/demo/brain/{layer}/0/0:32/0:32/0:16/", headers={"Accept": accept})
        for prefix in ("v1", "latest")
        for layer in ("em", "seg")
        for accept in ("application/blosc", "application/npygz")
    ),
    Way("/v1/cutout/demo/brain/em/0/0:32/0:32/0:16/", headers={"Accept": "image/jpeg"}),
    Way("/v1/ids/demo/brain/seg/0/0:32/0:32/0:16/"),
    Way("/v1/boundingbox/demo/brain/seg/0/7/?type=tight"),
    Way("/v1/boundingbox/demo/brain/seg/0/7/?type=loose"),
    Way("/v1/image/demo/brain/em/xy/0/0:32/0:32/1/"),
    Way("/v1/tile/demo/brain/em/xy/32/0/0/0/1/"),
)
# Writes that change a part of a shard: the rest of it must be read.
WRITES = (
    Way(f"{SEG}/cutout?z=0:4&y=0:5&x=0:6", "PUT", npy(PIECE), NPY),
    Way(f"{SEG}/cutout?z=0:4&y=0:5&x=0:6", "PATCH", npy(PIECE), NPY),
    Way("/v1/cutout/demo/brain/seg/0/0:6/0:5/0:4/", "POST", _packed(PIECE.astype("uint64")), BLOSC),
)
# What lists and describes, and reads no voxel.
LISTS = (
    *(Way(url) for url in ("/api/datasets", "/api/datasets/demo/brain", EM, "/v1/collection/")),
    *(Way(url) for url in ("/", "/zarr/demo/zarr.json", "/health/ready")),
)
