"""Voxels arrive whole and in place, or not at all."""

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra.numpy import basic_indices
from numpy.typing import NDArray

import microtome
from microtome.errors import (
    BrokenConnection,
    LayerChanged,
    RegionError,
    ServiceError,
    StorageError,
    TimedOut,
    TooLarge,
    WrongAnswer,
)
from microtome.fetch import in_parallel

Array = NDArray[Any]


@pytest.fixture
def large(server: Any) -> tuple[str, Array]:  # noqa: ANN401 - conftest's server
    """A layer of 18 MiB, which is more than one request."""
    rng = np.random.default_rng(7)
    array = rng.integers(0, 65536, (9, 1024, 1024), np.uint16)
    name = "demo/brain/large"
    return server.add(array, "zyx", name=name), array


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(key=basic_indices((3, 20, 48, 40)))
def test_a_volume_indexes_as_its_array(url: str, brain: Array, key: Any) -> None:  # noqa: ANN401
    """Over HTTP, too, every basic index gives what NumPy gives."""
    got, expected = microtome.open(url)[key], brain[key]
    assert type(got) is type(expected)
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "uint64", "float32", "float64"])
def test_every_voxel_type_arrives(server: Any, dtype: str) -> None:  # noqa: ANN401
    """Types keep their size, sign and native byte order."""
    array = (np.arange(24).reshape(4, 6) - 3).astype(dtype)
    volume = microtome.open(server.add(array, "yx"))
    assert volume.dtype == np.dtype(dtype)
    assert volume[...].dtype.isnative
    assert np.array_equal(volume[...], array)


def test_an_empty_selection_asks_for_nothing(server: Any, url: str) -> None:  # noqa: ANN401
    """An empty array is made here."""
    block = microtome.open(url)[:, 5:5, ::-1]
    assert block.shape == (3, 0, 48, 40)
    assert server.cutouts == []


def test_a_small_cutout_is_one_request(server: Any, url: str) -> None:  # noqa: ANN401
    """The address is that of the interface, with ranges in array order."""
    _ = microtome.open(url, level=1)[1, 2:7, :, 3]
    assert server.cutouts == [
        "/api/datasets/demo/brain/neurons/cutout?level=1&c=1:2&z=2:7&y=0:24&x=3:4&format=raw"
    ]


def test_a_large_step_sends_only_its_planes(server: Any, large: tuple[str, Array]) -> None:  # noqa: ANN401
    """Planes between are not sent."""
    url, array = large
    assert np.array_equal(microtome.open(url)[::-4], array[::-4])
    assert server.sent < 4 * array[0].nbytes


@pytest.mark.parametrize(
    "key",
    [
        ...,
        np.s_[:, 100:, 3:],
        np.s_[::-1],
        np.s_[:, ::-1, 5:1000:3],
        np.s_[2:, ::2],
        np.s_[3:8, 7:],
    ],
)
def test_parts_in_parallel_equal_the_whole(
    server: Any,  # noqa: ANN401
    large: tuple[str, Array],
    key: Any,  # noqa: ANN401
) -> None:
    """A large cutout comes in several requests and is what one would have been."""
    url, array = large
    assert np.array_equal(microtome.open(url, parallel=4)[key], array[key])
    assert len(server.cutouts) > 1


def test_a_connection_serves_many_requests(server: Any, url: str) -> None:  # noqa: ANN401
    """Requests one after the other share a connection."""
    volume = microtome.open(url)
    for _ in range(5):
        _ = volume[0]
    assert server.accepted == 1


@pytest.mark.parametrize("fault", ["truncate", "reset"])
def test_a_broken_answer_is_asked_for_again(
    server: Any,  # noqa: ANN401
    url: str,
    brain: Array,
    fault: str,
) -> None:
    """Twice broken off in its body, then whole: nothing of the first two is left."""
    getattr(server, fault)(times=2)
    assert np.array_equal(microtome.open(url)[...], brain)
    assert len(server.cutouts) == 3


@pytest.mark.parametrize("fault", ["truncate", "reset"])
def test_an_answer_that_always_breaks_is_an_error(server: Any, url: str, fault: str) -> None:  # noqa: ANN401
    """Tries are bounded, and the error says how many there were."""
    getattr(server, fault)(times=9)
    with pytest.raises(BrokenConnection) as caught:
        _ = microtome.open(url, retries=2)[0]
    assert len(server.cutouts) == 3
    assert caught.value.__notes__ == ["after 3 of 3 tries"]


def test_parts_survive_faults(server: Any, large: tuple[str, Array]) -> None:  # noqa: ANN401
    """Each part of a large cutout is repeated by itself."""
    url, array = large
    server.fail(503, Retry_After="0")
    server.truncate()
    server.reset()
    assert np.array_equal(microtome.open(url)[...], array)


