"""Every way in while storage fails: 503, or an answer that breaks off, and then recovery."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from microtome_cli.main import main
from microtome_core.names import LayerId
from microtome_core.store.create import NewLayer, create_layer
from microtome_core.store.location import StorageOptions, Store
from microtome_service.app import create_app
from microtome_service.settings import Settings
from tests.contract.conftest import wait_until_ready
from tests.faults import FaultProxy
from tests.service.conftest import running
from tests.trees import tree
from tests.ways import LISTS, NPY, READS, SEG, WRITES, Way, npy

SHAPE = (16, 32, 32)
NEW = NewLayer("zyx", SHAPE, "uint32", (1.0,) * 3, ("um",) * 3, chunk=(8, 8, 8), shard=(8, 16, 16))
RECHECK = 0.1
SECRET = "not-for-logs-9f3a"


# To make one takes longer than to ask.
CLIENT = httpx.Client(timeout=60)


@dataclass(frozen=True, slots=True)
class World:
    """A served root, and what every way answers while all is well."""

    root: Path
    address: str
    good: Mapping[Way, httpx.Response]

    def ask(self, way: Way) -> httpx.Response | None:
        """Return an answer; None where it breaks off."""
        return ask(self.address, way)

    def shards(self) -> list[Path]:
        """Return the files of both layers' finest voxels."""
        found = (p for name in ("em", "seg") for p in self.root.glob(f"demo/brain/{name}/0/c/**/*"))
        return sorted(path for path in found if path.is_file())

    def errors(self) -> float:
        """Return how many requests were answered by 503 or broke off, as metrics tell."""
        return counted(self.address)


def ask(address: str, way: Way) -> httpx.Response | None:
    """Return an answer; None where it breaks off."""
    try:
        return CLIENT.request(way.method, address + way.url, content=way.body, headers=way.headers)
    except (httpx.RemoteProtocolError, httpx.ReadError):
        return None


def counted(address: str) -> float:
    """Return how many requests were answered by 503 or broke off, as metrics tell."""
    lines = CLIENT.get(f"{address}/metrics").text.splitlines()
    wanted = ('status="503"', 'status="broken"')
    total = [
        line for line in lines
        if line.startswith("microtome_requests_total") and any(word in line for word in wanted)
    ]  # fmt: skip
    return sum(float(line.split()[-1]) for line in total)


def fill(url: str, folder: Path) -> None:
    """Ingest an image and create labels, with voxels in every shard."""
    dice = np.random.default_rng(3)
    np.save(folder / "in.npy", dice.integers(1, 255, SHAPE).astype("uint8"))
    words = ["ingest", str(folder / "in.npy"), url, "--as", "demo/brain/em", "--axes", "zyx"]
    sizes = ["--voxel-size", "1,1,1", "--chunk", "8,8,8", "--shard", "8,16,16"]
    assert main([*words, *sizes]) == 0
    store = Store(url, StorageOptions.from_environment(os.environ))
    create_layer(store, LayerId("demo", "brain", "seg"), NEW)


IDS = np.random.default_rng(4).integers(5, 9, SHAPE, "uint32")
LABELS = Way(f"{SEG}/cutout", "PUT", npy(IDS), NPY)


@contextmanager
def serving(store: Store, read_seconds: float = 20) -> Iterator[str]:
    """Serve a store whose every read reads, and cut answers into small slabs."""
    chosen = Settings(
        root=store.url, recheck_seconds=RECHECK, anonymous_writes=True, slab_bytes=4096,
        cache_bytes=0, read_seconds=read_seconds,
    )  # fmt: skip
    with running(create_app(chosen, store)) as address:
        yield address


