"""Which hosts a source may be read from over HTTP: public ones, or those that the user names.

A name is checked before it is looked up, and every address that it has before one is connected to;
so neither a redirect nor a name that changes its address leads to where nobody meant to go.
"""

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from microtome_core.errors import InputError, SourceError, StorageError

_Address = IPv4Address | IPv6Address
_HOST = re.compile(r"[\w.-]{1,253}|[0-9a-f:.]{2,45}", re.IGNORECASE)
# What C libraries also take for IPv4: 127.1, 2130706433, 0x7f.0.0.1, 0177.0.0.1.
_NUMERIC = re.compile(r"[0-9][0-9a-fx.]*", re.IGNORECASE)
# Global by registration, but where clouds answer their own machines.
_METADATA = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"))
# IPv6 addresses whose last 32 bits are the IPv4 address that is meant (RFC 6052).
_TRANSLATED = IPv6Network("64:ff9b::/96")


class HostRefused(InputError):
    """A host from which nothing is read; the message names it and the option that allows it."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """The rule.

    Parameters
    ----------
    allowed : tuple of str
        The only hosts, wherever they are; where there are none, all whose addresses are public.

    Raises
    ------
    InputError
        One of them is no host.
    """

    allowed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for host in self.allowed:
            if not _HOST.fullmatch(host.strip("[]")):
                raise InputError(
                    f"--allow-host {host[:80]!r}: expected a name or an address, such as "
                    "data.example.org, without scheme and port"
                )
        object.__setattr__(self, "allowed", tuple(map(normal, self.allowed)))

    def check(self, host: str) -> None:
        """Check a host as an address names it, before it is looked up.

        Raises
        ------
        HostRefused
            It is not among the allowed ones, or a number that is no public address.
        """
        if not self.allowed:
            if (number := _number(host)) is not None:
                self.check_address(host, str(number))
        elif normal(host) not in self.allowed:
            listing = ", ".join(self.allowed)
            raise HostRefused(
                f"host {host} is not among the allowed ones ({listing}): "
                f"--allow-host {host} allows it"
            )

    def check_address(self, host: str, address: str) -> None:
        """Check one of the addresses of a host.

        Raises
        ------
        HostRefused
            It is not public, and nobody allowed the host.
        """
        if self.allowed or _public(_meant(ip_address(address.partition("%")[0]))):
            return
        named = "" if address == host else f", which is {address},"
        raise HostRefused(
            f"host {host}{named} is not public: such are refused unless named; "
            f"--allow-host {host} allows it"
        )

    def addresses(self, host: str, port: int) -> list[str]:
        """Look a host up; errors are those of `check` and of ``socket.getaddrinfo``."""
        self.check(host)
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        for address in addresses:
            self.check_address(host, address)
        return addresses

    def check_url(self, url: str) -> list[str]:
        """Return the addresses to which a URL leads now, for libraries that connect by themselves.

        Raises
        ------
        SourceError
            Its host is refused, or it has none, or a password.
        StorageError
            The host cannot be looked up, which may pass.
        """
        parts = urlsplit(url)
        if not parts.hostname or "@" in parts.netloc:
            raise SourceError(url, "expected http(s)://host/path, without a user or password")
        try:
            return self.addresses(parts.hostname, parts.port or 0)
        except HostRefused as error:
            raise SourceError(url, str(error)) from error
        except OSError as error:
            raise StorageError(f"{parts.hostname}: {error}") from error


def normal(host: str) -> str:
    """Return the one spelling by which hosts are compared.

    >>> normal("Data.Example.ORG."), normal("[::1]"), normal("0x7f.1"), normal("::ffff:127.0.0.1")
    ('data.example.org', '::1', '127.0.0.1', '127.0.0.1')
    """
    name = host.strip("[]").rstrip(".").lower()
    number = _number(name)
    if number is not None:
        return str(_meant(number))
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode()
    except UnicodeError:
        return name


def _number(host: str) -> _Address | None:
    """Return the address that a host is written as, if it is."""
    host = host.strip("[]").rstrip(".")
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host)) if _NUMERIC.fullmatch(host) else None
    except OSError:
        return None


def _meant(address: _Address) -> _Address:
    """Return the IPv4 address within one of IPv6, where it holds one."""
    if not isinstance(address, IPv6Address):
        return address
    if address in _TRANSLATED:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


def _public(address: _Address) -> bool:
    if any(address in network for network in _METADATA):
        return False
    special = address.is_multicast or address.is_reserved or address.is_unspecified
    local = address.is_link_local or address.is_loopback or address.is_private
    site = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not (special or local or site)
