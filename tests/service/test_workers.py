"""Several workers count together."""

import re
import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from microtome_core.store.location import Store
from microtome_service.settings import Settings
from tests.service.test_server import process, wait_until_ready


def number(text: str, name: str, words: str = "") -> float:
    """Return the sum of a metric over those of its labels that hold `words`."""
    lines = [line for line in text.splitlines() if re.match(rf"{name}[ {{]", line)]
    return sum(float(line.split()[-1]) for line in lines if words in line)


@pytest.mark.slow
def test_numbers_of_all_workers_are_added_up(
    disk_store: Store, make_builder: Callable[..., Any]
) -> None:
    """Whichever worker is asked tells of the requests of all; those of one that died stay."""
    voxels = np.ones((8, 8, 8), "uint8")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels)
    url = "/api/datasets/demo/brain/neurons/cutout?format=raw"
    counted = ("microtome_requests_total", 'cutout",status="200"')
    with process(Settings(root=disk_store.url, port=0, workers=2)) as (child, address):
        wait_until_ready(address)
        time.sleep(1)
        for _ in range(40):
            # A connection each, so that the system spreads them.
            assert httpx.get(f"{address}{url}").status_code == 200
        for _ in range(6):
            text = httpx.get(f"{address}/metrics").text
            assert number(text, *counted) == 40
            assert number(text, "microtome_sent_bytes_total") >= 40 * 512
        before = number(text, "microtome_resident_bytes")
        workers = [
            c for c in psutil.Process(child.pid).children() if "spawn_main" in str(c.cmdline())
        ]
        assert len(workers) == 2
        workers[0].kill()
        time.sleep(6)
        wait_until_ready(address)
        text = httpx.get(f"{address}/metrics").text
        assert number(text, *counted) == 40
        assert 0 < number(text, "microtome_resident_bytes") < 1.5 * before
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 0
