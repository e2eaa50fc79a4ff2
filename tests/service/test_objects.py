"""Stored objects are read by parts, each of one state of the object, from any kind of store."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from microtome_core.errors import StorageError
from microtome_core.store.location import Store
from microtome_service.objects import PIECE, Objects
from microtome_service.ranges import Span

BODY = np.random.default_rng(0).bytes(5 * PIECE // 2)


@pytest.fixture
def objects(store: Store) -> Iterator[Objects]:
    """The objects of a store of each kind, one of which lies at ``a/b``."""
    store.write("a/b", BODY)
    opened = Objects(store, 20.0)
    yield opened
    opened.close()


async def read_all(objects: Objects, sections: list[Span | bytes]) -> bytes:
    """Read sections of the object."""
    opened = await objects.open("a/b")
    assert opened is not None
    try:
        async with aclosing(objects.parts(opened, sections)) as parts:
            return b"".join([bytes(part) async for part in parts])
    finally:
        opened.close()


def test_sections_come_in_order_with_words_between(objects: Objects) -> None:
    """Larger than a piece, across seams, backwards, and of one byte."""
    spans = [Span(0, len(BODY)), Span(PIECE - 3, PIECE + 3), Span(5, 6)]
    sections: list[Span | bytes] = [spans[0], b"--", *spans[1:], b"!"]
    a, b, c = (BODY[s.start : s.stop] for s in spans)
    assert asyncio.run(read_all(objects, sections)) == a + b"--" + b + c + b"!"


def test_what_is_not_there_is_none(objects: Objects, store: Store) -> None:
    """An absent object, and a folder."""
    for path in ("a/c", "a", "a/b/c", "x/y"):
        assert asyncio.run(objects.open(path)) is None
        assert store.stat(path) is None


def test_an_object_that_changes_has_another_tag(objects: Objects, store: Store) -> None:
    """Its size and time are told; another object of equal length has another tag."""
    first = store.stat("a/b")
    assert first is not None
    assert first == store.stat("a/b")
    assert first.size == len(BODY)
    store.write("a/b", BODY[::-1])
    second = store.stat("a/b")
    assert second is not None
    assert second.tag != first.tag


def test_parts_are_of_one_state(objects: Objects, store: Store) -> None:
    """Replaced while it is read: the rest of the old one, or an error, never a mixture."""

    async def run() -> bytes:
        opened = await objects.open("a/b")
        assert opened is not None
        first = bytes(await objects.read(opened, Span(0, PIECE)))
        await objects.run(store.write, "a/b", BODY[::-1])
        try:
            return first + bytes(await objects.read(opened, Span(PIECE, len(BODY))))
        finally:
            opened.close()

    if store.local("a/b") is not None:
        assert asyncio.run(run()) == BODY
    else:
        with pytest.raises(StorageError, match="replaced"):
            asyncio.run(run())


def test_a_replaced_object_is_read_by_who_asks_again(s3_store: Store) -> None:
    """What an object in a bucket is, is believed for a while, but not against what is read."""
    s3_store.write("a/b", BODY)
    objects = Objects(s3_store, 20.0, 600.0)
    assert asyncio.run(read_all(objects, [Span(0, 9)])) == BODY[:9]
    s3_store.write("a/b", BODY[::-1])
    with pytest.raises(StorageError, match="replaced"):
        asyncio.run(read_all(objects, [Span(0, 9)]))
    assert asyncio.run(read_all(objects, [Span(0, 9)])) == BODY[::-1][:9]
    s3_store.remove("a/b")
    with pytest.raises(StorageError):
        asyncio.run(read_all(objects, [Span(0, 9)]))
    assert asyncio.run(objects.open("a/b")) is None
    objects.close()


def test_bytes_beyond_the_end_are_an_error(objects: Objects) -> None:
    """A short read is never given out as if it were whole."""
    with pytest.raises(StorageError):
        asyncio.run(read_all(objects, [Span(len(BODY) - 5, len(BODY) + 5)]))


def test_storage_that_hangs_is_an_error(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that is allowed; the event loop goes on meanwhile."""
    impatient = Objects(objects.store, 0.05)
    with pytest.raises(StorageError, match=r"0\.05 s"):
        asyncio.run(impatient.run(lambda: __import__("time").sleep(0.5)))
    impatient.close()


def test_files_stay_closed_when_a_reader_stops(tmp_path: Path) -> None:
    """Half of the parts taken, then no more."""
    store = Store(str(tmp_path))
    store.write("a/b", BODY)
    objects = Objects(store, 20.0)

    async def run() -> None:
        opened = await objects.open("a/b")
        assert opened is not None
        async with aclosing(objects.parts(opened, [Span(0, len(BODY))])) as parts:
            await anext(parts)
        opened.close()
        opened.close()
        with pytest.raises((StorageError, ValueError)):
            await objects.read(opened, Span(0, 5))

    asyncio.run(run())
    assert not any("a/b" in link for link in _open_files())
    objects.close()


def _open_files() -> list[str]:
    folder = Path("/proc/self/fd")
    links = [folder / name for name in os.listdir(folder)] if folder.is_dir() else []
    return [str(link.readlink()) for link in links if link.is_symlink()]


def test_the_store_is_served_from_a_bucket(
    s3_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., NDArray[Any]],
    connect: Callable[..., Any],
) -> None:
    """Whole, in ranges, by its tag; a shard that is gone is told."""
    make_builder(s3_store).layer("demo/brain/neurons", "zyx", make_ramp((10, 20, 30), "uint16"))
    call, key = connect(s3_store), "/zarr/demo/brain/neurons/0/c/0/1/1"
    body = s3_store.read("demo/brain/neurons/0/c/0/1/1")
    assert body is not None
    whole = call.get(key)
    assert whole.content == body
    assert whole.headers["last-modified"]
    assert call.get(key, headers={"Range": "bytes=-9"}).content == body[-9:]
    several = call.get(key, headers={"Range": "bytes=0-1,5-8"})
    assert (several.status_code, body[5:9] in several.content) == (206, True)
    etag = whole.headers["etag"]
    assert call.get(key, headers={"If-None-Match": etag}).status_code == 304
    chunks = call.get("/api/datasets/demo/brain/neurons/cutout?format=chunks&z=0:9")
    assert (chunks.status_code, len(chunks.content)) == (200, int(chunks.headers["content-length"]))
    s3_store.remove("demo/brain/neurons/0/c/0/1/1")
    assert call.get(key).status_code == 404
