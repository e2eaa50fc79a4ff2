"""Who shares the room with whom: a principal, or an anonymous address."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from microtome_service.exchange import current
from microtome_service.principal import Principal


def caller_of(principal: Principal) -> str:
    """Return what the answers of one caller have in common."""
    exchange = current()
    if not principal.anonymous:
        return f"principal {principal.name}"
    return f"address {_network(exchange.client)}" if exchange else "anonymous"


@lru_cache(1024)
def _network(client: str) -> str:
    """Return an address, of IPv6 the network that a single caller is given (RFC 6177)."""
    try:
        address = ip_address(client)
    except ValueError:
        return client
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(IPv6Address(int(address) >> 64 << 64))
    return client


def note_principal(principal: Principal) -> None:
    """Let the log know who asks."""
    exchange = current()
    if exchange is not None:
        exchange.principal = principal.name
