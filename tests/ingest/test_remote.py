"""Sources on S3: the same voxels as on a disk, from a small part of the bytes, or an error."""

import io
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import h5py
import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import SourceError, StorageError
from microtome_core.region import Region
from microtome_core.store.location import StorageOptions
from microtome_ingest.files import check_unchanged
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.source import Source
from tests.conftest import S3_ENVIRONMENT
from tests.counted import Counted
from tests.faults import FaultProxy
from tests.ingest.test_tiff_ome import NAMESPACE, PLANES, companion

STACK = np.random.default_rng(3).integers(0, 4000, (6, 70, 50), "uint16")
GREY = {"photometric": "minisblack"}


class Bucket:
    """A bucket of its own, written to by another client than the one that is tested."""

    def __init__(self, endpoint: str, client: Any) -> None:  # noqa: ANN401 - boto3 has no types
        self.name = f"sources-{time.time_ns()}"
        self.url = f"s3://{self.name}"
        self.options = StorageOptions(endpoint=endpoint, credentials="environment")
        self.client = client
        self.client.create_bucket(Bucket=self.name)

    def put(self, key: str, data: bytes, **more: str) -> str:
        """Write an object and return its URL."""
        self.client.put_object(Bucket=self.name, Key=key, Body=data, **more)
        return f"{self.url}/{key}"

    def upload(self, folder: Path) -> None:
        """Write every file of a folder, under its name."""
        for path in folder.iterdir():
            self.put(path.name, path.read_bytes())

    def open(self, key: str, scene: int | None = None) -> Source:
        """Open a source in the bucket."""
        return open_source(f"{self.url}/{key}", scene, self.options)


@pytest.fixture(scope="session")
def client(s3_endpoint: str) -> Iterator[Any]:
    """Return Amazon's own client."""
    found = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    yield found
    found.close()


