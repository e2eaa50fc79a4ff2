"""Over a slow link voxels come compressed, and are the same."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra.numpy import basic_indices

import microtome
from microtome import encodings
from microtome.body import Body
from microtome.errors import BrokenConnection, LayerChanged, WrongAnswer
from microtome.link import Link
from microtome_core.region import Region
from microtome_core.store.location import Store
from tests.client.served import SHAPE, Served
from tests.service import conftest as service

quiet = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quiet
@pytest.mark.parametrize("transfer", ["zstd", "chunks"])
@given(key=basic_indices(SHAPE))
def test_every_form_gives_the_same_voxels(served: Served, transfer: str, key: Any) -> None:  # noqa: ANN401
    """Compressed by the service, or as stored and decoded here."""
    got = microtome.open(served.em, transfer=transfer)[key]
    assert np.array_equal(got, served.brain[key])
    assert got.shape == served.brain[key].shape


def test_chunks_of_fill_values_are_not_sent(served: Served) -> None:
    """A layer in which little is written comes in a few bytes, zeros and all."""
    volume = microtome.open(served.create("sparse"), transfer="chunks")
    volume[3, 3, 3] = 9
    expected = np.zeros(SHAPE[1:], "uint32")
    expected[3, 3, 3] = 9
    assert np.array_equal(volume[...], expected)


def test_what_cannot_be_decoded_comes_in_another_form(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codecs that are not known here are no error."""
    monkeypatch.setattr(encodings, "_STEPS", {})
    assert np.array_equal(microtome.open(served.em, transfer="chunks")[1], served.brain[1])


