"""An address with a version means that version for ever; without, the layer as it is now."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from microtome_core.store.location import Store

LAYER = "/api/datasets/demo/brain/neurons"
URLS = ["cutout?", "tiles/xy/0/0/0/0.png?", "thumbnail.png?"]


@pytest.mark.parametrize("url", URLS)
def test_an_answer_of_a_version_may_be_kept_for_ever(
    url: str, disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """It is immutable, and 304 to who has it; once the layer is replaced it is 409, never other
    voxels.
    """
    builder = make_builder(disk_store)
    builder.layer("demo/brain/neurons", "zyx", np.ones((4, 8, 8), "uint8"))
    call = connect(disk_store)
    version = call.get(LAYER).json()["version"]
    answer = call.get(f"{LAYER}/{url}version={version}")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "immutable" not in call.get(f"{LAYER}/{url}").headers["cache-control"]
    etag = {"If-None-Match": answer.headers["etag"]}
    assert call.get(f"{LAYER}/{url}version={version}", headers=etag).status_code == 304
    builder.layer("demo/brain/neurons", "zyx", np.ones((4, 8, 8), "uint8"), window=(0, 9))
    gone = call.get(f"{LAYER}/{url}version={version}", headers=etag)
    assert gone.status_code == 409
    assert gone.headers["cache-control"] == "no-store"
    assert version in gone.json()["detail"]
    assert gone.json()["error"] == "Outdated"
    assert call.get(f"{LAYER}/{url}").status_code == 200


def test_a_batch_may_name_the_version(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """So that all batches of one training are of the same voxels."""
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", np.ones((4, 8, 8), "uint8"))
    body = {"boxes": [[[0, 1], [0, 8], [0, 8]]]}
    answer = connect(disk_store)("POST", f"{LAYER}/cutouts?version=other", json=body)
    assert answer.status_code == 409