@pytest.fixture
def bucket(s3_endpoint: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> Bucket:  # noqa: ANN401
    """Return an empty bucket."""
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return Bucket(s3_endpoint, client)


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def tiff(data: NDArray[Any] = STACK, **options: Any) -> bytes:  # noqa: ANN401
    """Return a TIFF file."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, data, **{**GREY, **options})
    return stream.getvalue()


def npy(data: NDArray[Any]) -> bytes:
    """Return an NPY file."""
    stream = io.BytesIO()
    np.save(stream, data)
    return stream.getvalue()


def npz(**arrays: NDArray[Any]) -> bytes:
    """Return an NPZ file."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def hdf5(**arrays: NDArray[Any]) -> bytes:
    """Return an HDF5 file."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, chunks=(2, 16, 16), compression="gzip")
    return stream.getvalue()


def pages_apart(data: NDArray[Any]) -> bytes:
    """Return a TIFF file whose directories lie between its pages."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for plane in data:
            writer.write(plane, contiguous=False, metadata=None)
    return stream.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "contiguous.tif": tiff,
    "big.tif": lambda: tiff(bigtiff=True, byteorder=">"),
    "imagej.tif": lambda: tiff(imagej=True, metadata={"axes": "ZYX"}),
    "strips.tif": lambda: tiff(compression="zlib", rowsperstrip=16),
    "tiles.tif": lambda: tiff(compression="zstd", tile=(32, 16)),
    "raw-tiles.tif": lambda: tiff(tile=(32, 16)),
    "apart.tif": lambda: pages_apart(STACK),
    "one.ome.tif": lambda: tiff(ome=True, metadata={"axes": "ZYX"}),
    "c.npy": lambda: npy(STACK),
    "fortran.npy": lambda: npy(np.asfortranarray(STACK.astype(">u2"))),
    "a.npz::b": lambda: npz(a=STACK + 1, b=STACK),
    "a.h5::/b": lambda: hdf5(a=STACK + 1, b=STACK),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_reads_as_on_a_disk(bucket: Bucket, name: str) -> None:
    """Any region of any format is the array's; the source tells its URL and version."""
    bucket.put(name.partition("::")[0], FILES[name]())
    source = bucket.open(name)
    axes, shape = source.description.axes, source.description.shape
    for region in (
        Region.whole(axes, shape),
        Region(axes, (1, 3, 5), (5, 69, 6)),
        Region(axes, (2, 0, 0), (3, 70, 50)),
    ):
        expected = STACK.reshape(shape)[region.slices]
        np.testing.assert_array_equal(source.read(region), expected, strict=True)
    [(path, stamp)] = source.stamps.items()
    assert path == source.description.files[0] == f"{bucket.url}/{name.partition('::')[0]}"
    head = bucket.client.head_object(Bucket=bucket.name, Key=stamp.name)
    assert (stamp.size, stamp.etag) == (head["ContentLength"], head["ETag"])
    assert source.decoded >= STACK.nbytes
    source.close()


def test_pictures(bucket: Bucket) -> None:
    """A PNG and a JPEG read as their decoders give them."""
    smooth = np.tile(np.arange(64, dtype="uint8"), (48, 1))
    bucket.put("a.png", imagecodecs.png_encode(STACK[0]))
    jpeg = imagecodecs.jpeg_encode(smooth)
    bucket.put("a.jpg", jpeg)
    np.testing.assert_array_equal(whole(bucket.open("a.png")), STACK[0])
    np.testing.assert_array_equal(whole(bucket.open("a.jpg")), imagecodecs.jpeg_decode(jpeg))


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("tif", marks=pytest.mark.slow),
        "png",
        pytest.param("jpg", marks=pytest.mark.slow),
    ],
)
def test_folders_and_patterns(bucket: Bucket, kind: str) -> None:
    """A prefix, or a pattern, of numbered files is one array, each file pinned."""
    planes = STACK.astype("uint8")
    encode = {
        "tif": lambda plane: tiff(plane, compression="zlib"),
        "png": imagecodecs.png_encode,
        "jpg": lambda plane: imagecodecs.jpeg_encode(plane, lossless=True, bitspersample=8),
    }[kind]
    for z, plane in enumerate(planes):
        bucket.put(f"stack/z{z}.{kind}", encode(plane))
    bucket.put("stack/other/z0.txt", b"deeper")
    for key in ("stack", "stack/", f"stack/z*.{kind}"):
        source = bucket.open(key)
        assert source.description.axes == "zyx"
        np.testing.assert_array_equal(whole(source), planes)
        part = Region("zyx", (2, 10, 20), (4, 30, 21))
        np.testing.assert_array_equal(source.read(part), planes[part.slices])
        assert list(source.stamps) == [f"{bucket.url}/stack/z{z}.{kind}" for z in range(6)]
    bucket.put(f"stack/z3.{kind}", encode(planes[0]))
    with pytest.raises(SourceError, match=rf"z3\.{kind}: changed"):
        whole(source)
    bucket.put(f"stack/z3.{kind}", encode(planes[0, :50]))
    with pytest.raises(SourceError, match=rf"z3\.{kind}: is"):
        bucket.open("stack")


def test_multi_file_ome(bucket: Bucket, tmp_path: Path) -> None:
    """Companions and members are found beside each other; a missing one is named."""
    companion(tmp_path)
    only = f'<OME xmlns="{NAMESPACE}"><BinaryOnly MetadataFile="all.companion.ome" UUID="u"/></OME>'
    tifffile.imwrite(tmp_path / "p0.tif", PLANES[0], description=only, metadata=None)
    bucket.upload(tmp_path)
    for key in ("all.companion.ome", "p0.tif"):
        source = bucket.open(key)
        assert source.description.axes == "zyx"
        np.testing.assert_array_equal(whole(source), PLANES)
        assert {stamp.name for stamp in source.stamps.values()} == {
            "all.companion.ome", "p0.tif", "p1.tif", "p2.tif", "p3.tif",
        }  # fmt: skip
    bucket.client.delete_object(Bucket=bucket.name, Key="p2.tif")
    with pytest.raises(SourceError, match=r"p2\.tif: missing"):
        bucket.open("all.companion.ome")


