"""Batches over a slow link come as Blosc buffers, and are the same voxels."""

from collections.abc import Iterator

import numcodecs
import numpy as np
import pytest

import microtome
from microtome.errors import BrokenConnection, WrongAnswer
from microtome.packed import Unpacked
from tests.client.pairs import Pair, serving


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """An image and its labels."""
    with serving(tmp_path_factory.mktemp("pair")) as found:
        yield found


class Bytes:
    """A body that holds what it is given."""

    url = "http://host/cutouts"

    def __init__(self, data: bytes) -> None:
        self.data = data

    def fill(self, view: memoryview) -> None:
        """Give what follows."""
        if len(self.data) < len(view):
            raise BrokenConnection("broke off")
        view[:], self.data = self.data[: len(view)], self.data[len(view) :]


def unpacked(data: bytes, limit: int = 1 << 20) -> Unpacked:
    """Return what reads `data`."""
    return Unpacked(Bytes(data), limit)  # type: ignore[arg-type]


@pytest.mark.parametrize("transfer", ["chunks", "zstd", "raw"])
def test_batches_are_the_same_in_every_form(
    pair: Pair, transfer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps, dropped axes and boxes of several shapes too."""
    monkeypatch.setattr("microtome.fetch.LEAST", 1)
    asked: list[str] = []
    volume = microtome.open(pair.image.url, transfer=transfer)
    post = volume.transport.post
    monkeypatch.setattr(
        volume.transport, "post", lambda url, *a, **k: (asked.append(url), post(url, *a, **k))[1]
    )
    keys = [np.s_[:, 3:9, 2:7, ::2], np.s_[1, :, 5], np.s_[0, 1, 2, 3]]
    for found, key in zip(volume.batch(keys), keys, strict=True):
        np.testing.assert_array_equal(found, pair.voxels[key])
    expected = {"chunks": "blosc", "zstd": "zstd", "raw": "raw"}[transfer]
    assert all(url.endswith(f"format={expected}") for url in asked)


def test_buffers_and_what_is_asked_for_need_not_end_alike() -> None:
    """A box may be several buffers, and a buffer be read piece by piece."""
    values = np.arange(3000, dtype=np.uint16)
    codec = numcodecs.Blosc("zstd", 3, numcodecs.Blosc.BITSHUFFLE)
    body = b"".join(codec.encode(part) for part in np.array_split(values, 3))
    for size in (1, 7, 1000, 3001, 6000):
        reader, out = unpacked(body), bytearray(6000)
        for i in range(0, 6000, size):
            reader.fill(memoryview(out)[i : i + size])
        reader.end()
        np.testing.assert_array_equal(np.frombuffer(out, np.uint16), values)


def test_what_is_no_buffer_is_refused() -> None:
    """Lengths that cannot be, content that does not decode, an early end, more at the end."""
    good = numcodecs.Blosc("zstd").encode(np.arange(1000))
    with pytest.raises(WrongAnswer, match="a buffer of"):
        unpacked(bytes(16)).fill(memoryview(bytearray(8)))
    with pytest.raises(WrongAnswer, match="that holds 8000"):
        unpacked(good, 7999).fill(memoryview(bytearray(8)))
    with pytest.raises(WrongAnswer):
        unpacked(good[:16] + bytes(len(good) - 16)).fill(memoryview(bytearray(8000)))
    with pytest.raises(BrokenConnection):
        unpacked(good[:-1]).fill(memoryview(bytearray(8000)))
    reader = unpacked(good)
    reader.fill(memoryview(bytearray(8)))
    with pytest.raises(WrongAnswer, match="more than was asked for"):
        reader.end()