def test_batches_are_compressed_too(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are the same."""
    monkeypatch.setattr("microtome.fetch.LEAST", 1)
    volume = microtome.open(served.em, transfer="zstd")
    keys = [np.s_[0, 3:9, ::2], np.s_[1, :, 5]]
    for got, key in zip(volume.batch(keys), keys, strict=True):
        assert np.array_equal(got, served.brain[key])


@pytest.mark.parametrize(
    ("installed", "region", "form"),
    [
        (("zstd", "chunks"), ((0, 0, 0), (64, 64, 64)), "chunks"),
        (("zstd", "chunks"), ((1, 0, 0), (2, 512, 512)), "zstd"),
        (("zstd", "chunks"), ((0, 0, 0), (8, 64, 64)), "raw"),
        (("zstd",), ((0, 0, 0), (64, 64, 64)), "zstd"),
        ((), ((0, 0, 0), (64, 64, 64)), "raw"),
    ],
)
def test_a_form_is_chosen_by_what_it_costs(
    installed: tuple[str, ...],
    region: Any,  # noqa: ANN401
    form: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Chunks where they hold little else, compressed otherwise, plain where nothing decodes."""
    monkeypatch.setattr(encodings, "has_zstd", lambda: "zstd" in installed)
    monkeypatch.setattr(encodings, "has_chunks", lambda: "chunks" in installed)
    box = Region("zyx", *region)
    assert encodings.choose("auto", box, (64, 64, 64), (512, 512, 512), 2) == form


def test_chunks_take_no_more_than_they_do_on_disk(tmp_path: Path) -> None:
    """Bytes on the wire are those that are stored, and a twentieth at most."""
    folder = tmp_path / "root"
    folder.mkdir()
    z, y, x = np.indices((96, 160, 160))
    voxels = (1000 + 300 * np.sin(z / 9) * np.cos(y / 7) + x).astype("uint16")
    store = Store(str(folder))
    service.StoreBuilder(store).layer("demo/brain/smooth", "zyx", voxels, chunk=32)
    stored = sum(p.stat().st_size for p in (folder / "demo/brain/smooth/0/c").rglob("*/*/*"))
    with service.running(service.create_app(service.settings_for(store), store)) as url:
        volume = microtome.open(f"{url}/demo/brain/smooth", transfer="chunks")
        before = volume.transport.link.received
        assert np.array_equal(volume[...], voxels)
        assert volume.transport.link.received - before < 1.05 * stored < voxels.nbytes / 2


class Answer:
    """A response of some bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.headers: dict[str, str] = {}

    def read1(self, count: int) -> bytes:
        """Return the next bytes."""
        found, self.data = self.data[:count], self.data[count:]
        return found


def body_of(data: bytes) -> Body:
    """Return a body that holds `data`."""
    import threading

    return Body(Answer(data), "http://host/x", 5.0, threading.Event(), Link())  # type: ignore[arg-type]


def test_a_frame_must_be_whole_and_right() -> None:
    """Cut short, damaged or too long: an error each time, never voxels."""
    import zstandard

    frame = zstandard.ZstdCompressor(write_checksum=True).compress(b"voxels" * 1000)
    view = memoryview(bytearray(6000))
    whole = encodings.Inflated(body_of(frame))
    whole.fill(view)
    whole.end()
    assert bytes(view) == b"voxels" * 1000
    with pytest.raises(BrokenConnection, match="short of its end"):
        encodings.Inflated(body_of(frame[:20])).fill(view)
    with pytest.raises(WrongAnswer):
        encodings.Inflated(body_of(b"no frame at all")).fill(view)
    damaged = bytearray(frame)
    damaged[-1] ^= 1
    late = encodings.Inflated(body_of(bytes(damaged)))
    with pytest.raises(WrongAnswer):  # noqa: PT012 - the checksum is the frame's last word
        late.fill(view)
        late.end()
    longer = encodings.Inflated(body_of(frame))
    longer.fill(view[:5000])
    with pytest.raises(WrongAnswer, match="more than was asked for"):
        longer.end()


def chunks(served: Served) -> tuple[dict[str, Any], bytes]:
    """Return header and data of an answer of chunks."""
    import urllib.request

    url = f"{served.url}/api/datasets/demo/brain/em/cutout?c=0&z=0:8&y=0:8&x=0:8&format=chunks"
    with urllib.request.urlopen(url) as answer:
        body = answer.read()
    length = int.from_bytes(body[:8], "little")
    return json.loads(body[8 : 8 + length]), body[8 + length :]


def _change(header: dict[str, Any], name: str, value: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    where = header["chunks"] if name in header["chunks"] else header
    where[name] = value
    return header


@pytest.mark.parametrize(
    ("name", "value", "kind", "words"),
    [
        ("layer_version", "other", LayerChanged, "open it again"),
        ("dtype", "int16", WrongAnswer, "asked for c=0:1"),
        ("stop", [1, 8, 8, 9], WrongAnswer, "asked for"),
        ("index", [], WrongAnswer, "argument"),
        ("offset", [10**9], WrongAnswer, "beyond the end"),
        ("length", [7], WrongAnswer, "cannot be decoded"),
        ("codecs", [], WrongAnswer, "cannot be decoded"),
        ("chunk_shape", [1, 8, 8, 16], WrongAnswer, "cannot be decoded"),
        ("index", [[0, 0, 0, 1]], WrongAnswer, "cannot be decoded"),
    ],
)
def test_a_header_that_is_wrong_is_refused(
    served: Served,
    name: str,
    value: Any,  # noqa: ANN401
    kind: type[Exception],
    words: str,
) -> None:
    """Another version, type, region, place or form is an error, never voxels."""
    header, data = chunks(served)
    version = header["layer_version"]
    region = Region("czyx", (0, 0, 0, 0), (1, 8, 8, 8))
    good = encodings.Chunks(json.loads(json.dumps(header)), memoryview(data))
    got = encodings.unpack(good, region, version, np.dtype("uint16"), "url")
    assert np.array_equal(got, served.brain[:1, :8, :8, :8])
    bad = encodings.Chunks(_change(header, name, value), memoryview(data))
    with pytest.raises(kind, match=words):
        encodings.unpack(bad, region, version, np.dtype("uint16"), "url")


def test_a_flipped_bit_is_found(served: Served) -> None:
    """Each chunk ends in a checksum, which is looked at."""
    header, data = chunks(served)
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 4
    answer = encodings.Chunks(header, memoryview(bytes(damaged)))
    region = Region("czyx", (0, 0, 0, 0), (1, 8, 8, 8))
    with pytest.raises(WrongAnswer, match="checksum"):
        encodings.unpack(answer, region, header["layer_version"], np.dtype("uint16"), "url")
