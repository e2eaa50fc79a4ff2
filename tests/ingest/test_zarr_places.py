"""Zarr in zip files, in buckets and behind web servers: read as in a folder."""

import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import zarr

from microtome_core.errors import SourceError, StorageError
from microtome_core.region import Region
from microtome_core.store.location import StorageOptions, Store
from microtome_ingest.files import Files
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.hosts import Hosts
from microtome_ingest.sources.chunk_folder import Folder
from tests.http_server import Site, serving
from tests.ingest.test_zarr_source import ARRAY, grouped, packed, second, third, whole


@pytest.mark.parametrize("name", ["a.zarr.zip", "a.zip"])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_file_is_read_as_the_folder_in_it(
    tmp_path: Path, name: str, wrapped: bool, compression: int
) -> None:
    """A zip file reads like the store that was packed, its own folder around it or not."""
    third(str(tmp_path / "store" / "a"), ARRAY, shards=(4, 32, 32), dimension_names=("z", "y", "x"))
    packed(tmp_path / "store" / ("" if wrapped else "a"), tmp_path / name, compression)
    source = open_source(str(tmp_path / name))
    assert source.description.files == (str(tmp_path / name),)
    assert (source.description.axes, source.description.notes) == ("zyx", ())
    np.testing.assert_array_equal(whole(source), ARRAY)


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    """A member that claims more than it can hold is refused before anything is inflated."""
    second(str(tmp_path / "a"), ARRAY)
    path = tmp_path / "a.zip"
    packed(tmp_path / "a", path)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = (1 << 31).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(SourceError, match="claims 2147483648 bytes"):
        open_source(str(path))


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9, 0.99])
def test_a_zip_file_cut_off_is_refused(tmp_path: Path, at: float) -> None:
    """A zip file without its directory is no source."""
    third(str(tmp_path / "a"), ARRAY)
    packed(tmp_path / "a", tmp_path / "a.zarr.zip")
    content = (tmp_path / "a.zarr.zip").read_bytes()
    (tmp_path / "a.zarr.zip").write_bytes(content[: int(len(content) * at)])
    with pytest.raises(SourceError, match=r"a\.zarr\.zip"):
        open_source(str(tmp_path / "a.zarr.zip"))


def uploaded(store: Store, folder: Path, name: str) -> str:
    """Put a folder into a bucket and return its URL."""
    for file in folder.rglob("*"):
        if file.is_file():
            store.write(f"{name}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return f"{store.url}/{name}"


def test_a_store_on_s3_reads_as_here(tmp_path: Path, s3_store: Store) -> None:
    """Groups are listed, absent chunks counted and voxels read from S3 too."""
    grouped(tmp_path / "a")
    (tmp_path / "a" / "a10" / "c" / "3" / "0" / "0").unlink()
    url = uploaded(s3_store, tmp_path / "a", "a.zarr")
    options = s3_store.options
    assert [s.name for s in scenes(url, options)] == ["a10", "b/second"]
    source = open_source(url, 0, options)
    assert source.description.notes[0].startswith("1 of 7 chunks are absent")
    expected = ARRAY.copy()
    expected[3] = 0
    np.testing.assert_array_equal(whole(source), expected)
    assert next(iter(source.stamps)) == f"{url}/a10/zarr.json"
    packed(tmp_path / "a" / "b", tmp_path / "b.zarr.zip")
    s3_store.write("b.zarr.zip", (tmp_path / "b.zarr.zip").read_bytes())
    zipped = open_source(f"{s3_store.url}/b.zarr.zip", None, options)
    np.testing.assert_array_equal(whole(zipped), ARRAY[:2])


LOCAL = StorageOptions(allowed_hosts=("127.0.0.1",))


@pytest.fixture
def site() -> Iterator[Site]:
    """Run an empty server."""
    with serving() as found:
        yield found


def served(site: Site, folder: Path, name: str) -> str:
    """Give a folder's files; return its address."""
    for file in folder.rglob("*"):
        if file.is_file():
            site.put(f"{name}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return f"{site.url}/{name}"


@pytest.mark.parametrize("name", ["a.zarr", "plain"])
def test_a_store_on_the_web_reads_as_here(tmp_path: Path, site: Site, name: str) -> None:
    """Over HTTP nothing can be listed: arrays are named, and a note says what was not counted."""
    grouped(tmp_path / "a")
    url = served(site, tmp_path / "a", name)
    source = open_source(f"{url}::a10", None, LOCAL)
    assert "was not counted" in source.description.notes[0]
    np.testing.assert_array_equal(whole(source), ARRAY)
    with pytest.raises(SourceError, match="cannot be listed over HTTP"):
        open_source(url, None, LOCAL)
    with pytest.warns(zarr.errors.ZarrUserWarning, match="[Cc]onsolidated"):
        zarr.consolidate_metadata(str(tmp_path / "a"))
    found = open_source(served(site, tmp_path / "a", "more.zarr"), 1, LOCAL)
    np.testing.assert_array_equal(whole(found), ARRAY[:2])


def test_chunks_come_from_the_address_that_was_checked(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorStore looks no name up again: it is given the address, and the name for the server."""
    third(str(tmp_path / "a"), ARRAY)
    url = served(site, tmp_path / "a", "a.zarr").replace("127.0.0.1", "data.example")
    real = socket.getaddrinfo

    def look_up(host: str, *rest: Any, **more: Any) -> Any:  # noqa: ANN401
        return real("127.0.0.1" if host == "data.example" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    # For this test alone 127.0.0.1 counts as public.
    monkeypatch.setattr(Hosts, "check_address", lambda _, _host, address: address == "127.0.0.1")
    np.testing.assert_array_equal(whole(open_source(url)), ARRAY)
    chunks = [headers for _, path, headers in site.asked if "/c/" in path]
    assert chunks
    assert {headers["Host"] for headers in chunks} == {urlsplit(url).netloc}


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("https://8.8.8.8/a", {"base_url": "https://8.8.8.8"}),
        ("http://8.8.8.8/a", {"base_url": "http://8.8.8.8", "headers": ["Host: 8.8.8.8"]}),
        (
            "http://[2001:4860:4860::8888]:81/a",
            {
                "base_url": "http://[2001:4860:4860::8888]:81",
                "headers": ["Host: [2001:4860:4860::8888]:81"],
            },
        ),
    ],
)
def test_a_name_is_left_to_tensorstore_where_a_certificate_proves_it(
    url: str, server: dict[str, Any]
) -> None:
    """Only without TLS could another server answer by the same name."""
    assert Folder(url, Files()).spec() == {"driver": "http", "path": "/a/", **server}


def test_chunks_come_from_allowed_hosts_only(tmp_path: Path, site: Site) -> None:
    """A host that is not public and not named is refused, also by who reads the chunks."""
    third(str(tmp_path / "a"), ARRAY)
    url = served(site, tmp_path / "a", "a.zarr")
    with pytest.raises(SourceError, match="not public"):
        open_source(url)
    with pytest.raises(SourceError, match="not public"):
        Folder(url, Files()).spec()
    chunk = "/a.zarr/c/0/0/0"
    site.files.pop(chunk)
    site.moved[chunk] = f"{site.url}/a.zarr/c/1/0/0"
    source = open_source(url, None, LOCAL)
    site.faults += [503] * 100
    with pytest.raises(StorageError, match="503"):
        source.read(Region("qij", (2, 0, 0), (4, 16, 16)))
    site.faults.clear()
    with pytest.raises(SourceError, match="302"):
        whole(source)
