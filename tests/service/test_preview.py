"""The slice on a layer's page: its contrast is within its type, and its tile one that is served."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import numpy as np
import pytest

from microtome_core.store.location import Store


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ((1e6, 1e6 + 100), "low=1000000&high=1000001"),
        ((0.0, 2.0**63), f"low=0&high={2**62}"),
        ((-1e308, 1e308), "low=3&high=5"),
    ],
)
def test_any_window_gives_a_tile_that_is_served(
    window: tuple[float, float],
    words: str,
    disk_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
) -> None:
    """Values next to each other stay two; what no type can hold is bounded by it."""
    voxels = np.full((8, 8), 1_000_000, "uint64")
    make_builder(disk_store).layer("demo/brain/neurons", "yx", voxels, window=window)
    call = connect(disk_store)
    page = call.get(f"/demo/brain/neurons?{words}")
    found = re.search('id="slice" src="([^"]+)"', page.text)
    assert found is not None
    assert "window=" in found[1]
    assert call.get(unescape(found[1])).status_code == 200
