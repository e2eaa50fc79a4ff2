"""What a caller is told of a shard that cannot be read: its key, and nothing of where it lies."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
from numpy.typing import NDArray

from microtome_core.levels import Level
from microtome_core.names import DatasetId
from microtome_core.store.array import ArraySpec
from microtome_core.store.layer import ensure_groups
from microtome_core.store.location import Store

LAYER = "/api/datasets/demo/brain/neurons"


@pytest.mark.parametrize(
    "url",
    [
        f"{LAYER}/cutout?level=1&z=1&y=9&x=0:3",
        f"{LAYER}/cutout?level=1&format=png&z=1",
        f"{LAYER}/tiles/xy/1/1/0/0.png",
        f"{LAYER}/tiles/xz/1/9/0/0.png",
    ],
)
@pytest.mark.parametrize("fault", ["cut", "blank", "bit"])
def test_every_answer_names_the_shard_at_fault(
    url: str,
    fault: str,
    disk_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
) -> None:
    """Cutouts and tiles alike, of one shard or of several."""
    voxels = make_ramp((10, 60, 30), "uint16")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels, levels=2)
    call = connect(disk_store)
    assert call.get(url).status_code == 200
    folder = Path(disk_store.url.removeprefix("file://"))
    shard = folder / "demo/brain/neurons/1/c/0/0/0"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes({"cut": data[:-5], "blank": b"", "bit": data}[fault])
    answer = call.get(url)
    assert answer.status_code == 503
    assert ", shard 1/c/0/0/0: storage failed or holds damaged data" in answer.json()["detail"]
    assert str(folder) not in answer.text


@pytest.mark.parametrize(
    ("rows", "named"), [("y=0:8", ", shard 0/c/0/0:"), ("y=0:16", "y=0:16,x=0:8:")]
)
def test_an_array_with_keys_of_its_own_is_named_where_it_is_certain(
    rows: str,
    named: str,
    disk_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
) -> None:
    """Other programs may name chunks ``c.0.0``: where one alone was read, it is that one."""
    spec = ArraySpec("yx", (16, 8), (8, 8), (8, 8), "uint16").to_zarr()
    dots = {"name": "default", "configuration": {"separator": "."}}
    array = ts.open(
        {
            "driver": "zarr3",
            "kvstore": disk_store.kvstore("demo/brain/neurons/0"),
            "metadata": {**spec, "chunk_key_encoding": dots},
        },
        create=True,
    ).result()
    voxels = np.ones((16, 8), "uint16")
    array.write(voxels).result()
    ensure_groups(disk_store, DatasetId("demo", "brain"))
    levels = [Level((1, 1), (16, 8), (1.0, 1.0))]
    make_builder(disk_store).publish("demo/brain/neurons", "yx", levels, voxels)
    call = connect(disk_store)
    assert call.get(f"{LAYER}/cutout?{rows}").status_code == 200
    disk_store.write("demo/brain/neurons/0/c.0.0", b"damaged")
    answer = call.get(f"{LAYER}/cutout?{rows}")
    assert answer.status_code == 503
    assert named in answer.json()["detail"]
