"""Many callers at once, at more than the service can give; minutes long."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import urllib3

from microtome_cli.main import main
from microtome_core.region import Region
from microtome_ingest.formats import open_source
from tests.contract.callers import Question, ask_once, bad_company, crowd
from tests.contract.conftest import wait_until_ready

SOURCE = "synthetic://neurons?shape=256,512,512&dtype=uint16&seed=3"
LAYER = "load/volume/neurons"
SECONDS = float(os.environ.get("MICROTOME_LOAD_SECONDS", "60"))
MIB = 2**20
# Python, libraries, buffers of 256 connections, and what the heap keeps at hand.
OVERHEAD = 600 * MIB
LIMITS = {
    "MICROTOME_CACHE_BYTES": str(128 * MIB),
    "MICROTOME_MAX_FLYING_BYTES": str(256 * MIB),
    "MICROTOME_MAX_WAITING": "64",
    "MICROTOME_WAIT_SECONDS": "5",
    "MICROTOME_STALLED_SECONDS": "5",
    "MICROTOME_REQUEST_SECONDS": "5",
}


@contextmanager
def limited(root: Path, port: int, limits: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Serve with limits; yield address and process."""
    words = [sys.executable, "-m", "microtome_cli", "serve", str(root), "--port", str(port)]
    environment = {**os.environ, **limits}
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_ready(address, server)
            yield address, server.pid
        finally:
            server.terminate()


def questions(address: str) -> list[Question]:
    """Return cutouts of three sizes, whose voxels are computed, and tiles as they are at rest."""
    rng = np.random.default_rng(1)
    found = []
    with closing(open_source(SOURCE)) as source:
        for edge, number in ((32, 24), (96, 12), (200, 4)):
            for _ in range(number):
                low = [int(rng.integers(0, n - edge + 1)) for n in (256, 512, 512)]
                region = Region("zyx", tuple(low), tuple(n + edge for n in low))
                words = str(region).replace(",", "&")
                path = f"/api/datasets/{LAYER}/cutout?{words}&format=raw"
                found.append(Question(path, sha256(source.read(region).tobytes()).hexdigest()))
    for index in range(0, 256, 16):
        path = f"/api/datasets/{LAYER}/tiles/xy/0/{index}/0/1.png"
        picture = urllib3.request("GET", address + path)
        assert picture.status == 200
        found.append(Question(path, sha256(picture.data).hexdigest()))
    return [found[i] for i in rng.permutation(len(found))]


def peak(pid: int) -> int:
    """Return the most memory that a process has held, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_crowd_is_served_within_bounds(tmp_path: Path, unused_port: Callable[[], int]) -> None:
    """256 connections, and some with bad manners, get right answers or are told to come back;
    memory stays bounded, nobody waits long, and a moment later all is quiet.
    """
    assert main(["ingest", SOURCE, str(tmp_path), "--as", LAYER]) == 0
    with limited(tmp_path, unused_port(), LIMITS) as (address, pid):
        asked = questions(address)
        with bad_company(address, asked[0].path) as company:
            outcome = crowd(address, asked, 256, SECONDS)
        after = asyncio.run(ask_once(address, asked[0]))
        held = peak(pid)
    p50, p99 = outcome.quantile(0.5), outcome.quantile(0.99)
    print(f"{outcome.statuses}, median {p50:.2f} s, p99 {p99:.2f} s, then {after:.3f} s")
    print(f"{held / MIB:.0f} MiB; {company}")
    assert not outcome.wrong
    assert set(outcome.statuses) <= {200, 429, 503}
    # At twice what it can give there must be both.
    assert outcome.statuses[200] > 1000
    assert outcome.statuses[503] + outcome.statuses[429] > 0
    assert p99 < 15
    assert after < 3
    assert held < int(LIMITS["MICROTOME_CACHE_BYTES"]) + (
        int(LIMITS["MICROTOME_MAX_FLYING_BYTES"]) + OVERHEAD
    )