@pytest.fixture(scope="module", autouse=True)
def close() -> Iterator[None]:
    """Leave no connection open."""
    yield
    CLIENT.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A root on disk."""
    folder = tmp_path_factory.mktemp("failing")
    fill(str(folder / "root"), folder)
    with serving(Store(str(folder / "root"))) as address:
        written = ask(address, LABELS)
        assert written is not None
        assert written.status_code == 204, written.text
        time.sleep(1)  # levels above follow
        good = {way: whole(ask(address, way)) for way in READS}
        bad = {str(way): a.text for way, a in good.items() if a.status_code not in (200, 206)}
        assert bad == {}
        yield World(folder / "root", address, good)


def whole(answer: httpx.Response | None) -> httpx.Response:
    """Return an answer that did not break off."""
    assert answer is not None
    return answer


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), 20):
        data[place] ^= 4
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _blank(path: Path) -> None:
    path.write_bytes(b"")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BREAKS: Mapping[str, Callable[[Path], None]] = {
    "flip": _flip,
    "cut": _cut,
    "blank": _blank,
    "delete": Path.unlink,
    "folder": _folder,
}


@contextmanager
def broken(shards: list[Path], fault: str) -> Iterator[None]:
    """Break shards, and mend them again."""
    held = {path: path.read_bytes() for path in shards}
    try:
        for path in shards:
            BREAKS[fault](path)
        yield
    finally:
        for path, data in held.items():
            if path.is_dir():
                path.rmdir()
            path.write_bytes(data)


def check_refused(way: Way, answer: httpx.Response | None, place: str) -> list[str]:
    """Return what is wrong with an answer from storage that fails."""
    if answer is None:
        return []
    words = [f"{way}: {answer.status_code} {answer.text[:200]!r}"]
    if answer.status_code != 503 or "retry-after" not in answer.headers:
        return words
    return words if any(s in answer.text for s in (place, "Traceback", "testing")) else []


def check_recovered(world: World) -> None:
    """Every way gives what it gave before, soon."""
    end = time.monotonic() + 15
    for way, good in world.good.items():
        while (now := world.ask(way)) is None or now.status_code != good.status_code:
            assert time.monotonic() < end, (str(way), now and now.text)
            time.sleep(RECHECK)
        if "Range" not in way.headers:  # of which each answer has a boundary of its own
            assert now.content == good.content, way


@pytest.mark.parametrize("fault", BREAKS)
def test_no_way_in_gives_voxels_of_damaged_shards(
    world: World, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """503 and the shard's name in the log, and all is well again when the shards are."""
    before, wrong, ways = world.errors(), list[str](), (*READS, *WRITES)
    with broken(world.shards(), fault):
        # The store itself gives bytes as they lie, with the checksums that tell on them.
        for way in (w for w in ways if fault != "flip" or not w.url.startswith("/zarr/")):
            caplog.clear()
            answer = world.ask(way)
            wrong += check_refused(way, answer, str(world.root))
            if f"demo/brain/{way.layer}" not in caplog.text or "0/c/" not in caplog.text:
                wrong.append(f"{way}: the log names no shard: {caplog.text[:300]!r}")
    assert not wrong, "\n".join(wrong)
    assert world.errors() >= before + len(ways) - 2
    check_recovered(world)


