"""Static files that are stored compressed."""

import asyncio
import gzip
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from microtome_service.packed import PackedFiles
from tests import asgi

Ask = Callable[..., httpx.Response]
TEXT = b"export const answer = 42;\n" * 100


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """A function that asks a folder with one packed and one plain file."""
    (tmp_path / "main.js.gz").write_bytes(gzip.compress(TEXT))
    (tmp_path / "plain.css").write_bytes(b"p {}")

    def get(path: str, method: str = "GET", **headers: str) -> httpx.Response:
        files = PackedFiles(directory=tmp_path)
        return asyncio.run(asgi.ask(files, method, path, headers=headers))

    return get


def test_a_packed_file_is_sent_as_it_lies(ask: Ask) -> None:
    """A browser gets the script under its own name and type, compressed."""
    answer = ask("/main.js")
    assert answer.content == TEXT  # httpx unpacks
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < len(TEXT)
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["vary"] == "Accept-Encoding"


def test_who_cannot_unpack_gets_it_unpacked(ask: Ask) -> None:
    """Without gzip among what is accepted, the body is the file itself."""
    answer = ask("/main.js", **{"Accept-Encoding": "identity"})
    assert answer.content == TEXT
    assert "content-encoding" not in answer.headers


def test_what_the_browser_has_is_not_sent_again(ask: Ask) -> None:
    """A matching ETag is 304."""
    answer = ask("/main.js", **{"If-None-Match": ask("/main.js").headers["etag"]})
    assert (answer.status_code, answer.content) == (304, b"")


def test_other_files_are_as_ever(ask: Ask) -> None:
    """A plain file is sent as it is, an absent one is 404, another method 405."""
    assert ask("/plain.css").content == b"p {}"
    with pytest.raises(Exception, match="404"):
        ask("/absent.js")
    with pytest.raises(Exception, match="405"):
        ask("/main.js", method="POST")
