"""The ledger: what was noted is what is known later, and damage to it is an error."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtome_core.errors import StorageError
from microtome_core.grid import Grid
from microtome_core.store.empty import read_empty, write_empty
from microtome_core.store.ledger import (
    FOLDER,
    Entry,
    Journal,
    Ledger,
    forget_journal,
    load_journal,
    load_sealed,
    parse_key,
    seal,
    shard_key,
)
from microtome_core.store.location import Store

GRIDS = (Grid("zyx", (40, 70, 33), (16, 32, 16)), Grid("zyx", (20, 35, 17), (16, 32, 16)))
LAYER = "a/b/c"


def indices(level: int) -> list[tuple[int, ...]]:
    """Return every shard of a level."""
    return list(np.ndindex(GRIDS[level].counts))


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Any shard of these levels, empty or not."""
    level = draw(st.integers(0, 1))
    index = draw(st.sampled_from(indices(level)))
    if draw(st.booleans()):
        return Entry(level, index, 0, "")
    digest = draw(st.integers(0, 2**128 - 1))
    return Entry(level, index, draw(st.integers(1, 2**62)), f"{digest:032x}")


def every(seed: int = 1) -> Iterator[Entry]:
    """Yield an entry of every shard; some are empty."""
    rng = np.random.default_rng(seed)
    for level in range(len(GRIDS)):
        for index in indices(level):
            length = int(rng.integers(0, 4)) * 100
            digest = rng.bytes(16).hex() if length else ""
            yield Entry(level, tuple(map(int, index)), length, digest)


def whole(seed: int = 1) -> Ledger:
    """Return a ledger that knows every shard."""
    ledger = Ledger(GRIDS)
    for entry in every(seed):
        ledger.add(entry)
    ledger.files.update({0: "ab" * 32, 1: "cd" * 32})
    return ledger


def everything(ledger: Ledger) -> tuple[list[Entry], dict[int, str]]:
    """Return all that a ledger knows."""
    return [e for level in range(len(GRIDS)) for e in ledger.entries(level)], ledger.files


@given(st.lists(entries()))
def test_what_was_noted_is_known(noted: list[Entry]) -> None:
    """The last entry of a shard counts; all other shards are not known; counts and bytes agree."""
    ledger, last = Ledger(GRIDS), {}
    for entry in noted:
        ledger.add(entry)
        last[entry.level, entry.index] = entry
    for level in range(len(GRIDS)):
        known = {index for n, index in last if n == level}
        assert {e.index: e for e in ledger.entries(level)} == {i: last[level, i] for i in known}
        assert ledger.count(level) == len(known)
        assert set(ledger.missing(level)) == set(indices(level)) - known
        assert {tuple(map(int, i)) for i in np.argwhere(ledger.done(level))} == known
        hollow = {tuple(map(int, i)) for i in np.argwhere(ledger.empty(level))}
        assert hollow == {i for i in known if not last[level, i].length}
        assert all(((level, i) in ledger) == (i in known) for i in indices(level))
    assert ledger.stored_bytes == sum(entry.length for entry in last.values())


@given(entries())
def test_a_line_and_a_key_are_read_back(entry: Entry) -> None:
    """What a line of the ledger holds is the entry, after JSON too; so is the key."""
    assert Entry.of_line(json.loads(json.dumps(entry.to_line()))) == entry
    assert parse_key(entry.key) == (entry.level, entry.index)
    assert shard_key(entry.level, entry.index) == entry.key


@pytest.mark.parametrize(
    "key", ["0/zarr.json", "0/c/1/", "0/c/01/2", "00/c/1", "c/0/1", "0/c/-1", "0/c/1/x", "0/c/٣"]
)
def test_what_is_no_key_of_a_shard_is_none(key: str) -> None:
    """Other names, other spellings of a number included, are no keys."""
    assert parse_key(key) is None


@pytest.mark.parametrize("place", [(2, (0, 0, 0)), (0, (3, 0, 0)), (0, (0, 0)), (-1, (0, 0, 0))])
def test_a_shard_of_other_levels_is_refused(place: tuple[int, tuple[int, ...]]) -> None:
    """No shard outside of the grids can be noted or is expected."""
    ledger = Ledger(GRIDS)
    with pytest.raises(ValueError, match="no shard of these levels"):
        ledger.add(Entry(*place, 1, "0" * 32))
    assert ledger.expects(shard_key(*place)) is None


def test_a_shard_that_is_forgotten_is_not_known() -> None:
    """Only that one; the ledger is then not whole."""
    ledger = whole()
    assert ledger.whole
    ledger.forget(1, (0, 1, 0))
    assert list(ledger.missing(1)) == [(0, 1, 0)]
    assert list(ledger.missing(0)) == []
    assert not ledger.whole


@pytest.mark.parametrize("writers", [1, 3])
def test_what_was_journalled_is_loaded_sealed_and_loaded(store: Store, writers: int) -> None:
    """From the notes of several writers, through a seal, all entries and hashes come back; the
    journal may then be forgotten.
    """
    ledger = Ledger(GRIDS)
    for writer in range(writers):
        with Journal(store, LAYER, Ledger(GRIDS), f"{writer}-of-{writers}-000001") as journal:
            for entry in list(every())[writer::writers]:
                journal.add(entry)
            journal.add_file(writer, f"{writer:064x}")
    load_journal(store, LAYER, ledger)
    files = {writer: f"{writer:064x}" for writer in range(writers)}
    assert everything(ledger) == (list(every()), files)
    seal(store, LAYER, ledger)
    forget_journal(store, LAYER)
    assert everything(load_sealed(store, LAYER, GRIDS)) == everything(ledger)


