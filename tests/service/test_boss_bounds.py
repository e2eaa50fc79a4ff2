"""The BossDB API holds no more in memory than was admitted, and keeps who wrote what."""

import json
from collections.abc import Callable
from typing import Any

import blosc
import numpy as np
import pytest

from microtome_core.names import LayerId
from microtome_core.store.create import NewLayer, create_layer
from microtome_core.store.location import Store
from microtome_service.bossdb import objects
from microtome_service.bossdb.wire import keep_ids, scale_window

SEG = LayerId("demo", "brain", "seg")
SHAPE = (4, 8, 16)
CUTOUT = "/v1/cutout/demo/brain/seg/0/0:16/0:8/0:4"
VOXELS = np.arange(512, dtype="uint64").reshape(SHAPE)


@pytest.fixture
def call(service_store: Store, connect: Callable[..., Any]) -> Any:  # noqa: ANN401
    """A caller who wrote a channel of 511 ids."""
    create_layer(service_store, SEG, NewLayer("zyx", SHAPE, "uint64", (1.0,) * 3, ("um",) * 3))
    caller = connect(service_store, anonymous_writes=True)
    body = blosc.compress(VOXELS.tobytes(), 8)
    headers = {"Content-Type": "application/blosc", "X-Request-ID": "mine-7"}
    assert caller("POST", CUTOUT, content=body, headers=headers).status_code == 201
    return caller


def test_a_write_is_kept_with_its_request(call: Any, service_store: Store) -> None:  # noqa: ANN401
    """As one through microtome's own API is."""
    keys = [key for key, _ in service_store.sizes(f"{SEG}/0/ledger/writes")]
    kept = json.loads(service_store.read(keys[0]) or b"")
    assert (kept["request_id"], kept["who"]) == ("mine-7", "anonymous")
    assert call("PUT", CUTOUT.replace("/cutout", "/cutout/to_black")).status_code == 200
    assert call.get(CUTOUT.replace("/cutout", "/ids")).json() == {"ids": []}


def test_more_ids_than_are_told_at_once_are_refused(
    call: Any,  # noqa: ANN401 - the folder's own class
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A list of all voxels of a large region would be larger than they are."""
    monkeypatch.setattr(objects, "MOST_IDS", 510)
    url = CUTOUT.replace("/cutout", "/ids")
    assert call.get(url).json()["code"] == 2000
    few = call.get(url.replace("/0:4", "/0:1"))
    assert few.json() == {"ids": [str(i) for i in range(1, 128)]}
    # Ids that are in use are not counted one by one.
    assert call.get("/v1/reserve/demo/brain/seg/5").json() == {"start_id": 512, "count": 5}


@pytest.mark.parametrize(
    "address", ["/v1/ids/demo/brain/seg/0/0:16/0:8/0:4", "/v1/boundingbox/demo/brain/seg/0/7"]
)
def test_what_may_change_is_asked_for_again(call: Any, address: str) -> None:  # noqa: ANN401
    """Answers about objects, too."""
    assert call.get(address).headers["cache-control"] == "no-cache"


def test_ids_and_windows_are_taken_by_parts() -> None:
    """Of a block beyond the voxels that are widened at one time, every voxel is right."""
    block = np.random.default_rng(3).integers(0, 5, (3, 700, 701), "uint8")
    np.testing.assert_array_equal(keep_ids(block, (4, 1)), np.where(block % 3 == 1, block, 0))
    scaled = np.array([0, 0, 128, 255, 255], "uint8")
    np.testing.assert_array_equal(scale_window(block, (1, 3)), scaled[block])
