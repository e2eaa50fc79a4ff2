"""What is noted of writes, so that levels follow whoever dies."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from microtome_core.errors import StorageError
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.create import NewLayer, create_layer
from microtome_core.store.layer import read_layer
from microtome_core.store.live import Live
from microtome_core.store.location import Store
from microtome_core.store.notes import (
    Owner,
    any_pending,
    begin,
    end,
    forget,
    pending,
    record_write,
)

SEG = LayerId("demo", "brain", "seg")
BOX = Region("zyx", (0, 1, 2), (3, 4, 5))


@pytest.fixture
def live(store: Store) -> Live:
    """A small layer in a store of each kind."""
    create_layer(store, SEG, NewLayer("zyx", (8, 8, 8), "uint8", (1.0,) * 3, (None,) * 3))
    found = read_layer(store, SEG).live
    assert found is not None
    return found


def test_a_note_is_there_until_it_is_forgotten(live: Live) -> None:
    """Begun, ended, done: each step lies in the store."""
    owner = Owner()
    assert not any_pending(live)
    note = begin(live, BOX, owner)
    assert [(n.region, n.written, n.owner) for n in pending(live)] == [(BOX, False, owner)]
    end(live, note)
    (ended,) = pending(live)
    assert ended.written
    forget(live, ended)
    assert pending(live) == []


def test_whose_turn_it_is_to_update_the_levels() -> None:
    """The writer's own at once, others' after a while, and at once of whoever is known dead."""
    store = Store("memory://notes")
    create_layer(store, SEG, NewLayer("zyx", (8, 8, 8), "uint8", (1.0,) * 3, (None,) * 3))
    live = read_layer(store, SEG).live
    assert live is not None
    mine, now = Owner(), time.time()
    writing = begin(live, BOX, mine)
    written = replace(writing, written=True)
    elsewhere = Owner(process="another boot/pid:[1]/7")
    assert not writing.is_due(mine, now)
    assert written.is_due(mine, now)
    assert not written.is_due(elsewhere, now)
    assert written.is_due(elsewhere, now + 60)
    assert not writing.is_due(elsewhere, now + 60)
    assert writing.is_due(elsewhere, now + 3600)
    assert writing.is_due(elsewhere, now - 3600)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert replace(writing, owner=replace(mine, pid=ended.pid)).is_due(mine, now)
    earlier = f"{mine.process.rpartition('/')[0]}/1"
    assert replace(writing, owner=replace(mine, process=earlier)).is_due(mine, now)
    # A container may have the same name, and a process of the same number in it.
    unseen = replace(mine, token="theirs", process=elsewhere.process)
    assert not replace(writing, owner=unseen).is_due(mine, now)
    assert not replace(writing, owner=replace(mine, token="another")).is_due(mine, now)


def test_a_write_that_was_taken_for_ended_is_followed_when_it_ends(live: Live) -> None:
    """Whoever updates the levels meanwhile forgets that it began, not that it ended."""
    note = begin(live, BOX, Owner())
    (seen,) = pending(live)
    end(live, note)
    forget(live, seen)
    assert [(n.region, n.written) for n in pending(live)] == [(BOX, True)]
    forget(live, pending(live)[0])
    assert not any_pending(live)


def test_a_damaged_note_is_an_error(live: Live) -> None:
    """It names the object; it is not taken for nothing to do."""
    live.store.write(f"{live.folder}/0/ledger/pending/1.json", b"{}")
    with pytest.raises(StorageError, match=r"pending/1\.json"):
        pending(live)


def test_who_wrote_what_is_kept(live: Live) -> None:
    """One object a write, by day."""
    record_write(live, {"who": "ann"})
    record_write(live, {"who": "ben"})
    keys = sorted(key for key, _ in live.store.sizes(f"{live.folder}/0/ledger/writes"))
    told = [json.loads(live.store.read(key) or b"") for key in keys]
    assert [each["who"] for each in told] == ["ann", "ben"]
    assert all(each["at"][:10] in key for each, key in zip(told, keys, strict=True))
