"""Which addresses an issuer may have."""

from urllib.parse import urlsplit

from microtome_core.errors import InputError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check_issuer_url(what: str, url: str) -> str:
    """Return `url` if keys may be fetched from it: over TLS, or on this machine.

    >>> check_issuer_url("issuer", "http://127.0.0.1:9000")
    'http://127.0.0.1:9000'

    Raises
    ------
    InputError
        Keys that anyone on the way could replace would vouch for anyone.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    secure = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
    if not (secure and host and parts.username is None):
        raise InputError(f"{what} {url[:200]!r}: expected https://…")
    return url
