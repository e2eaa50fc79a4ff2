"""HTTP hosts: what leads to private ones is refused, and secrets go to named ones only."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from microtome_core.errors import SourceError
from microtome_core.store.location import StorageOptions
from microtome_ingest.formats import open_source
from microtome_ingest.hosts import Hosts
from microtome_ingest.remote_http import PinnedHttp
from tests.certificates import certify
from tests.http_server import Site, serving
from tests.ingest.test_remote_http import LOCAL, STACK, npy, whole


@pytest.fixture
def site() -> Iterator[Site]:
    """Run an empty server."""
    with serving() as found:
        yield found


def test_private_hosts_are_refused_unless_named(site: Site) -> None:
    """Without the option this machine is not asked, and the message names the option."""
    url = site.put("a.npy", npy())
    port = url.rsplit(":", 1)[1]
    for address in (
        url,
        f"http://2130706433:{port}",
        f"http://localhost:{port}",
        f"http://127.1:{port}",
    ):
        with pytest.raises(SourceError, match=r"not public.*--allow-host"):
            open_source(address)
    with pytest.raises(SourceError, match=r"not public: .*--allow-host ::1"):
        open_source("http://[::1]/a.npy")
    with pytest.raises(SourceError, match=r"not among the allowed ones \(data.example\)"):
        open_source(url, None, StorageOptions(allowed_hosts=("data.example",)))
    assert site.asked == []


def test_each_hop_of_a_redirect_is_checked(site: Site) -> None:
    """A redirect is followed to an allowed host, and refused to any other."""
    site.put("a.npy", npy())
    site.moved["/near"] = "/a.npy"
    site.moved["/far"] = "http://169.254.169.254/latest/meta-data/"
    site.moved["/file"] = "file:///etc/passwd"
    site.moved["/round"] = "/round"
    port = site.url.rsplit(":", 1)[1]
    site.moved["/name"] = f"http://localhost:{port}/a.npy"
    np.testing.assert_array_equal(whole(open_source(f"{site.url}/near", None, LOCAL)), STACK)
    both = StorageOptions(allowed_hosts=("127.0.0.1", "localhost"))
    np.testing.assert_array_equal(whole(open_source(f"{site.url}/name", None, both)), STACK)
    for path, reason in {
        "/far": r"far: host 169\.254\.169\.254 is not among the allowed ones",
        "/name": "host localhost is not among the allowed ones",
        "/file": "no valid address",
        "/round": "without end",
    }.items():
        with pytest.raises(SourceError, match=reason):
            open_source(site.url + path, None, LOCAL)


class Turning(AbstractResolver):
    """Gives other addresses each time, as a name does that its owner turns elsewhere."""

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:  # noqa: ANN401
        """Return the next address."""
        address = self.addresses.pop(0)
        flags = socket.AI_NUMERICHOST
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=flags
            )
        ]

    async def close(self) -> None:
        """Hold nothing."""


def test_a_name_that_turns_to_a_private_address_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that was checked is the one that is connected to: a name that is public when it
    is first looked up and private later is refused then, and this machine is not asked.
    """
    site.put("a.npy", npy())
    port = int(site.url.rsplit(":", 1)[1])
    # For this test alone 127.0.0.1 counts as public, and 127.0.0.2 does not.
    real = Hosts.check_address

    def check(self: Hosts, host: str, address: str) -> None:
        if address != "127.0.0.1":
            real(self, host, address)

    monkeypatch.setattr(Hosts, "check_address", check)
    turning = partial(Turning, ["127.0.0.1", "127.0.0.2"])
    system = PinnedHttp(Hosts(), turning, skip_instance_cache=True)
    url = f"http://turning.example:{port}/a.npy"
    assert system.info(url)["size"] == len(npy())
    # Where connections are kept none is made anew, so that the next needs another port.
    with pytest.raises(
        SourceError, match=r"turning\.example, which is 127\.0\.0\.2, is not public"
    ):
        system.info(f"http://turning.example:{port + 1}/a.npy")
    assert len(site.asked) == 1


def test_proxies_see_no_host_that_nobody_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is used for hosts that are named, and never to get around the
    check of an address.
    """
    monkeypatch.setenv("HTTP_PROXY", site.url)
    monkeypatch.setenv("http_proxy", site.url)
    with pytest.raises(SourceError, match="not public"):
        open_source("http://10.0.0.1/a.npy")
    assert site.asked == []
    named = StorageOptions(allowed_hosts=("data.example",))
    with pytest.raises(SourceError, match="not found"):
        open_source("http://data.example/a.npy", None, named)
    assert [path for _, path, _ in site.asked][:1] == ["http://data.example/a.npy"]


def test_certificates_are_those_of_the_name(tmp_path: Path) -> None:
    """Over HTTPS a server must prove the name by which it was asked for, whatever its address."""
    file, context = certify(tmp_path, "localhost")
    with serving(context) as site:
        url = site.put("a.npy", npy()).replace("http:", "https:")
        words = [sys.executable, "-m", "microtome_cli", "info", "--allow-host", "localhost"]
        words += ["--allow-host", "127.0.0.1"]
        environment = {**os.environ, "SSL_CERT_FILE": str(file)}
        run = partial(subprocess.run, env=environment, capture_output=True, text=True, check=False)
        by_name = run([*words, url.replace("127.0.0.1", "localhost")])
        assert (by_name.returncode, by_name.stderr) == (0, "")
        by_number = run([*words, url])
        assert by_number.returncode == 2
        assert "certificate of its server is not to be trusted" in by_number.stderr


def test_passwords_of_netrc_go_to_named_hosts_only(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password that ~/.netrc holds for a host is sent where that host is allowed by name."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    open_source(site.put("a.npy", npy()), None, LOCAL)
    assert {"Basic bWU6czNjcmV0"} == {headers["Authorization"] for _, _, headers in site.asked}
