"""Addresses of BossDB's channels: every spelling of the same one, and nothing that is none."""

import pytest

from microtome_core.errors import SourceError
from microtome_ingest.sources.bossdb_address import Address, parse


@pytest.mark.parametrize(
    ("text", "protocol", "host"),
    [
        ("bossdb://c/e/ch", "https", ""),
        ("bossdb://c/e/ch/", "https", ""),
        ("bossdb://api.bossdb.io/c/e/ch", "https", "api.bossdb.io"),
        ("bossdb://API.bossdb.io/c/e/ch", "https", "api.bossdb.io"),
        ("bossdb://localhost/c/e/ch", "https", "localhost"),
        ("bossdb://boss:8443/c/e/ch", "https", "boss:8443"),
        ("bossdb://10.0.0.1:80/c/e/ch", "https", "10.0.0.1:80"),
        ("bossdb+http://127.0.0.1:8000/c/e/ch", "http", "127.0.0.1:8000"),
        ("bossdb+http://[::1]:8000/c/e/ch", "http", "[::1]:8000"),
        ("bossdb+https://h.example/c/e/ch", "https", "h.example"),
        ("bossdb://http://h.example/c/e/ch", "http", "h.example"),
    ],
)
def test_an_address_names_host_and_channel(text: str, protocol: str, host: str) -> None:
    """Protocol, host and port are as written, https and intern's own host where they are not."""
    found = parse(text)
    assert found == Address(protocol, host, "c", "e", "ch")
    assert parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "bossdb://",
        "bossdb://c/e",
        "bossdb://c//ch",
        "bossdb://c/e/..",
        "bossdb://c/e/ch?x=1",
        "bossdb://c/e/c h",
        "bossdb://c/e/ch#x",
        "bossdb://a/c/e/ch",
        "bossdb://h.example/c/e/ch/more",
        "bossdb+http://c/e/ch",
        "bossdb+ftp://h.example/c/e/ch",
        "bossdb://h.example:port/c/e/ch",
        "bossdb://h.exam ple/c/e/ch",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """The message says which addresses there are."""
    with pytest.raises(SourceError, match="expected bossdb://collection/experiment/channel"):
        parse(text)


def test_coarser_resolutions_are_not_read() -> None:
    """What intern writes for a coarser level is refused, with the reason."""
    with pytest.raises(SourceError, match="resolution 0 is read"):
        parse("bossdb://c/e/ch/2")


def test_a_password_is_not_repeated() -> None:
    """An address with a user is refused without showing it."""
    with pytest.raises(SourceError, match="no part of an address") as caught:
        parse("bossdb+http://me:s3cret@h.example/c/e/ch")
    assert "s3cret" not in str(caught.value)
