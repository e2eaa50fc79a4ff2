"""The reverse proxy that is shipped, before the real service: what it keeps, passes and ends."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from microtome_cli.main import main
from tests import nginx
from tests.contract.conftest import wait_until_ready

if nginx.program() is None:
    pytest.skip("nginx: not installed, see .ci/packages", allow_module_level=True)

BRAIN, SECRET = "demo/open/brain", "demo/closed/brain"
SIZES = ("--axes", "zyx", "--voxel-size", "1,1,1", "--chunk", "8,32,32")
Proxied = Callable[..., AbstractContextManager[nginx.Proxy]]


@dataclass(frozen=True, slots=True)
class Lab:
    """A service in a process of its own, and a key to what is private.

    Parameters
    ----------
    root : Path
    address : str
        ``host:port``.
    key : str
    voxels : ndarray
        Of all layers at first.
    """

    root: Path
    address: str
    key: str
    voxels: Any

    def ingest(self, voxels: Any, layer: str) -> None:  # noqa: ANN401 - an array
        """Make or replace a layer."""
        np.save(self.root.parent / "in.npy", voxels)
        shard = ("--shard", ",".join(str(n // 2) for n in voxels.shape))
        words = [str(self.root.parent / "in.npy"), str(self.root), "--as", layer, *SIZES, *shard]
        assert main(["ingest", *words, "--restart", "--grace", "0"]) == 0

    def counted(self, name: str) -> float:
        """Return the sum of a metric of the service."""
        lines = httpx.get(f"http://{self.address}/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, unused_port: Callable[[], int]) -> Iterator[Lab]:
    """Serve two datasets, one of them private."""
    folder = tmp_path_factory.mktemp("lab")
    voxels = np.random.default_rng(1).integers(0, 900, (32, 128, 128)).astype("uint16")
    (folder / "root").mkdir()
    with pytest.MonkeyPatch.context() as patch, (folder / "log").open("wb") as log:
        for name in ("MICROTOME_ROOT", "MICROTOME_DATABASE_URL"):
            patch.delenv(name, raising=False)
        port = unused_port()
        made = Lab(folder / "root", f"127.0.0.1:{port}", "", voxels)
        for layer in (BRAIN, SECRET):
            made.ingest(voxels, layer)
        root = ["--root", str(made.root)]
        assert main(["access", "set", "demo/closed", "private", *root]) == 0
        create = ["token", "create", *root, "--name", "a", "--scope", "read"]
        with redirect_stdout(StringIO()) as told:
            assert main(create) == 0
        key = told.getvalue().split()[0]
        settings = {"RECHECK_SECONDS": "0", "ACCESS_LOG": "true", "LOG_FORMAT": "json"}
        environment = {f"MICROTOME_{name}": value for name, value in settings.items()}
        serve = [sys.executable, "-m", "microtome_cli", "serve", str(made.root)]
        with subprocess.Popen(
            [*serve, "--port", str(port)], stderr=log, env={**os.environ, **environment}
        ) as server:
            try:
                wait_until_ready(f"http://127.0.0.1:{port}", server)
                yield Lab(made.root, made.address, key, voxels)
            finally:
                server.terminate()


@pytest.fixture
def proxied(lab: Lab, tmp_path: Path, unused_port: Callable[[], int]) -> Proxied:
    """Return what runs nginx before the service, with some directives changed."""

    @contextmanager
    def run(
        changes: Mapping[str, str] | None = None, services: tuple[str, ...] = ()
    ) -> Iterator[nginx.Proxy]:
        folder = tmp_path / f"nginx-{time.monotonic_ns()}"
        before = (*services, lab.address) if services != ("none",) else (f"127.0.0.1:{_CLOSED}",)
        with nginx.running(folder, unused_port(), before, changes) as proxy:
            yield proxy

    return run


# Nobody listens there: reserved (RFC 6335).
_CLOSED = 1


def version_of(url: str, layer: str = BRAIN) -> str:
    """Return a layer's version."""
    return str(httpx.get(f"{url}/api/datasets/{layer}").json()["version"])


