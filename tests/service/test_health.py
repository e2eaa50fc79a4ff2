"""Live means the process answers; ready means that the root does, too."""

import shutil
from collections.abc import Callable
from typing import Any

from microtome_core.store.location import Store


def test_a_service_over_its_root_is_live_and_ready(
    service_store: Store, connect: Callable[..., Any]
) -> None:
    """Both probes are 200, and no cache may keep them."""
    call = connect(service_store)
    for word in ("live", "ready"):
        answer = call.get(f"/health/{word}")
        assert answer.json() == {"status": word}
        assert answer.headers["cache-control"] == "no-store"


def test_a_service_whose_root_is_gone_is_live_but_not_ready(
    disk_store: Store, connect: Callable[..., Any]
) -> None:
    """Without its folder the service takes no traffic, but is not killed."""
    call = connect(disk_store)
    shutil.rmtree(disk_store.url.removeprefix("file://"))
    assert call.get("/health/live").status_code == 200
    answer = call.get("/health/ready")
    assert answer.status_code == 503
    assert disk_store.url.removeprefix("file://") not in answer.text
