"""The right to write a part of a layer: one has it, the others are told."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from microtome_core.errors import Conflict
from microtome_core.store.location import Store
from microtome_ingest.claim import Claim, Owner, Part

FOLDER = "a/b/c"
CLAIMS = f"{FOLDER}/0/ledger/claims"


def claim(store: Store, part: Part | None = None) -> Claim:
    """Return a claim whose heart beats fast."""
    return Claim(store, FOLDER, part or Part(), beat=0.1, dead=0.6)


def elsewhere(**changes: object) -> bytes:
    """Return what the claim of a process on another machine looks like."""
    fields = {"id": "x", "host": "node-7", "process": "boot/pid:[1]/5", "pid": 9, "beat": 0}
    return json.dumps({**fields, **changes}).encode()


def test_one_of_many_has_it(store: Store) -> None:
    """Of many who claim at the same moment exactly one gets it; the others learn who has it."""
    held, refused = [], []

    def attempt(_: int) -> None:
        try:
            with claim(store) as mine:
                held.append(mine)
                deadline = time.monotonic() + 30
                while len(held) + len(refused) < 8 and time.monotonic() < deadline:
                    time.sleep(0.01)
        except Conflict as error:
            refused.append(str(error))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(attempt, range(8)))
    assert (len(held), len(refused)) == (1, 7)
    assert all(f"process {os.getpid()}" in words for words in refused)


def test_it_is_free_again_when_it_ends(store: Store) -> None:
    """After its end nothing is left, and the next one has it at once, under another name."""
    with claim(store) as first, pytest.raises(Conflict), claim(store):
        pass
    assert not list(store.sizes(CLAIMS))
    with claim(store) as second:
        assert first.writer != second.writer


def test_parts_do_not_disturb_each_other(store: Store) -> None:
    """Different parts of one division are claimed side by side; another division is refused."""
    with claim(store, Part(0, 2)), claim(store, Part(1, 2)):
        for other in (Part(0, 2), Part(), Part(0, 3)):
            with pytest.raises(Conflict), claim(store, other):
                pass


def test_the_claim_of_a_dead_process_is_taken_over_at_once(tmp_path: Path) -> None:
    """A process of this machine that was killed is seen to be dead: nobody waits."""
    store = Store(str(tmp_path))
    program = (
        "import sys, time\n"
        "from microtome_core.store.location import Store\n"
        "from microtome_ingest.claim import Claim, Part\n"
        f"with Claim(Store(sys.argv[1]), {FOLDER!r}, Part()):\n"
        "    print('claimed', flush=True)\n"
        "    time.sleep(60)\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(Conflict, match=f"process {process.pid}"), Claim(store, FOLDER, Part()):
            pass
        process.kill()
        process.wait()
        started = time.monotonic()
        with Claim(store, FOLDER, Part()) as mine:
            assert time.monotonic() - started < 20  # without a look at the process it would be 30
            assert mine.writer.startswith("0-of-1-")
    assert not list(store.sizes(CLAIMS))


def test_a_claim_elsewhere_counts_while_its_heart_beats(store: Store) -> None:
    """The process cannot be seen, its heartbeat can: it is told as long as that goes on, and taken
    over when it stops.
    """
    store.write(f"{CLAIMS}/0-of-1.000001.json", elsewhere())
    with ThreadPoolExecutor(1) as pool:

        def beat() -> None:
            for number in range(1, 20):
                store.write(f"{CLAIMS}/0-of-1.000001.json", elsewhere(beat=number))
                time.sleep(0.1)

        beating = pool.submit(beat)
        with pytest.raises(Conflict, match="node-7"), claim(store):
            pass
        beating.result()
    with claim(store) as mine:
        mine.check()


def test_who_slept_too_long_sees_that_it_is_replaced(store: Store) -> None:
    """When another process has taken over, the former owner stops, and removes nothing of it."""
    with claim(store) as mine:
        mine.check()
        successor = f"{CLAIMS}/0-of-1.000002.json"
        store.write(successor, elsewhere())
        with pytest.raises(Conflict, match="taken over"):
            check_until_it_fails(mine)
    assert store.read(successor) == elsewhere()


def check_until_it_fails(mine: Claim) -> None:
    """Check as an ingest does between shards, for half a minute at most."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        mine.check()
        time.sleep(0.05)


def test_an_owner_is_read_as_it_was_written() -> None:
    """What is stored of an owner comes back the same, and this process is alive."""
    me = Owner.me()
    assert Owner.of_bytes(me.to_bytes()) == me
    assert me.alive in (True, None)
