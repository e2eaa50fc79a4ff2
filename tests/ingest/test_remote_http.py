"""Sources over HTTP: equal to the local file, from allowed hosts, of one version, or an error."""

import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import SourceError, StorageError
from microtome_core.region import Region
from microtome_core.store.location import StorageOptions
from microtome_ingest import remote, remote_http
from microtome_ingest.files import Files, check_unchanged
from microtome_ingest.formats import open_source
from microtome_ingest.source import Source
from microtome_ingest.sources.members import split
from tests.http_server import Site, serving

STACK = np.random.default_rng(5).integers(0, 4000, (9, 120, 90), "uint16")
LOCAL = StorageOptions(allowed_hosts=("127.0.0.1",))


def tiff() -> bytes:
    """Return a stack of compressed strips."""
    stream = io.BytesIO()
    options: dict[str, Any] = {"photometric": "minisblack", "compression": "zlib"}
    tifffile.imwrite(stream, STACK, rowsperstrip=16, **options)
    return stream.getvalue()


def npy() -> bytes:
    """Return a plain array."""
    stream = io.BytesIO()
    np.save(stream, STACK)
    return stream.getvalue()


def hdf5() -> bytes:
    """Return a chunked dataset."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("voxels", data=STACK, chunks=(3, 32, 32), compression="gzip")
    return stream.getvalue()


MADE = {"a.tif": tiff, "a.npy": npy, "a.h5": hdf5}


@pytest.fixture
def site() -> Iterator[Site]:
    """Run an empty server."""
    with serving() as found:
        yield found


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less between tries."""
    monkeypatch.setattr(remote, "_PAUSE", 0.01)
    monkeypatch.setattr(remote_http, "_PAUSE", 0.01)


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def stored(root: Path, layer: str) -> NDArray[Any]:
    """Return level 0 of a layer, as zarr-python reads it."""
    return np.asarray(zarr.open_array(root / layer / "0", mode="r")[...])


@pytest.mark.parametrize("name", MADE)
def test_ranges_equal_the_local_file(site: Site, tmp_path: Path, name: str) -> None:
    """Descriptions and voxels are those of the file on a disk, and a small box needs few bytes."""
    data = MADE[name]()
    (tmp_path / name).write_bytes(data)
    local, remote = (
        open_source(str(tmp_path / name)),
        open_source(site.put(name, data), None, LOCAL),
    )
    assert remote.description.axes == local.description.axes
    assert remote.description.block == local.description.block
    np.testing.assert_array_equal(whole(remote), whole(local), strict=True)
    corner = Region(remote.description.axes, (4, 5, 6), (5, 20, 30))
    np.testing.assert_array_equal(remote.read(corner), STACK[corner.slices])
    assert all("Range" in headers for _, _, headers in site.asked)
    remote.close()


def test_a_box_of_a_large_file_needs_few_bytes(site: Site) -> None:
    """A region asks for what it touches, not for the file."""
    stream = io.BytesIO()
    np.save(stream, np.zeros((64, 512, 512), "uint8"))
    source = open_source(site.put("big.npy", stream.getvalue()), None, LOCAL)
    source.read(Region(source.description.axes, (60, 0, 0), (61, 512, 512)))
    assert site.fetched("big.npy") < 1 << 20 < len(stream.getvalue())


def test_a_server_without_ranges_is_refused(site: Site) -> None:
    """A file that comes only whole is not fetched, and the message says what to do."""
    site.faults += ["whole"]
    with pytest.raises(SourceError, match=r"no ranges .* download it and give the copy"):
        open_source(site.put("a.npy", npy()), None, LOCAL)
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"ETag": '"one"'}, {"ETag": '"two"'}),
        ({"ETag": 'W/"one"'}, {"ETag": 'W/"two"'}),
        ({"Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT"}, {"Last-Modified": "Tue"}),
        ({"ETag": '"one"'}, {"Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT"}),
    ],
    ids=["ETag", "weak ETag", "Last-Modified", "none any more"],
)
def test_a_file_that_changes_is_refused(
    site: Site, old: dict[str, str], new: dict[str, str]
) -> None:
    """What was replaced after it was opened is not read, and the stamps tell it as well."""
    url = site.put("a.npy", npy(), **old)
    source = open_source(url, None, LOCAL)
    stamps = dict(source.stamps)
    check_unchanged(stamps, LOCAL)
    site.put("a.npy", npy(), **new)
    with pytest.raises(SourceError, match="changed since it was opened"):
        whole(source)
    with pytest.raises(SourceError, match="changed since it was opened"):
        check_unchanged(stamps, LOCAL)


def test_without_any_mark_the_size_tells(site: Site) -> None:
    """Of a server that names no version, a file of another size is another file."""
    url = site.put("a.npy", npy(), Server="old")
    source = open_source(url, None, LOCAL)
    assert next(iter(source.stamps.values())).etag == f"{len(npy())} bytes"
    site.put("a.npy", npy() + b"x", Server="old")
    with pytest.raises(SourceError, match="changed since it was opened"):
        whole(source)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (401, SourceError, "access denied"),
        (403, SourceError, "access denied"),
        (404, SourceError, "not found"),
        (418, SourceError, "HTTP 418"),
        (203, SourceError, "HTTP 203"),
        (500, StorageError, "HTTP 500"),
        (429, StorageError, "HTTP 429"),
    ],
)
def test_answers_that_give_no_file(
    site: Site, status: int, kind: type[Exception], reason: str
) -> None:
    """What the user must mend is told apart from what may pass, when opening and when reading."""
    url = site.put("a.npy", npy())
    source = open_source(url, None, LOCAL)
    site.faults += [status] * 20
    with pytest.raises(kind, match=f"{url}: .*{reason}"):
        whole(source)
    with pytest.raises(kind, match=reason):
        Files(LOCAL).stamp(url)


