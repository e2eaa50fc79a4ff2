"""Addresses as they may be shown and stored."""

import re

# Scheme, user and password, host and path, query or fragment.
_URL = re.compile(r"(https?://)([^\s/?#]*@)?([^\s?#]*)([?#]\S*?(?=[:,;.)]*(?:\s|$)))?", re.I)


def without_secrets(text: str) -> str:
    """Return a text in which HTTP addresses have neither user, password nor query.

    >>> without_secrets("https://me:word@host/a.tif?signature=1: not found")
    'https://host/a.tif?…: not found'
    """
    return _URL.sub(lambda url: f"{url[1]}{url[3]}{'?…' if url[4] else ''}", text)
