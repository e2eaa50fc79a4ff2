"""Reading layers that may be written at any moment, within bounds and without waiting."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from microtome_core.names import LayerId
from microtome_core.store.create import NewLayer, create_layer
from microtome_core.store.empty import Empty
from microtome_core.store.live import Live
from microtome_core.store.location import Store

SEG = LayerId("demo", "brain", "seg")
SHAPE = (16, 24, 40)
NEW = NewLayer("zyx", SHAPE, "uint16", (1.0,) * 3, ("um",) * 3, chunk=(4, 8, 8), shard=(8, 16, 16))
URL = f"/api/datasets/{SEG}/cutout"


def test_a_cutout_of_too_many_shards_is_refused_before_any_is_looked_at(
    service_store: Store, connect: Callable[..., Any]
) -> None:
    """However it is sent: the tag of what may be written is made of every shard's state."""
    new = NewLayer(
        "zyx", SHAPE, "uint16", (1.0,) * 3, ("um",) * 3, chunk=(4, 8, 8), shard=(4, 8, 8)
    )
    create_layer(service_store, SEG, new)
    call = connect(service_store, max_chunks=20, slab_bytes=1)
    answer = call.get(f"{URL}?format=raw")
    assert answer.status_code == 413
    assert "60 shards" in answer.json()["detail"]
    assert call.get(f"{URL}?format=raw&z=0:4").status_code == 200


def test_shards_of_the_store_are_looked_up_without_stopping_other_requests(
    service_store: Store, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether one is empty now is awaited."""
    load = Live.load_empty

    def watched(live: Live) -> list[Empty]:
        with pytest.raises(RuntimeError):  # in a thread there is no loop
            asyncio.get_running_loop()
        return load(live)

    monkeypatch.setattr(Live, "load_empty", watched)
    create_layer(service_store, SEG, NEW)
    assert connect(service_store).get(f"/zarr/{SEG}/0/c/0/0/0").status_code == 404