def test_what_passes_is_tried_again(site: Site) -> None:
    """A few failures and short bodies in between leave the voxels as they are."""
    url = site.put("a.npy", npy())
    site.faults += [503, 429]
    source = open_source(url, None, LOCAL)
    site.faults += ["short", 500, "less"]
    np.testing.assert_array_equal(whole(source), STACK)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        ("short", StorageError, "ClientPayloadError|ContentLengthError"),
        ("less", SourceError, "truncated"),
        ("more", SourceError, "more than the"),
        ("other", SourceError, "not 0 to"),
    ],
)
def test_a_body_that_is_not_the_range_is_refused(
    site: Site, fault: str, kind: type[Exception], reason: str
) -> None:
    """Fewer, more or other bytes than were asked for are never taken for the file."""
    data = npy()
    files = Files(LOCAL)
    with files.open(site.put("a.npy", data)) as opened:
        site.faults += [fault] * 20
        with pytest.raises(kind, match=reason):
            opened.read(0, 1000)


def test_encoded_ranges_are_refused(site: Site) -> None:
    """A range of what a server compressed for the way is no range of the file."""
    url = site.put("a.npy", npy(), **{"Content-Encoding": "gzip", "ETag": '"x"'})
    with pytest.raises(SourceError, match="encodes ranges as gzip"):
        open_source(url, None, LOCAL)
    assert {h["Accept-Encoding"] for _, _, h in site.asked} == {"identity"}


def test_empty_files_folders_and_patterns(site: Site) -> None:
    """An empty file is told as such; folders cannot be listed, nor patterns be looked for."""
    with pytest.raises(SourceError, match=r"is empty \(0 bytes\)"):
        open_source(site.put("empty.npy", b""), None, LOCAL)
    with pytest.raises(SourceError, match="not found"):
        open_source(f"{site.url}/none.npy", None, LOCAL)
    for address in (f"{site.url}/stack/", f"{site.url}/z*.tif"):
        with pytest.raises(SourceError, match="HTTP has no listing"):
            open_source(address, None, LOCAL)


def test_addresses_with_ipv6_hosts_and_members(site: Site) -> None:
    """The colons of a host are not those before a member's name."""
    url = site.put("a.h5", hdf5())
    np.testing.assert_array_equal(whole(open_source(f"{url}::/voxels", None, LOCAL)), STACK)
    files = Files(LOCAL)
    assert split("http://[::1]:80/a.h5::/voxels", files) == ("http://[::1]:80/a.h5", "/voxels")
    assert split("http://[::1]:80/a.h5", files) == ("http://[::1]:80/a.h5", None)
    assert split("s3://bucket/a.h5::/voxels", files) == ("s3://bucket/a.h5", "/voxels")


@pytest.mark.usefixtures("hasty")
def test_secrets_of_an_address_are_neither_shown_nor_stored(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A signed query reaches the server and nothing else; a password is not taken at all."""
    url = site.put("a.npy", npy()) + "?signature=s3cret"
    words = ["--axes", "zyx", "--unit", "pixel", "--allow-host", "127.0.0.1"]
    assert main(["ingest", url, str(tmp_path), "--as", "c/d/e", *words]) == 0
    assert main(["info", url, "--allow-host", "127.0.0.1", "--json"]) == 0
    site.faults[:] = [403] * 9
    assert main(["info", url, "--allow-host", "127.0.0.1"]) == 2
    site.faults[:] = [500] * 99
    assert main(["info", url, "--allow-host", "127.0.0.1"]) == 75
    site.faults.clear()
    with_password = url.replace("://", "://me:s3cret@")
    assert main(["info", with_password, "--allow-host", "127.0.0.1"]) == 2
    told = capsys.readouterr()
    assert "s3cret" not in told.out + told.err
    assert f"{site.url}/a.npy?…: access denied" in told.err
    assert "holds a user or password" in told.err
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"s3cret" not in path.read_bytes(), path


def test_the_command_line_reads_over_http(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """info, ingest, also with workers, and verify obey --allow-host and the variable."""
    url = site.put("a.tif", tiff())
    words = ["--axes", "zyx", "--unit", "pixel"]
    asked = ["ingest", url, str(tmp_path), "--as", "c/d/e", *words]
    assert main(asked) == 2
    assert "--allow-host 127.0.0.1" in capsys.readouterr().err
    assert main([*asked, "--allow-host", "127.0.0.1"]) == 0
    np.testing.assert_array_equal(stored(tmp_path, "c/d/e"), STACK)
    verify = ["verify", str(tmp_path), "c/d/e", "--source", url]
    assert main(verify) == 2
    assert main([*verify, "--allow-host", "127.0.0.1"]) == 0
    monkeypatch.setenv("MICROTOME_ALLOWED_HOSTS", "127.0.0.1")
    assert main(["info", url]) == 0
    assert main(verify) == 0


def test_workers_get_the_hosts(site: Site, tmp_path: Path) -> None:
    """Processes of a cluster read from the hosts that the command allows."""
    url = site.put("a.tif", tiff())
    words = ["--axes", "zyx", "--unit", "pixel", "--allow-host", "127.0.0.1", "--workers", "1"]
    assert main(["ingest", url, str(tmp_path), "--as", "c/d/e", *words]) == 0
    np.testing.assert_array_equal(stored(tmp_path, "c/d/e"), STACK)
    assert pickle.loads(pickle.dumps(LOCAL)) == LOCAL
    assert os.environ.get("MICROTOME_ALLOWED_HOSTS") is None