def test_a_part_that_fails_fails_the_whole(server: Any, large: tuple[str, Array]) -> None:  # noqa: ANN401
    """There is no array with a hole in it."""
    url, _ = large
    server.fail(500, detail="a wheel came off")
    with pytest.raises(ServiceError, match="a wheel came off"):
        _ = microtome.open(url)[...]


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"X_Microtome_Shape": "20,48,40,1"}, "X-Microtome-Shape is '20,48,40,1'"),
        ({"X_Microtome_Shape": None}, "X-Microtome-Shape is ''"),
        ({"X_Microtome_Dtype": "int16"}, "X-Microtome-Dtype is 'int16', expected 'uint16'"),
        ({"X_Microtome_Axes": "zcyx"}, "X-Microtome-Axes"),
        ({"Content_Length": "76799"}, "76799 bytes, expected 76800"),
        ({"Content_Length": "153600"}, "153600 bytes, expected 76800"),
        ({"Content_Encoding": "gzip"}, "compressed"),
        ({"Content_Type": "text/html; charset=utf-8"}, "the answer is 'text/html'"),
        ({"Content_Type": None}, "the answer is ''"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_refused(
    server: Any,  # noqa: ANN401
    url: str,
    headers: dict[str, str | None],
    words: str,
) -> None:
    """Shape, axes, type and length are checked before voxels are used."""
    server.lie(**headers)
    with pytest.raises(WrongAnswer, match=words):
        _ = microtome.open(url)[:1]


def test_a_layer_that_was_replaced_is_to_be_opened_again(server: Any, url: str) -> None:  # noqa: ANN401
    """Voxels of two versions never come together."""
    volume = microtome.open(url)
    layer = server.layers[volume.id]
    layer.info = replace(layer.info, version="2")
    with pytest.raises(LayerChanged, match="open it again"):
        _ = volume[0]
    assert microtome.open(url)[0].shape == volume.shape[1:]


def test_a_length_is_counted_where_it_is_not_promised(
    server: Any,  # noqa: ANN401
    url: str,
    brain: Array,
) -> None:
    """Without Content-Length a body may be neither longer nor shorter."""
    volume = microtome.open(url, retries=0)
    server.lie(Content_Length=None)
    assert np.array_equal(volume[...], brain)
    server.lie(Content_Length=None, body=brain.tobytes() + b"!")
    with pytest.raises(WrongAnswer, match="longer than"):
        _ = volume[...]
    server.lie(Content_Length=None, body=brain.tobytes()[:-1])
    with pytest.raises(BrokenConnection, match="1 before its end"):
        _ = volume[...]


@pytest.mark.parametrize(
    ("status", "kind"), [(400, RegionError), (413, TooLarge), (503, StorageError)]
)
def test_a_refusal_carries_what_the_service_said(
    server: Any,  # noqa: ANN401
    url: str,
    status: int,
    kind: type[Exception],
) -> None:
    """The error's class tells what to do; its text is the service's, with the status."""
    server.fail(status, detail="so it is <b>said</b>")
    with pytest.raises(kind, match=rf"so it is <b>said</b> \({status} ") as caught:
        _ = microtome.open(url, retries=0)[0]
    assert isinstance(caught.value, ServiceError)
    assert caught.value.status == status


@pytest.mark.parametrize("fault", ["drip", "stall"])
def test_a_body_that_does_not_end_hits_the_time_out(server: Any, url: str, fault: str) -> None:  # noqa: ANN401
    """Silence ends a request, and so does a body that only trickles."""
    getattr(server, fault)(times=5)
    begun = time.monotonic()
    with pytest.raises(TimedOut):
        _ = microtome.open(url, timeout=0.3)[0]
    assert time.monotonic() - begun < 5
    assert len(server.cutouts) == 2


def test_control_c_cancels_what_is_outstanding(server: Any, large: tuple[str, Array]) -> None:  # noqa: ANN401
    """The caller is interrupted at once, and parts not yet begun are never asked for."""
    volume = microtome.open(large[0], parallel=2)
    server.stall(times=9)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        _ = volume[:, 1:, 1:]
    assert time.monotonic() - begun < 2
    server.closing.set()
    time.sleep(0.3)
    assert len(server.cutouts) == 2


def test_a_fault_ends_the_other_items() -> None:
    """Work that has not begun is dropped; work under way is told."""
    told, done = threading.Event(), []

    def work(item: int, stop: threading.Event) -> None:
        done.append(item)
        if item == 0:
            raise WrongAnswer("no")
        if stop.wait(5):
            told.set()

    with pytest.raises(WrongAnswer):
        in_parallel(work, range(50), 2)
    assert told.wait(5)
    assert len(done) < 50


def test_what_must_settle_is_waited_for_after_a_fault() -> None:
    """When the fault is raised, nothing that writes is under way any more."""
    landed = []
    begun = threading.Event()

    def work(item: int, _: threading.Event) -> None:
        if item:
            begun.set()
            time.sleep(0.2)
            landed.append(item)
        else:
            begun.wait()
            raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        in_parallel(work, [1, 0], 2, settle=True)
    assert landed == [1]


def test_threads_share_a_volume(server: Any, url: str, brain: Array) -> None:  # noqa: ANN401
    """A volume may be read by several threads at once."""
    volume = microtome.open(url)
    wrong: list[int] = []

    def read(z: int) -> None:
        wrong.extend(z for _ in range(5) if not np.array_equal(volume[:, z], brain[:, z]))

    threads = [threading.Thread(target=read, args=(z,)) for z in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(server.cutouts) == 40


def test_a_forked_child_opens_connections_of_its_own(
    server: Any,  # noqa: ANN401
    url: str,
    brain: Array,
) -> None:
    """Parent and child never read each other's answers."""
    volume = microtome.open(url)
    _ = volume[0]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        ok = np.array_equal(volume[1], brain[1])
        os.write(write, pickle.dumps(ok))
        os._exit(0)
    assert np.array_equal(volume[2], brain[2])
    os.waitpid(child, 0)
    assert pickle.loads(os.read(read, 100)) is True
    os.close(read)
    os.close(write)
    assert server.accepted == 2


def test_a_slab_is_received_in_place(
    server: Any,  # noqa: ANN401
    url: str,
    brain: Array,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bytes of a contiguous result go into it directly, without a second array."""
    made: list[int] = []
    empty: Callable[..., Array] = np.empty

    def counted(*args: Any, **words: Any) -> Array:  # noqa: ANN401
        array = empty(*args, **words)
        made.append(array.nbytes)
        return array

    volume = microtome.open(url)
    monkeypatch.setattr(np, "empty", counted)
    block = volume[...]
    assert made == [brain.nbytes]
    assert np.array_equal(block, brain)