def test_a_small_region_takes_a_small_part_of_the_bytes() -> None:
    """Of 16 MB, a region of a few kilobytes fetches less than a twentieth, opening included."""
    large = np.random.default_rng(4).integers(0, 60000, (32, 512, 512), "uint16")
    region = Region("qyx", (7, 100, 200), (9, 140, 230))
    made = {
        "contiguous.tif": tiff(large),
        "strips.tif": tiff(large, compression="zlib", rowsperstrip=16),
        "tiles.tif": tiff(large, compression="zlib", tile=(64, 64)),
        "apart.tif": pages_apart(large),
        "c.npy": npy(large),
    }
    for name, data in made.items():
        Counted.reset()
        source = open_source(Counted.put(name, data))
        axes = source.description.axes
        voxels = source.read(Region(axes, region.start, region.stop))
        np.testing.assert_array_equal(voxels, large[region.slices])
        assert 0 < Counted.fetched() < len(data) / 20, name
        assert len(Counted.asked) < 60, name


@pytest.mark.parametrize("layout", ["together", "even", "compressed"])
def test_thousands_of_pages_take_few_requests(layout: str) -> None:
    """Directories that lie together, at even distances or near to each other are not walked to one
    by one.
    """
    planes = np.random.default_rng(5).integers(0, 99, (2000, 32, 32), "uint16")
    data = {
        "together": tiff(planes),
        "even": pages_apart(planes),
        "compressed": tiff(planes, compression="zlib"),
    }
    Counted.reset()
    source = open_source(Counted.put("a.tif", data[layout]))
    assert source.description.shape == planes.shape
    assert len(Counted.asked) < 40
    np.testing.assert_array_equal(whole(source), planes)


