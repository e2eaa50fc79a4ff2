"""Compound files: streams are found whatever order their sectors are in, or the file is refused."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oiffile.oiffile import CompoundFile

from microtome_core.errors import SourceError
from microtome_ingest.files import Files
from microtome_ingest.sources.compound import Compound, read_ranges
from tests.counted import Counted
from tests.ingest.olympus import compound

RANDOM = np.random.default_rng(3)


def contents(path: str) -> dict[str, bytes]:
    """Read every stream of a file."""
    files = Files()
    with files.open(path) as data:
        found = Compound(files, data)
        ranges = {name: found.ranges(name) for name in found.streams}
        return {name: bytes(read_ranges(files, data, parts)) for name, parts in ranges.items()}


@pytest.mark.parametrize("version", [3, 4])
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sizes=st.lists(st.integers(0, 20_000), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_streams_are_those_that_were_written(
    tmp_path: Path, version: int, sizes: list[int], seed: int
) -> None:
    """Small and large ones, scattered, of either version, near or far; oiffile reads the same."""
    names = [f"{'Storage00001/' * (i % 2)}Stream{i:05}" for i in range(len(sizes))]
    streams = {name: RANDOM.bytes(size) for name, size in zip(names, sizes, strict=True)}
    data = compound(streams, seed, version)
    path = tmp_path / "a.oib"
    path.write_bytes(data)
    Counted.reset()
    assert contents(str(path)) == streams
    assert contents(Counted.put("a.oib", data)) == streams
    judge = CompoundFile(path)
    assert {name: judge.open_file(name).read() for name in judge.files()} == streams
    judge.close()


def test_a_large_file_has_a_list_of_its_tables(tmp_path: Path) -> None:
    """More tables of sectors than the header can name are found through sectors of their own."""
    streams = {"a": RANDOM.bytes(16 << 20), "b": b"small"}
    data = compound(streams)
    assert int.from_bytes(data[72:76], "little") == 2
    (tmp_path / "a.oib").write_bytes(data)
    assert contents(str(tmp_path / "a.oib")) == streams
    judge = CompoundFile(tmp_path / "a.oib")
    assert {name: judge.open_file(name).read() for name in judge.files()} == streams
    judge.close()
    circle = bytearray(data)
    at = 512 * (1 + int.from_bytes(data[68:72], "little"))
    circle[at : at + 508] = bytes(508)
    (tmp_path / "a.oib").write_bytes(circle)
    with pytest.raises(SourceError, match=r"a\.oib"):
        contents(str(tmp_path / "a.oib"))


STREAMS = {"a": RANDOM.bytes(9000), "b": RANDOM.bytes(100)}


@pytest.mark.parametrize("at", [*range(0, 512, 37), *range(512, 12000, 691)])
def test_a_file_cut_off_is_refused(tmp_path: Path, at: int) -> None:
    """No stream is shorter than it says."""
    (tmp_path / "a.oib").write_bytes(compound(STREAMS)[:at])
    with pytest.raises(SourceError, match=r"a\.oib"):
        contents(str(tmp_path / "a.oib"))


def changed(at: int, value: int, size: str = "<I") -> bytes:
    """Return a file in which one number is another."""
    data = bytearray(compound(STREAMS))
    struct.pack_into(size, data, at, value)
    return bytes(data)


HEADER = {
    "version": (26, 5, "<H", "version 5"),
    "order": (28, 0xFEFF, "<H", "order feff"),
    "mini sectors": (32, 7, "<H", r"2\^7"),
    "tables": (44, 2**31, "<I", "2147483648 tables of sectors in"),
    "directory": (48, 2**30, "<I", "sector 1073741824 of"),
    "more tables": (72, 2**31, "<I", "tables of sectors"),
    "first table": (76, 2**20, "<I", "lies beyond the end"),
    "small streams": (60, 2**30, "<I", "sector 1073741824 of"),
}


@pytest.mark.parametrize("name", HEADER)
def test_numbers_that_lead_nowhere_are_refused(tmp_path: Path, name: str) -> None:
    """The error says which."""
    at, value, size, reason = HEADER[name]
    (tmp_path / "a.oib").write_bytes(changed(at, value, size))
    with pytest.raises(SourceError, match=reason):
        contents(str(tmp_path / "a.oib"))


def test_a_chain_in_a_circle_is_refused(tmp_path: Path) -> None:
    """A sector that comes again would never end."""
    data = compound(STREAMS)
    table = data.rindex(struct.pack("<I", 0xFFFFFFFD)) // 512 * 512
    numbers = np.frombuffer(data, "<u4", 128, table).copy()
    following = [int(n) for n in np.flatnonzero(numbers < len(numbers))]
    for sector in following:
        circle = bytearray(data)
        struct.pack_into("<I", circle, table + 4 * sector, sector)
        (tmp_path / "a.oib").write_bytes(circle)
        with pytest.raises(SourceError, match="in a circle"):
            contents(str(tmp_path / "a.oib"))
    assert len(following) > 10


def test_what_is_no_compound_file_is_refused(tmp_path: Path) -> None:
    """Its beginning is shown."""
    for content in (b"", b"II*\0" * 200, compound(STREAMS)[:100]):
        (tmp_path / "a.oib").write_bytes(content)
        with pytest.raises(SourceError, match=r"is no compound file: it starts with b'"):
            contents(str(tmp_path / "a.oib"))
