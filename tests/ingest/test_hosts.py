"""Hosts: public ones unless named, however an address is spelt."""

import socket
from typing import Any

import pytest

from microtome_core.errors import InputError, SourceError, StorageError
from microtome_core.store.location import StorageOptions
from microtome_ingest.hosts import HostRefused, Hosts, normal

NOT_PUBLIC = [
    "127.0.0.1",
    "127.8.9.10",
    "10.0.0.1",
    "172.16.5.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
]
SPELLINGS = ["2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "017700000001", "127.0.1"]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    """Private, loopback, link-local, multicast, reserved and metadata addresses are refused, and
    the message names host, address and option.
    """
    with pytest.raises(HostRefused, match=r"host h, which is .*--allow-host h allows it"):
        Hosts().check_address("h", address)
    with pytest.raises(HostRefused):
        Hosts().check(f"[{address}]" if ":" in address else address)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_numbers_that_stand_for_an_address_are_that_address(spelling: str) -> None:
    """What C libraries read as 127.0.0.1 is refused as 127.0.0.1 is, and is no other host."""
    assert socket.inet_aton(spelling) == socket.inet_aton("127.0.0.1")
    with pytest.raises(HostRefused):
        Hosts().check(spelling)
    with pytest.raises(HostRefused, match=r"not among the allowed ones \(10.0.0.1\)"):
        Hosts(("10.0.0.1",)).check(spelling)
    Hosts(("127.0.0.1",)).check(spelling)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_a_public_address_passes(address: str) -> None:
    """A public address needs no option, also one of IPv4 that was translated to IPv6."""
    Hosts().check_address("h", address)
    Hosts().check(address)


def test_only_named_hosts_pass_where_some_are() -> None:
    """With a list, hosts on it pass wherever they are, and no others, public ones included."""
    hosts = Hosts(("Data.Example.org", "[::1]", "bücher.example"))
    for host in (
        "data.example.org",
        "DATA.example.ORG.",
        "::1",
        "[0:0::1]",
        "xn--bcher-kva.example",
    ):
        hosts.check(host)
    hosts.check_address("data.example.org", "10.0.0.1")
    for host in (
        "example.org",
        "xdata.example.org",
        "data.example.org.evil.example",
        "8.8.8.8",
        "",
    ):
        with pytest.raises(HostRefused, match="--allow-host"):
            hosts.check(host)


@pytest.mark.parametrize("host", ["http://h", "h:80", "h/x", "", "a b", "me@h", "*.h"])
def test_what_is_no_host_cannot_be_allowed(host: str) -> None:
    """A scheme, a port, a path or a pattern is an error that says what is expected."""
    with pytest.raises(InputError, match="expected a name or an address"):
        Hosts((host,))


def test_every_address_of_a_name_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of which one address is private is refused as a whole."""

    def look_up(host: str, port: int, **_: Any) -> list[Any]:  # noqa: ANN401
        addresses = {"public": ["8.8.8.8", "1.1.1.1"], "mixed": ["8.8.8.8", "10.0.0.1"]}[host]
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert Hosts().addresses("public", 80) == ["8.8.8.8", "1.1.1.1"]
    with pytest.raises(HostRefused, match=r"host mixed, which is 10\.0\.0\.1, is not public"):
        Hosts().addresses("mixed", 80)
    assert Hosts(("mixed",)).addresses("mixed", 80) == ["8.8.8.8", "10.0.0.1"]


def test_where_a_url_leads_is_checked() -> None:
    """For libraries that connect by themselves, a URL is checked as its host is."""
    assert "127.0.0.1" in Hosts(("localhost",)).check_url("http://localhost:80/a")
    with pytest.raises(SourceError, match=r"http://127\.0\.0\.1/a: .*not public"):
        Hosts().check_url("http://127.0.0.1/a")
    for url in ("http:///a", "http://me:s3cret@localhost/a"):
        with pytest.raises(SourceError, match="expected http") as caught:
            Hosts(("localhost",)).check_url(url)
        assert "s3cret" not in str(caught.value)
    with pytest.raises(StorageError, match=r"none\.invalid"):
        Hosts(("none.invalid",)).check_url("http://none.invalid/a")


def test_the_environment_names_hosts() -> None:
    """MICROTOME_ALLOWED_HOSTS is a list by commas."""
    read = StorageOptions.from_environment
    assert read({"MICROTOME_ALLOWED_HOSTS": " a.example, ,10.0.0.1 "}).allowed_hosts == (
        "a.example",
        "10.0.0.1",
    )
    assert read({}).allowed_hosts == ()
    assert normal("a.example.") == "a.example"
