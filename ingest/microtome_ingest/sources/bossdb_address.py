"""Addresses of BossDB's channels, as microtome and intern write them."""

import re
from dataclasses import dataclass

from microtome_core.errors import SourceError

# What a server of the project itself answers to; the token "public" reads what is public there.
PUBLIC_HOST = "api.bossdb.io"
_ADDRESS = re.compile(r"bossdb(?:\+(https?))?://(?:(https?)://)?(.*)", re.DOTALL)
_HOST = re.compile(r"(?:localhost|[\w-]+(?:\.[\w-]+)+|\[[0-9a-fA-F:.]+\]|[\w-]+(?=:))(?::\d{1,5})?")
_NAME = re.compile(r"(?!\.+$)[\w.~-]{1,255}", re.ASCII)
_EXPECTED = (
    "expected bossdb://collection/experiment/channel, bossdb://host/collection/experiment/channel "
    "or bossdb+http://host:port/collection/experiment/channel"
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a channel is.

    Parameters
    ----------
    protocol : str
        ``http`` or ``https``.
    host : str
        With its port, if it has one; empty where intern's configuration says it.
    collection, experiment, channel : str
    """

    protocol: str
    host: str
    collection: str
    experiment: str
    channel: str

    def __str__(self) -> str:
        scheme = "bossdb+http" if self.protocol == "http" else "bossdb"
        host = f"{self.host}/" if self.host else ""
        return f"{scheme}://{host}{self.collection}/{self.experiment}/{self.channel}"


def parse(text: str) -> Address:
    """Read an address.

    >>> parse("bossdb+http://127.0.0.1:8000/c/e/ch").host, str(parse("bossdb://https://h.org/c/e/ch"))
    ('127.0.0.1:8000', 'bossdb://h.org/c/e/ch')

    Raises
    ------
    SourceError
        It is none; what may be a password is not repeated.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise SourceError(text[:200], _EXPECTED)
    if "@" in found[3]:
        raise SourceError("bossdb://…", f"a user or password is no part of an address: {_EXPECTED}")
    protocol = found[1] or found[2]
    host, names = _parts(found[3].rstrip("/").split("/"), named=protocol is not None)
    if len(names) == 4 and names[3].isdigit():
        raise SourceError(
            text[:200], "resolution 0 is read and coarser levels are made of it: leave it out"
        )
    if len(names) != 3 or not all(map(_NAME.fullmatch, names)):
        raise SourceError(text[:200], _EXPECTED)
    return Address(protocol or "https", host.lower(), *names)


def _parts(words: list[str], *, named: bool) -> tuple[str, list[str]]:
    """Return the host, if there is one, and the names; with a protocol there must be one."""
    if len(words) > 3 and (named or _HOST.fullmatch(words[0])):
        return (words[0], words[1:]) if _HOST.fullmatch(words[0]) else ("", [])
    return "", [] if named else words