def test_a_journal_of_many_notes_loses_none(tmp_path: Path) -> None:
    """Notes beyond one file of the journal go into the next, in any number of flushes."""
    store, grid = Store(str(tmp_path)), Grid("x", (2500,), (1,))
    with Journal(store, LAYER, Ledger([grid]), "0-of-1-000001") as journal:
        for number in range(2500):
            journal.add(Entry(0, (number,), number, f"{number:032x}" if number else ""))
    parts = [key for key, _ in store.sizes(f"{LAYER}/{FOLDER}/journal")]
    assert len(parts) > 1
    ledger = Ledger([grid])
    load_journal(store, LAYER, ledger)
    assert [entry.length for entry in ledger.entries(0)] == list(range(2500))


def test_what_waits_is_written_when_a_writer_fails(tmp_path: Path) -> None:
    """An error passes through, and what was done before it is known to the next run."""
    store, entry = Store(str(tmp_path)), Entry(0, (0, 0, 0), 7, "0" * 32)

    def fail() -> None:
        with Journal(store, LAYER, Ledger(GRIDS), "0-of-1-000001") as journal:
            journal.add(entry)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    ledger = Ledger(GRIDS)
    load_journal(store, LAYER, ledger)
    assert everything(ledger)[0] == [entry]


def test_a_ledger_with_gaps_is_not_sealed(tmp_path: Path) -> None:
    """Nothing is written of a ledger that does not name every shard."""
    ledger = whole()
    ledger.forget(0, (0, 0, 0))
    with pytest.raises(StorageError, match="missing"):
        seal(Store(str(tmp_path)), LAYER, ledger)
    assert list(tmp_path.iterdir()) == []


def test_a_seal_is_the_same_whatever_the_order(tmp_path: Path) -> None:
    """Two ledgers that know the same are the same bytes."""
    store, ledger = Store(str(tmp_path)), Ledger(GRIDS)
    for entry in reversed(list(every())):
        ledger.add(entry)
    ledger.files.update({1: "cd" * 32, 0: "ab" * 32})
    seal(store, "one", ledger)
    seal(store, "two", whole())
    (one,), (two,) = store.sizes("one"), store.sizes("two")
    assert store.read(one[0]) == store.read(two[0])


@given(st.data())
def test_damage_to_a_ledger_is_an_error(data: st.DataObject) -> None:
    """A flipped bit, a lost tail or the loss of the file is refused, never half read."""
    store = Store("memory://root")
    seal(store, LAYER, whole())
    ((path, size),) = store.sizes(LAYER)
    good = store.read(path) or b""
    kind, place = (
        data.draw(st.sampled_from(["bit", "cut", "lost"])),
        data.draw(st.integers(0, size - 1)),
    )
    if kind == "bit":
        bad = bytearray(good)
        bad[place] ^= 1 << data.draw(st.integers(0, 7))
        store.write(path, bytes(bad))
    elif kind == "cut":
        store.write(path, good[:place])
    else:
        store.remove(path)
    with pytest.raises(StorageError):
        load_sealed(store, LAYER, GRIDS)


@pytest.mark.parametrize(
    "line",
    [
        {"shard": "0/c/9/9/9", "empty": True},
        {"shard": "0/c/0/0/0"},
        {"shard": "nonsense", "bytes": 1, "xxh3": "0" * 32},
        {"shard": "0/c/0/0/0", "bytes": 1, "xxh3": "zz"},
        {"shard": 5},
        {"file": "x", "sha256": ""},
        {},
    ],
)
def test_a_line_that_cannot_be_is_an_error(tmp_path: Path, line: dict[str, object]) -> None:
    """A line that names no shard of the layer is refused, however good its digest; the message
    names the file.
    """
    store = Store(str(tmp_path))
    with Journal(store, LAYER, Ledger(GRIDS), "0-of-1-000001") as journal:
        journal._note(line)
    with pytest.raises(StorageError, match="0-of-1-000001"):
        load_journal(store, LAYER, Ledger(GRIDS))


@given(st.lists(st.booleans(), min_size=GRIDS[0].size, max_size=GRIDS[0].size), st.booleans())
def test_the_list_of_empty_shards_comes_back(bits: list[bool], one: bool) -> None:
    """Whatever is empty, of grids whose size is no multiple of 8."""
    store = Store("memory://root")
    levels = [np.array(bits).reshape(GRIDS[0].counts), np.full(GRIDS[1].counts, one)]
    write_empty(store, LAYER, levels)
    found = read_empty(store, LAYER, GRIDS)
    assert all(np.array_equal(a, b) for a, b in zip(found, levels, strict=True))


@pytest.mark.parametrize(
    "document", [None, b"", b"{", b"{}", b'{"levels": ["eJw="]}', b'{"levels": ["!", "!"]}', b"[]"]
)
def test_a_damaged_list_of_empty_shards_is_an_error(tmp_path: Path, document: bytes | None) -> None:
    """Missing, no JSON, other levels or no bits: never taken for a list of nothing."""
    store = Store(str(tmp_path))
    if document is not None:
        store.write(f"{LAYER}/0/ledger/empty.json", document)
    with pytest.raises(StorageError, match="empty"):
        read_empty(store, LAYER, GRIDS)
