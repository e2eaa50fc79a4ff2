"""Files by ranges: exact bytes or an error, few requests, and no file that changed meanwhile."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome_core.errors import SourceError, StorageError
from microtome_ingest.files import Files, check_unchanged
from microtome_ingest.meter import Meter
from microtome_ingest.ranges import PART, Span, batches, requests
from microtome_ingest.sources.raw import RawArray
from microtome_ingest.stream import RangeStream, told
from tests.counted import Counted

Ranges = Sequence[tuple[int, int]]
DATA = np.random.default_rng(0).integers(0, 256, 300_000, "uint8").tobytes()


@pytest.fixture(params=["local", "counted", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the path or URL of a file with `DATA` in each kind of place."""
    if request.param == "local":
        (tmp_path / "a.bin").write_bytes(DATA)
        return str(tmp_path / "a.bin")
    if request.param == "counted":
        Counted.reset()
        return Counted.put("folder/a.bin", DATA)
    import fsspec

    path = f"memory://{tmp_path.name}/a.bin"
    fsspec.filesystem("memory").pipe_file(path, DATA)
    return path


def test_reads_are_exact_wherever_a_file_lies(place: str) -> None:
    """Bytes, streams and several ranges at once are those of the file; beyond its end is an error
    that names file, position, and how many bytes there are.
    """
    files = Files()
    with files.open(place) as data, data.stream() as stream:
        assert data.stamp.size == len(DATA)
        assert data.read(17, 1000) == DATA[17:1017]
        wanted = [(data, at, 100) for at in (250_000, 0, 50, 120_000)]
        assert files.fetch(wanted) == [DATA[at : at + 100] for _, at, _ in wanted]
        stream.seek(-10, 2)
        assert stream.read() == DATA[-10:]
        with pytest.raises(SourceError, match=r"a\.bin: 10 of 30 bytes at 299990"):
            data.read(len(DATA) - 10, 30)


@pytest.mark.parametrize("path", ["counted://no/file", "memory://no/file", "/no/file", "foo://x/y"])
def test_what_is_not_there_is_the_sources_fault(path: str) -> None:
    """A missing file or an unknown kind of address is an error that names it."""
    with pytest.raises(SourceError, match=path):
        Files().open(path)


def test_a_file_that_was_opened_is_pinned(tmp_path: Path) -> None:
    """Opened, listed or found by a pattern, a file that is written anew is refused from then on."""
    path = tmp_path / "a.bin"
    for pin in (
        lambda files: files.open(str(path)).close(),
        lambda files: files.folder(str(tmp_path)),
        lambda files: files.matching(str(tmp_path / "*.bin")),
    ):
        path.write_bytes(DATA)
        files = Files()
        pin(files)
        files.open(str(path)).close()
        path.write_bytes(DATA[::-1])
        os.utime(path, ns=(1, 1))
        with pytest.raises(SourceError, match=r"a\.bin: changed since it was opened"):
            files.open(str(path))


def test_a_map_notices_a_change(tmp_path: Path) -> None:
    """A local file that is held open is compared with its stamp on demand."""
    path = tmp_path / "a.bin"
    path.write_bytes(DATA)
    with Files().open(str(path)) as data:
        data.check()
        path.write_bytes(DATA[:-1])
        with pytest.raises(SourceError, match="changed"):
            data.check()
        path.unlink()
        with pytest.raises(SourceError, match="cannot be read"):
            data.check()


def test_stamps_tell_versions_apart(place: str, tmp_path: Path) -> None:
    """A file of the same size that was written anew differs."""
    stamps = Files().stamps([place])
    assert (stamps[place].name, stamps[place].size) == ("a.bin", len(DATA))
    check_unchanged(stamps)
    if place.startswith("counted"):
        Counted.put("folder/a.bin", DATA[::-1])
    elif place.startswith("memory"):
        import fsspec

        fsspec.filesystem("memory").pipe_file(place, DATA[::-1])
    else:
        Path(place).write_bytes(DATA[::-1])
        os.utime(place, ns=(1, 1))
    with pytest.raises(SourceError, match=r"a\.bin: changed since it was opened"):
        check_unchanged(stamps)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 5000)), max_size=60),
    st.sampled_from([1, 1000, 1 << 20]),
)
def test_requests_cover_what_is_wanted(pairs: list[tuple[int, int]], limit: int) -> None:
    """Every byte of every range is in exactly one part of it; batches keep to their bound."""
    spans = [Span("ab"[at % 2], at, at + count) for at, count in pairs]
    asked = requests(spans)
    found: list[list[tuple[int, int]]] = [[] for _ in spans]
    for request in asked:
        for part in request.parts:
            assert request.path == part.path
            assert request.start <= part.start <= part.stop <= request.stop
            found[part.number].append((part.start, part.stop))
    for span, parts in zip(spans, found, strict=True):
        edges = [n for part in parts for n in part]
        assert edges == ([span.start, span.stop] if span.stop > span.start else [])
    grouped = list(batches(asked, limit))
    assert [request for group in grouped for request in group] == asked
    assert all(
        len(group) == 1 or sum(r.stop - r.start for r in group) <= limit for group in grouped
    )


def test_near_ranges_are_one_request_and_long_ones_several() -> None:
    """A gap that costs less than a request is fetched along, unless it outweighs what is wanted."""
    rows = [Span("a", at, at + 1000) for at in range(0, 80_000, 8000)]
    assert len(requests(rows)) == 1
    assert len(requests([Span("a", at, at + 10) for at in range(0, 80_000, 8000)])) == 10
    assert [r.stop - r.start for r in requests([Span("a", 5, 5 + 2 * PART + 1)])] == [PART, PART, 1]