@pytest.mark.parametrize("name", ["strips.tif", "contiguous.tif", "c.npy", "a.npz::b"])
def test_an_object_that_is_replaced_is_refused(bucket: Bucket, name: str) -> None:
    """Between opening and reading no byte comes from another version, even of the same size."""
    key, data = name.partition("::")[0], FILES[name]()
    bucket.put(key, data)
    source = bucket.open(name)
    check_unchanged(source.stamps, bucket.options)
    bucket.put(key, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(SourceError, match=r"changed since it was opened"):
        whole(source)
    with pytest.raises(SourceError, match=r"changed since it was opened"):
        check_unchanged(source.stamps, bucket.options)
    bucket.client.delete_object(Bucket=bucket.name, Key=key)
    with pytest.raises(SourceError, match="not found"):
        whole(source)


@pytest.mark.parametrize("fault", ["slow_down", "reset", "truncated"])
def test_what_passes_is_tried_again(bucket: Bucket, fault: str) -> None:
    """Answers that fail or break off now and then change nothing."""
    bucket.put("a.tif", FILES["strips.tif"]())
    assert bucket.options.endpoint
    with FaultProxy(bucket.options.endpoint, rates={fault: 0.3}, seed=7) as proxy:
        options = StorageOptions(endpoint=proxy.url, credentials="environment")
        for _ in range(2):
            source = open_source(f"{bucket.url}/a.tif", None, options)
            np.testing.assert_array_equal(whole(source), STACK)
        assert proxy.faults[fault] > 0


@pytest.mark.slow
def test_a_body_that_always_breaks_off_is_an_error(bucket: Bucket) -> None:
    """Half of a body is never filled up: storage failed, and the command line says try again."""
    url = bucket.put("a.tif", FILES["strips.tif"]())
    assert bucket.options.endpoint
    with FaultProxy(bucket.options.endpoint) as proxy:
        options = StorageOptions(endpoint=proxy.url, credentials="environment")
        source = open_source(url, None, options)
        proxy.change(rates={"truncated": 1.0})
        with pytest.raises(StorageError, match=r"a\.tif"):
            whole(source)
        with pytest.raises(StorageError, match=r"a\.tif"):
            open_source(url, None, options)


def test_exit_codes(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line reaches S3 by the usual variables: 0 done, 2 mend it, 75 try again."""
    url = bucket.put("a.tif", FILES["imagej.tif"]())
    monkeypatch.setenv("AWS_ENDPOINT_URL", str(bucket.options.endpoint))
    assert main(["info", url]) == 0
    assert "ImageJ TIFF" in capsys.readouterr().out
    assert main(["info", f"{bucket.url}/none.tif"]) == 2
    assert "none.tif: not found" in capsys.readouterr().err
    with FaultProxy(str(bucket.options.endpoint), rates={"truncated": 1.0}) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        assert main(["info", url]) == 75
    assert "a.tif" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("none.tif", "not found"),
        ("none/z*.tif", "finds nothing"),
        ("empty.tif", r"is empty \(0 bytes\)"),
        ("text.tif", "named like TIFF, but its content is not"),
        ("texts", "a folder without pictures"),
    ],
)
def test_what_cannot_be_read_is_named(bucket: Bucket, key: str, reason: str) -> None:
    """The error names the URL and what was expected."""
    bucket.put("empty.tif", b"")
    bucket.put("text.tif", b"this is text")
    bucket.put("texts/a.txt", b"this is text")
    for call in (open_source, lambda url, _, options: scenes(url, options)):
        with pytest.raises(SourceError, match=reason) as raised:
            call(f"{bucket.url}/{key}", None, bucket.options)
        assert bucket.name in str(raised.value)


def test_missing_buckets_and_rights_are_named(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No bucket, no rights and no credentials are the caller's to mend; public data need none."""
    private = bucket.put("private.npy", npy(STACK))
    public = bucket.put("public.npy", npy(STACK), ACL="public-read")
    with pytest.raises(SourceError, match="no such bucket"):
        open_source("s3://no-such-bucket-here/a.npy", None, bucket.options)
    anonymous = StorageOptions.from_environment(
        {"AWS_NO_SIGN_REQUEST": "true", "AWS_ENDPOINT_URL": str(bucket.options.endpoint)}
    )
    np.testing.assert_array_equal(whole(open_source(public, None, anonymous)), STACK)
    with pytest.raises(SourceError, match=r"private\.npy: access denied"):
        open_source(private, None, anonymous)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SourceError, match=r"access denied .*AWS_NO_SIGN_REQUEST"):
        open_source(private, None, StorageOptions(endpoint=bucket.options.endpoint))


def test_threads_share_a_source(bucket: Bucket) -> None:
    """Many threads that read one source at once get what one alone gets."""
    bucket.put("a.tif", FILES["tiles.tif"]())
    source = bucket.open("a.tif")
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(whole, source) for _ in range(24)]
        assert all(np.array_equal(job.result(), STACK) for job in jobs)


def test_other_schemes_and_file_urls(tmp_path: Path) -> None:
    """Whatever fsspec reaches is read alike; file:// is a path."""
    import fsspec

    url = f"memory://{tmp_path.name}/a b.tif"
    fsspec.filesystem("memory").pipe_file(url, FILES["strips.tif"]())
    np.testing.assert_array_equal(whole(open_source(url)), STACK)
    (tmp_path / "a b.npy").write_bytes(npy(STACK))
    for address in (f"file://{tmp_path}/a%20b.npy", f"file://localhost{tmp_path}/a b.npy"):
        source = open_source(address)
        assert source.description.files == (str(tmp_path / "a b.npy"),)
        np.testing.assert_array_equal(whole(source), STACK)
    with pytest.raises(SourceError, match=r"foo://a/b\.tif"):
        open_source("foo://a/b.tif")