@pytest.mark.parametrize("fault", ["flip", "delete"])
def test_answers_that_have_begun_break_off(
    world: World, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where only the last shard is damaged, what is sent in slabs ends before its promised end."""
    last = [path for path in world.shards() if path.as_posix().endswith("0/c/1/1/1")]
    with broken(last, fault):
        answers = {way: world.ask(way) for way in READS if "/cutout" in way.url}
    broke = [way for way, answer in answers.items() if answer is None]
    assert len(broke) > 4
    for way, answer in answers.items():
        if answer is not None and answer.status_code != 503:
            assert answer.content == world.good[way].content
            assert "z=" in way.url
    assert "shard 0/c/1/1/1" in caplog.text
    check_recovered(world)


@contextmanager
def lost(place: Path, instead: str) -> Iterator[None]:
    """Take a folder away, and put something in its place."""
    aside = place.with_name("aside")
    place.rename(aside)
    if instead == "file":
        place.write_bytes(b"")
    elif instead == "empty":
        place.mkdir()
    try:
        yield
    finally:
        if place.is_file():
            place.unlink()
        elif place.is_dir():
            place.rmdir()
        aside.rename(place)


def check_lost(world: World, ways: tuple[Way, ...], caplog: pytest.LogCaptureFixture) -> None:
    """Every way says that storage failed, and the log that it did."""
    wrong = []
    time.sleep(2 * RECHECK)
    for way in ways:
        caplog.clear()
        wrong += check_refused(way, world.ask(way), str(world.root))
        if "demo/brain" not in caplog.text and "root" not in caplog.text:
            wrong.append(f"{way}: nothing in the log")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("instead", ["nothing", "file", "empty"])
def test_of_a_root_that_is_gone_nothing_is_called_absent(
    world: World, instead: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A mount that is lost, whether or not its empty folder stays, is storage that fails."""
    with lost(world.root, instead):
        check_lost(world, (*READS, *WRITES, *LISTS), caplog)
    check_recovered(world)


@pytest.mark.parametrize("name", ["em/zarr.json", "em/0/zarr.json"])
def test_metadata_that_is_cut_short_is_told(
    world: World, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a document is 503 for its layer, whoever looks at it anew."""
    layer = world.root / "demo/brain/em/zarr.json"
    held, document = layer.read_bytes(), world.root / "demo/brain" / name
    half = document.read_bytes()
    try:
        layer.write_bytes(held + b" ")  # to be opened anew
        document.write_bytes(half[: len(half) // 2])
        check_lost(world, tuple(way for way in READS if way.layer == "em"), caplog)
    finally:
        document.write_bytes(half)
        layer.write_bytes(held)
    check_recovered(world)


ORDINARY = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
FORBIDDEN = ("", "demo", "demo/brain/em", "demo/brain/em/zarr.json", "demo/brain/em/0/c")


@contextmanager
def served_without_privileges(root: Path, port: int, log: Path) -> Iterator[str]:
    """Serve a root from a process that permissions hold for, also where root runs the tests."""
    mine = {"RECHECK_SECONDS": str(RECHECK), "CACHE_BYTES": "0", "ANONYMOUS_WRITES": "true"}
    given = os.environ | {f"MICROTOME_{name}": value for name, value in mine.items()}
    words = [sys.executable, "-m", "microtome_cli", "serve", str(root), "--port", str(port)]
    before = ORDINARY if os.geteuid() == 0 else ()
    with (
        log.open("wb") as lines,
        subprocess.Popen([*before, *words], stdout=lines, stderr=lines, env=given) as server,
    ):
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@contextmanager
def forbidden(place: Path) -> Iterator[None]:
    """Take all permissions of a file or a folder away."""
    mode = place.stat().st_mode
    place.chmod(0)
    try:
        yield
    finally:
        place.chmod(mode)


def test_what_may_not_be_read_any_more_is_no_answer(
    tmp_path: Path, unused_port: Callable[[], int]
) -> None:
    """Permissions that are lost are 503 with the cause in the log; once given back all is well."""
    root, log = tmp_path / "root", tmp_path / "log"
    fill(str(root), tmp_path)
    ways = tuple(way for way in READS if way.layer == "em")
    with served_without_privileges(root, unused_port(), log) as address:
        good = {way: whole(ask(address, way)) for way in ways}
        assert {answer.status_code for answer in good.values()} <= {200, 206}
        for place in FORBIDDEN:
            before = log.stat().st_size
            with forbidden(root / place):
                time.sleep(2 * RECHECK)
                asked = [(way, ask(address, way)) for way in ways]
                wrong = [word for one in asked for word in check_refused(*one, str(root))]
                assert not wrong, (place, wrong)
            assert "ermission denied" in log.read_text()[before:], place
            check_recovered(World(root, address, good))


S3_FAULTS: Mapping[str, Mapping[str, Any]] = {
    "slow_down": {"rates": {"slow_down": 1.0}},
    "reset": {"rates": {"reset": 1.0}},
    "truncated": {"rates": {"truncated": 1.0}, "only": "GET "},
    "delay": {"rates": {"delay": 1.0}, "delay": 6.0},
}


def check_all_refused(address: str, log: pytest.LogCaptureFixture) -> None:
    """Every read through a bucket that fails is refused at once or after a while, none is wrong."""
    with ThreadPoolExecutor(len(READS)) as pool:
        answers = list(pool.map(lambda way: (way, ask(address, way)), READS))
    wrong = [fault for way, answer in answers for fault in check_refused(way, answer, "http://")]
    assert not wrong, "\n".join(wrong)
    for secret in (SECRET, "Signature=", "X-Amz-"):
        assert secret not in log.text
    assert "demo/brain" in log.text


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, marks=pytest.mark.slow) for fault in ("gone", *S3_FAULTS)],
)
def test_a_bucket_that_fails_is_no_answer(
    fault: str,
    s3_endpoint: str,
    s3_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """503 of every read while requests fail or the bucket is gone, and recovery by itself."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    fill(s3_store.url, tmp_path)
    with FaultProxy(s3_endpoint) as proxy:
        options = replace(StorageOptions.from_environment(os.environ), endpoint=proxy.url)
        with serving(Store(s3_store.url, options), read_seconds=3) as address:
            assert whole(ask(address, LABELS)).status_code == 204
            good = {way: whole(ask(address, way)) for way in READS}
            assert {answer.status_code for answer in good.values()} <= {200, 206}
            if fault == "gone":
                with without_bucket(s3_store, s3_endpoint):
                    time.sleep(2 * RECHECK)
                    check_all_refused(address, caplog)
            else:
                proxy.change(**S3_FAULTS[fault])
                time.sleep(2 * RECHECK)
                check_all_refused(address, caplog)
                proxy.change(rates={})
            check_recovered(World(tmp_path, address, good))


@contextmanager
def without_bucket(store: Store, endpoint: str) -> Iterator[None]:
    """Delete a bucket with all that lies in it, and make it again."""
    held = tree(store)
    bucket = f"{endpoint}/{store.url.split('/')[2]}"
    for key in held:
        store.remove(key)
    CLIENT.delete(bucket).raise_for_status()
    try:
        yield
    finally:
        CLIENT.put(bucket).raise_for_status()
        for key, data in held.items():
            store.write(key, data)