def test_a_long_range_is_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a range that were fetched apart are one again, in order."""
    monkeypatch.setattr("microtome_ingest.ranges.PART", 1000)
    Counted.reset()
    with Files().open(Counted.put("a", DATA)) as data:
        assert data.read(5, 4321) == DATA[5:4326]
    assert len(Counted.asked) == 5


@settings(max_examples=60, deadline=None)
@given(
    limit=st.sampled_from([1 << 12, 1 << 16, 1 << 20]),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["read", "prefetch", "keep"]),
            st.integers(0, len(DATA) + 10),
            st.integers(0, 20_000),
        ),
        max_size=40,
    ),
)
def test_a_stream_reads_as_a_file_does(limit: int, steps: list[tuple[str, int, int]]) -> None:
    """Whatever is read, fetched before or kept, in any order, a stream gives the file's bytes."""
    stream = RangeStream(
        lambda ranges: [memoryview(DATA)[a:b] for a, b in ranges], len(DATA), "a", limit
    )
    expected = io.BytesIO(DATA)
    for kind, at, count in steps:
        if kind == "read":
            assert stream.seek(at) == expected.seek(at)
            assert stream.read(count) == expected.read(count)
            assert stream.tell() == expected.tell()
        elif kind == "prefetch":
            stream.prefetch([(at, at + count), (at // 2, at // 2 + count)])
        else:
            stream.keep(at, at + count)


def test_a_stream_in_order_needs_few_requests() -> None:
    """Reading on and on fetches ever longer ranges, each byte once; what was read is held."""
    Counted.reset()
    with Files().open(Counted.put("a", DATA * 40)) as data, data.stream() as stream:
        for _ in range(2):
            stream.seek(0)
            while stream.read(997):
                pass
    assert len(Counted.asked) < 12
    assert Counted.fetched() == len(DATA) * 40


def test_a_settled_call_never_fetches() -> None:
    """What a call misses is fetched between two attempts, so that it holds no lock meanwhile."""
    inside = False
    fetches = []

    def fetch(ranges: Ranges) -> list[memoryview]:
        assert not inside
        fetches.append(ranges)
        return [memoryview(DATA)[a:b] for a, b in ranges]

    def call() -> bytes:
        nonlocal inside
        inside = True
        try:
            stream.seek(200_000)
            late = stream.read(100)
            stream.seek(0)
            return late + stream.read(100)
        except OSError:
            return b"swallowed"
        finally:
            inside = False

    stream = RangeStream(fetch, len(DATA), "a")
    assert stream.settle(call) == DATA[200_000:200_100] + DATA[:100]
    assert len(fetches) == 2
    with pytest.raises(ZeroDivisionError):
        stream.settle(lambda: 1 // 0)


def test_a_failure_that_a_parser_swallows_is_told() -> None:
    """Where a library goes on after a read that failed, the failure is raised all the same."""

    def fetch(ranges: Ranges) -> list[memoryview]:
        raise StorageError("a: try again")

    stream = RangeStream(fetch, len(DATA), "a")

    def parse() -> None:
        with told(stream), suppress(OSError):
            stream.read(10)

    with pytest.raises(StorageError, match="try again"):
        parse()
    with told(io.BytesIO(DATA)):
        pass


@pytest.mark.parametrize("count", [0, 99])
def test_an_answer_that_is_too_short_is_an_error(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that gives fewer bytes than it has is asked again and then not believed."""
    monkeypatch.setattr("microtome_ingest.remote._PAUSE", 0.001)
    Counted.reset()
    with Files().open(Counted.put("a.bin", DATA)) as data:
        Counted.fault = staticmethod(lambda *_: DATA[:count])
        reason = rf"a\.bin: {count} of 100 bytes at 7: truncated"
        with pytest.raises(SourceError, match=reason):
            data.read(7, 100)
        assert len(Counted.asked) == 5


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionError("reset"), StorageError),
        (TimeoutError("late"), StorageError),
        (PermissionError("Forbidden"), SourceError),
        (FileNotFoundError("gone"), SourceError),
    ],
)
def test_failures_that_may_pass_are_told_from_those_that_do_not(
    error: Exception, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that breaks is tried again and is storage's fault; rights are the source's."""
    monkeypatch.setattr("microtome_ingest.remote._PAUSE", 0.001)
    Counted.reset()

    def fail(*_: object) -> bytes:
        raise error

    with Files().open(Counted.put("a.bin", DATA)) as data:
        Counted.fault = staticmethod(fail)
        with pytest.raises(expected, match=r"counted://a\.bin") as raised:
            data.read(0, 10)
        assert isinstance(raised.value, expected)
        assert len(Counted.asked) == (5 if expected is StorageError else 1)
        answers = iter([error, error])
        Counted.fault = staticmethod(lambda *_: _raise(next(answers, None)))
        if expected is StorageError:
            assert data.read(0, 10) == DATA[:10]


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_box_of_a_raw_array_is_the_arrays(data: st.DataObject) -> None:
    """From the ranges of a box alone, wherever they lie, comes the same part of the array."""
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=5)))
    array = np.arange(np.prod(shape), dtype=">u2").reshape(shape)
    edges = [sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in shape]
    box = tuple(slice(*edge) for edge in edges)
    Counted.reset()
    files, raw = Files(), RawArray(7, shape, array.dtype)
    with files.open(Counted.put("a", b"x" * 7 + array.tobytes())) as opened:
        ranges = raw.ranges(opened, box)
        views = files.fetch([(opened, *one) for one in ranges])
        np.testing.assert_array_equal(raw.take(opened, box, views), array[box])
    assert sum(count for _, count in ranges) == array[box].nbytes


def test_a_meter_counts_from_many_threads() -> None:
    """No addition is lost."""
    meter = Meter()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(meter.add), [3] * 1000))
    assert meter.count == 3000