def cutout(url: str, layer: str = BRAIN, **query: Any) -> str:  # noqa: ANN401 - numbers and text
    """Return the address of a small cutout."""
    words = "&".join(f"{name}={value}" for name, value in query.items())
    return f"{url}/api/datasets/{layer}/cutout?z=3&y=0:64&x=0:64&{words}"


def test_a_version_is_asked_for_once(lab: Lab, proxied: Proxied) -> None:
    """The second request is answered by the proxy: the same bytes, ETag and media type, and the
    service reads nothing; a caller who has it already gets 304. Each media type is kept by itself.
    """
    with proxied() as proxy:
        url = cutout(proxy.url, version=version_of(proxy.url))
        first = httpx.get(url)
        before = lab.counted("microtome_decoded_bytes_total")
        second = httpx.get(url)
        assert (first.headers["x-cache"], second.headers["x-cache"]) == ("MISS", "HIT")
        assert second.content == first.content
        for name in ("etag", "content-type", "cache-control", "x-microtome-shape"):
            assert second.headers[name] == first.headers[name]
        again = httpx.get(url, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert lab.counted("microtome_decoded_bytes_total") == before
        picture = httpx.get(url, headers={"Accept": "image/png"})
        assert picture.headers["content-type"] == "image/png"
        assert picture.headers["x-cache"] == "MISS"
        assert httpx.get(url).content == first.content


def test_what_a_program_asked_for_is_of_use_to_browsers(lab: Lab, proxied: Proxied) -> None:
    """Pages of other sites may read what is kept, whoever asked for it first."""
    with proxied() as proxy:
        url = cutout(proxy.url, version=version_of(proxy.url))
        assert httpx.get(url).headers["x-cache"] == "MISS"
        for state in ("MISS", "HIT"):
            answer = httpx.get(url, headers={"Origin": "https://viewer.example"})
            assert answer.headers["x-cache"] == state
            assert answer.headers["access-control-allow-origin"] == "*"


def test_what_names_no_version_is_never_kept(lab: Lab, proxied: Proxied) -> None:
    """It is asked for at the service each time, with the caller's own condition."""
    with proxied() as proxy:
        found = httpx.get(cutout(proxy.url))
        assert found.headers.get("x-cache") is None
        told = httpx.get(cutout(proxy.url), headers={"If-None-Match": found.headers["etag"]})
        assert told.status_code == 304
        for path in ("/", f"/{BRAIN}", f"/api/datasets/{BRAIN}", f"/zarr/{BRAIN}/zarr.json"):
            assert httpx.get(proxy.url + path).status_code == 200
        assert proxy.kept == []


def test_a_layer_that_is_replaced_is_not_stale(lab: Lab, proxied: Proxied) -> None:
    """Its new voxels are there at once, by its address and by its new version; the old version is
    either what it was or refused, never something else.
    """
    layer = "demo/open/changing"
    lab.ingest(lab.voxels, layer)
    with proxied({"proxy_cache_valid": "200 1s"}) as proxy:
        old = version_of(proxy.url, layer)
        before = httpx.get(cutout(proxy.url, layer, format="raw", version=old)).content
        lab.ingest(lab.voxels[::-1], layer)
        new = version_of(proxy.url, layer)
        assert new != old
        expected = lab.voxels[::-1][3, :64, :64].tobytes()
        assert httpx.get(cutout(proxy.url, layer, format="raw")).content == expected
        assert httpx.get(cutout(proxy.url, layer, format="raw", version=new)).content == expected
        address = cutout(proxy.url, layer, format="raw", version=old)
        for _ in range(100):
            answer = httpx.get(address)
            assert answer.status_code == 409 or answer.content == before
            if answer.status_code == 409:
                break
            time.sleep(0.1)
        assert answer.status_code == 409


def test_what_is_private_is_never_kept(lab: Lab, proxied: Proxied) -> None:
    """Neither with a key nor with a cookie, and what is public is not either for who shows one; a
    stranger gets what the service says to strangers.
    """
    key = {"Authorization": f"Bearer {lab.key}"}
    with proxied() as proxy:
        version = httpx.get(f"{proxy.url}/api/datasets/{SECRET}", headers=key).json()["version"]
        address = cutout(proxy.url, SECRET, version=version)
        for _ in range(2):
            answer = httpx.get(address, headers=key)
            assert answer.status_code == 200
            assert "private" in answer.headers["cache-control"]
            assert answer.headers.get("x-cache") is None
        assert httpx.get(address).status_code == 404
        public = cutout(proxy.url, version=version_of(proxy.url))
        assert httpx.get(public, headers=key).headers.get("x-cache") is None
        odd = httpx.get(public, headers={"Cookie": "microtome_session=x"})
        assert odd.headers.get("x-cache") is None
        assert proxy.kept == []


@pytest.mark.slow
def test_what_becomes_private_is_not_given_away_for_long(lab: Lab, proxied: Proxied) -> None:
    """The proxy asks again, by its ETag and without a read, whether a version is to be had."""
    layer = "demo/fickle/brain"
    lab.ingest(lab.voxels, layer)
    root = ["--root", str(lab.root)]
    with proxied({"proxy_cache_valid": "200 1s"}) as proxy:
        address = cutout(proxy.url, layer, version=version_of(proxy.url, layer))
        assert httpx.get(address).status_code == 200
        time.sleep(2.5)  # seconds of a clock that has no fractions
        before = lab.counted("microtome_decoded_bytes_total")
        assert httpx.get(address).headers["x-cache"] == "REVALIDATED"
        assert lab.counted("microtome_decoded_bytes_total") == before
        assert main(["access", "set", "demo/fickle", "private", *root]) == 0
        for _ in range(200):
            if (answer := httpx.get(address)).status_code == 404:
                break
            time.sleep(0.1)
        assert answer.status_code == 404


def test_ranges_pass(lab: Lab, proxied: Proxied) -> None:
    """Of a stored shard only what is asked for comes from the service, version or not."""
    with proxied() as proxy:
        for query in ("", f"?version={version_of(proxy.url)}"):
            address = f"{proxy.url}/zarr/{BRAIN}/0/c/0/0/0{query}"
            whole = httpx.get(address).content
            before = lab.counted("microtome_sent_bytes_total")
            part = httpx.get(address, headers={"Range": "bytes=10-29"})
            assert (part.status_code, part.content) == (206, whole[10:30])
            assert part.headers["content-range"] == f"bytes 10-29/{len(whole)}"
            # The page of numbers is among what was sent.
            assert lab.counted("microtome_sent_bytes_total") - before < len(whole)
            tail = httpx.get(address, headers={"Range": "bytes=-4"})
            assert tail.content == whole[-4:]


def silent_after(url: str, data: bytes, pause: float) -> float:
    """Send bytes one by one; return after how many seconds the connection was ended."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", httpx.URL(url).port), 30) as sock:
        sock.settimeout(pause)
        for byte in data:
            try:
                sock.sendall(bytes([byte]))
                if sock.recv(4096) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("the connection was never ended")
    return time.monotonic() - began


@pytest.mark.slow
def test_a_client_that_drips_is_ended(proxied: Proxied) -> None:
    """Its head must come in time, however often a byte of it does; a body must go on."""
    with proxied({"client_header_timeout": "1s", "client_body_timeout": "1s"}) as proxy:
        head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: " + b"a" * 600
        assert silent_after(proxy.url, head, 0.05) < 15
        address = ("127.0.0.1", httpx.URL(proxy.url).port or 0)
        with socket.create_connection(address, 30) as sock:
            path = f"/api/datasets/{BRAIN}/cutouts"
            head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{{".encode()
            sock.sendall(head)
            sock.settimeout(20)
            with suppress(ConnectionResetError):  # which is an end, too
                assert b" 200 " not in sock.recv(4096)


def test_a_body_that_is_too_large_is_refused_in_words(proxied: Proxied) -> None:
    """Beyond the proxy's limit by the proxy, below it by the service, both as problem documents."""
    with proxied({"client_max_body_size": "2m"}) as proxy:
        address = f"{proxy.url}/api/datasets/{BRAIN}/cutouts"
        for size, proxy_says in ((3 << 20, True), (3 << 19, False)):
            answer = httpx.post(address, content=b" " * size)
            assert answer.status_code == 413
            assert answer.headers["content-type"] == "application/problem+json"
            told = json.loads(answer.content)
            assert (told["status"], told["error"]) == (413, "TooLarge")
            assert ("this proxy" in told["detail"]) == proxy_says


@pytest.fixture(scope="module")
def large(lab: Lab) -> str:
    """Make a layer of 32 MiB that does not compress."""
    voxels = np.random.default_rng(2).integers(0, 255, (32, 1024, 1024)).astype("uint8")
    lab.ingest(voxels, "demo/open/large")
    return "demo/open/large"


@pytest.mark.slow
def test_a_volume_streams_through_memory_alone(lab: Lab, proxied: Proxied, large: str) -> None:
    """While a caller takes 32 MiB slowly nothing of it lies on the proxy's disk, whether its length
    is known or not, though it names a version; and one address has only so many at once.
    """
    with proxied({"limit_conn": "microtome_callers 2"}) as proxy, ExitStack() as stack:
        version = version_of(proxy.url, large)
        answers = []
        for kind in ("raw", "zstd"):
            address = f"{proxy.url}/api/datasets/{large}/cutout?format={kind}&version={version}"
            client = stack.enter_context(httpx.Client(timeout=60))
            answers.append(stack.enter_context(client.stream("GET", address)))
        whole = [iter(answer.iter_raw(1 << 16)) for answer in answers]
        assert all(next(one) for one in whole)
        held = [path for path in (proxy.folder / "temporary").rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in [*held, *proxy.kept]) == 0
        refused = httpx.get(f"{proxy.url}/{BRAIN}")
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"] == "TooMany"
        assert sum(map(len, whole[0])) + (1 << 16) == 32 << 20


def test_who_asks_is_who_connects(lab: Lab, proxied: Proxied) -> None:
    """The service's log has the caller's address and not what it says of itself, and the same id as
    the proxy's; ids that would spoil a log are replaced.
    """
    with proxied() as proxy:
        said = {"X-Forwarded-For": "203.0.113.9", "X-Request-ID": f"mine-{proxy.pid}"}
        answer = httpx.get(f"{proxy.url}/{BRAIN}", headers=said)
        assert answer.headers["x-request-id"] == f"mine-{proxy.pid}"
        odd = httpx.get(f"{proxy.url}/{BRAIN}", headers={"X-Request-ID": 'a"b c'})
        assert re.fullmatch("[0-9a-f]{32}", odd.headers["x-request-id"])
        lines = map(json.loads, (proxy.folder / "access.log").read_text().splitlines())
        assert [one["client"] for one in lines if one["request_id"] == f"mine-{proxy.pid}"] == [
            "127.0.0.1"
        ]
    for _ in range(100):
        found = [
            json.loads(line)
            for line in (lab.root.parent / "log").read_text().splitlines()
            if f"mine-{proxy.pid}" in line
        ]
        if found:
            break
        time.sleep(0.05)
    assert [one["client"] for one in found] == ["127.0.0.1"]


@pytest.mark.slow
def test_a_replica_that_is_gone_is_passed_over(lab: Lab, proxied: Proxied) -> None:
    """Its share goes to the others; where none is left the answer is 503, to come again; what is
    for operators is not shown to strangers.
    """
    with proxied(services=(f"127.0.0.1:{_CLOSED}",)) as proxy:
        assert {httpx.get(cutout(proxy.url)).status_code for _ in range(12)} == {200}
        assert httpx.get(f"{proxy.url}/metrics").status_code == 404
    with proxied(services=("none",)) as proxy:
        answer = httpx.get(cutout(proxy.url))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"] == "Busy"


def test_the_configuration_is_accepted_as_it_is_shipped(tmp_path: Path) -> None:
    """Its own check finds no fault and warns of nothing."""
    config = nginx.write_config(tmp_path / "nginx", 8080, ["127.0.0.1:8001"], {})
    words = [nginx.program() or "", "-t", "-c", str(config)]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "warn" not in told.stderr
