"""NRRD: any encoding, attached or beside the header; space and time as the header has them."""

import binascii
import bz2
import gzip
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.source import Description, Source
from tests.counted import Counted

ARRAY = np.random.default_rng(4).integers(-900, 900, (6, 7, 9), "int16")
SPACE = {
    "space": "left-posterior-superior",
    "space directions": np.diag([0.5, 0.5, 2.0]),
    "space origin": np.zeros(3),
    "space units": ["mm", "mm", "mm"],
    "kinds": ["domain"] * 3,
}
ENCODINGS = ("raw", "gzip", "bzip2", "ascii")


def saved(
    folder: Path,
    name: str = "a.nrrd",
    array: NDArray[Any] = ARRAY,
    header: dict[str, Any] = SPACE,
    **options: Any,  # noqa: ANN401
) -> str:
    """Write an array with pynrrd and return the path."""
    nrrd.write(str(folder / name), array, dict(header), index_order="C", **options)
    return str(folder / name)


def headed(*lines: str, sizes: str = "9 7 6", kind: str = "int16", encoding: str = "raw") -> bytes:
    """Return a header of `ARRAY` with more lines."""
    count = len(sizes.split())
    first = ["NRRD0005", f"type: {kind}", f"dimension: {count}", f"sizes: {sizes}"]
    return "\n".join([*first, "endian: little", f"encoding: {encoding}", *lines]).encode() + b"\n"


def put(folder: Path, *lines: str, data: bytes | None = None, **options: str) -> str:
    """Write a file by hand and return its path."""
    content = ARRAY.tobytes() if data is None else data
    (folder / "a.nrrd").write_bytes(headed(*lines, **options) + b"\n" + content)
    return str(folder / "a.nrrd")


def detached(folder: Path, data_file: str, *lines: str, **options: str) -> str:
    """Write a detached header and return its path."""
    end = f"data file: {data_file}"
    (folder / "a.nhdr").write_bytes(headed(*lines, end, **options))
    return str(folder / "a.nhdr")


def judged(path: str) -> NDArray[Any]:
    """Return the voxels that pynrrd reads, the slowest axis first."""
    array: NDArray[Any] = nrrd.read(path, index_order="C")[0]
    return array


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def described(path: str) -> Description:
    """Return what a source says."""
    return open_source(path).description


def moved(path: str) -> str:
    """Put a file, with what lies beside it, behind ``counted://``."""
    Counted.reset()
    for one in Path(path).parent.iterdir():
        Counted.put(f"folder/{one.name}", one.read_bytes())
    return f"counted://folder/{Path(path).name}"


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr"])
@pytest.mark.parametrize("place", ["local", "remote"])
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_region_is_pynrrds(
    tmp_path: Path, encoding: str, name: str, place: str, data: st.DataObject
) -> None:
    """A region equals what pynrrd reads, however it is encoded and wherever it lies."""
    path = saved(tmp_path, name, header={**SPACE, "encoding": encoding})
    expected = judged(path)
    source = open_source(path if place == "local" else moved(path))
    found = source.description
    assert (found.format, found.axes, found.shape) == ("NRRD", "zyx", ARRAY.shape)
    assert (found.dtype, found.block) == ("int16", (1, 7, 9))
    assert len(found.files) == 1 + name.endswith("nhdr")
    edges = [sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2)))
             for n in found.shape]  # fmt: skip
    region = Region("zyx", tuple(e[0] for e in edges), tuple(e[1] for e in edges))
    voxels = source.read(region)
    np.testing.assert_array_equal(voxels, expected[region.slices], strict=True)
    assert voxels.flags.writeable
    assert source.decoded == (voxels.nbytes if encoding == "raw" else expected.nbytes)
    source.close()
    source.close()
    np.testing.assert_array_equal(whole(source), ARRAY)


TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "f4", "f8")


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_type_keeps_its_values(tmp_path: Path, kind: str, encoding: str) -> None:
    """The least and largest values, and fractions, are the array's; ascii ones too."""
    dtype = np.dtype(kind)
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    array = np.array([[limits.min, limits.max, 1], [0, 100, 7]], dtype)
    if dtype.kind == "f":
        array = np.array([[0.1, -1e-20, np.nan], [np.inf, 3, 1 / 3]], dtype)
    path = saved(tmp_path, array=array, header={"encoding": encoding})
    if encoding == "ascii" and kind in ("int64", "uint64"):
        # pynrrd writes large whole numbers as rounded fractions: no reader can mend that.
        with pytest.raises(SourceError, match=r"invalid literal for int.*e\+1"):
            whole(open_source(path))
        return
    found = whole(open_source(path))
    # pynrrd itself writes fewer digits than a double has.
    expected = judged(path) if encoding == "ascii" and dtype.kind == "f" else array
    np.testing.assert_array_equal(found, expected, strict=True)


def test_big_endian_is_native_in_memory(tmp_path: Path) -> None:
    """The order of bytes is the header's."""
    path = saved(tmp_path, array=ARRAY.astype(">i2"))
    assert "endian: big" in Path(path).read_bytes().partition(b"\n\n")[0].decode()
    np.testing.assert_array_equal(whole(open_source(path)), ARRAY, strict=True)
    Path(path).write_bytes(headed().replace(b"endian: little\n", b"") + b"\n" + ARRAY.tobytes())
    with pytest.raises(SourceError, match="endian None: expected little or big"):
        open_source(path)


def test_hexadecimal_is_read(tmp_path: Path) -> None:
    """Two digits are a byte, with line ends anywhere."""
    digits = binascii.hexlify(ARRAY.tobytes())
    lines = b"\n".join(digits[i : i + 61] for i in range(0, len(digits), 61))
    path = put(tmp_path, data=lines + b"\n", encoding="hex")
    np.testing.assert_array_equal(whole(open_source(path)), ARRAY, strict=True)
    for wrong in (lines[:-1], lines.replace(b"\n", b"\ng0"), lines + b"00 0000"):
        with pytest.raises(SourceError, match=r"a\.nrrd"):
            whole(open_source(put(tmp_path, data=wrong, encoding="hex")))


@pytest.mark.parametrize(
    "text", ["1 2\n3 x", "1 2 3", "1 2 3 4 5", "1 2 3 300", "1 2 3 -4", "1" * 900]
)
def test_text_that_is_not_the_array_is_refused(tmp_path: Path, text: str) -> None:
    """Words, numbers beyond the type, too many and too few are errors."""
    path = put(tmp_path, data=text.encode(), sizes="2 2", kind="uint8", encoding="text")
    with pytest.raises(SourceError, match=r"a\.nrrd"):
        whole(open_source(path))


def test_long_text_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that a block cuts in two are whole; commas separate, as in Teem."""
    monkeypatch.setattr("microtome_ingest.sources.nrrd_text._BLOCK", 7)
    text = ",\n".join(map(str, ARRAY.ravel()))
    path = put(tmp_path, data=text.encode(), encoding="txt")
    np.testing.assert_array_equal(whole(open_source(path)), ARRAY)


# Where the parts of the array lie: what follows ``data file:``, how many files, and their axes.
FILES = {
    "list": ("LIST\n" + "\n".join(f"part{i}.raw" for i in range(6)), 6),
    "list of planes": ("LIST 2\n" + "\n".join(f"part{i}.raw" for i in range(6)), 6),
    "list of rows": ("LIST 1\n" + "\n".join(f"part{i}.raw" for i in range(42)), 42),
    "list of slabs": ("LIST 3\n" + "\n".join(f"part{i}.raw" for i in range(3)), 3),
    "pattern": ("part%d.raw 0 5 1", 6),
    "pattern of slabs": ("./part%d.raw 0 1 1 3", 2),
}


@pytest.mark.parametrize("layout", FILES)
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("place", ["local", "remote"])
def test_many_data_files_are_one_array(
    tmp_path: Path, layout: str, encoding: str, place: str
) -> None:
    """Listed or numbered files hold planes, rows or slabs; each is opened when it is needed."""
    text, count = FILES[layout]
    for i, part in enumerate(np.split(ARRAY.reshape(count, -1), count)):
        content = part.tobytes()
        content = gzip.compress(content) if encoding == "gzip" else content
        (tmp_path / f"part{i}.raw").write_bytes(content)
    path = detached(tmp_path, text, encoding=encoding)
    source = open_source(path if place == "local" else moved(path))
    assert len(source.description.files) == count + 1
    random = np.random.default_rng(5)
    for _ in range(10):
        edges = [sorted(random.choice(n + 1, 2, replace=False)) for n in ARRAY.shape]
        region = Region("qij", tuple(int(e[0]) for e in edges), tuple(int(e[1]) for e in edges))
        np.testing.assert_array_equal(source.read(region), ARRAY[region.slices], strict=True)
    source.close()
    source.read(Region("qij", (0, 0, 0), (1, 1, 1)))


def test_a_pattern_counts_as_printf_does(tmp_path: Path) -> None:
    """Widths, zeros, steps and countdowns are those of C."""
    for i, plane in enumerate(ARRAY):
        (tmp_path / f"slice {20 - 4 * i:03d}.raw").write_bytes(plane.tobytes())
    path = detached(tmp_path, "slice %03d.raw 20 0 -4")
    np.testing.assert_array_equal(whole(open_source(path)), ARRAY)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("part%d.raw 0 4 1", "names 5 data files: expected 6"),
        ("part%d.raw 0 5 0", "a step of 0"),
        ("part%d.raw 0 999999999 1", "names 1000000000 data files"),
        ("part%d.raw 0 3 1 3", "expected a divisor of 6"),
        ("part%d.raw 0 5 1 9", "data files of 9 axes"),
        ("LIST\npart0.raw", "names 1 data files: expected 6"),
        ("LIST", "names 0 data files"),
        ("../a.raw", "outside of its folder"),
        ("/etc/hostname", "outside of its folder"),
        ("file:///etc/hostname", "outside of its folder"),
        ("s3://bucket/a.raw", "outside of its folder"),
        ("link.raw", "outside of its folder"),
        ("none.raw", r"none\.raw: missing"),
        ("", "outside of its folder"),
        (".", "outside of its folder"),
    ],
)
def test_data_files_that_do_not_fit_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    """Too many, too few, none, and those that lie elsewhere, also by a link."""
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "a.raw").write_bytes(ARRAY.tobytes())
    (folder / "link.raw").symlink_to(tmp_path / "a.raw")
    with pytest.raises(SourceError, match=reason):
        open_source(detached(folder, text))


def test_lines_and_bytes_are_skipped(tmp_path: Path) -> None:
    """Lines before decoding and bytes behind it; -1 takes the last bytes of all."""
    content = b"first\nsecond\n" + b"\0" * 5 + ARRAY.tobytes()
    skips = ("line skip: 2", "byteskip: 5")
    np.testing.assert_array_equal(whole(open_source(put(tmp_path, *skips, data=content))), ARRAY)
    last = put(tmp_path, "byte skip: -1", data=content)
    np.testing.assert_array_equal(whole(open_source(last)), ARRAY)
    for name, pack in (("gzip", gzip.compress), ("bz2", bz2.compress)):
        packed = b"first\nsecond\n" + pack(b"\0" * 5 + ARRAY.tobytes())
        for skip in ("byte skip: 5", "byte skip: -1"):
            path = put(tmp_path, "lineskip: 2", skip, data=packed, encoding=name)
            np.testing.assert_array_equal(whole(open_source(path)), ARRAY)
    for lines, reason in (
        (("byte skip: -5",), "byte skip -5"),
        (("line skip: -1",), "line skip -1"),
        (("line skip: 9999",), "lines to skip"),
        (("line skip: 99999999",), "line skip 99999999"),
        (("byte skip: 30",), "truncated"),
        ((), "18 bytes more than its header claims"),
    ):
        with pytest.raises(SourceError, match=reason):
            open_source(put(tmp_path, *lines, data=content))


def test_more_in_a_stream_than_is_claimed_is_refused(tmp_path: Path) -> None:
    """Where a header precedes the voxels and no byte skip says so, nothing is guessed."""
    path = put(tmp_path, data=gzip.compress(b"\0" * 352 + ARRAY.tobytes()), encoding="gzip")
    with pytest.raises(SourceError, match="more than the 756 bytes"):
        whole(open_source(path))


@pytest.mark.parametrize("at", [0.05, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_file_cut_off_is_refused(tmp_path: Path, encoding: str, at: float) -> None:
    """A file that ends early is an error, wherever it lies."""
    path = Path(saved(tmp_path, header={**SPACE, "encoding": encoding}))
    kept = path.read_bytes().rstrip(b"\n") if encoding == "ascii" else path.read_bytes()
    # Half of a number is a number.
    path.write_bytes(kept[: int(len(kept) * at)].rstrip(b"0123456789"))
    for place in (str(path), moved(str(path))):
        with pytest.raises(SourceError, match=r"a\.nrrd"):
            whole(open_source(place))


def test_flipped_bits_in_gzip_are_found(tmp_path: Path) -> None:
    """The checksum at the end is verified before any voxel is given."""
    packed = bytearray(gzip.compress(ARRAY.tobytes(), 0))
    packed[300] ^= 1
    source = open_source(put(tmp_path, data=bytes(packed), encoding="gzip"))
    with pytest.raises(SourceError, match="CRC"):
        source.read(Region("qij", (0, 0, 0), (1, 1, 1)))


def test_a_data_file_that_changes_is_refused(tmp_path: Path) -> None:
    """Between opening and reading nothing may be written."""
    source = open_source(saved(tmp_path, "a.nhdr", header={**SPACE, "encoding": "raw"}))
    whole(source)
    os.utime(source.description.files[1], ns=(1, 1))
    with pytest.raises(SourceError, match="changed"):
        whole(source)


def test_threads_share_a_source(tmp_path: Path) -> None:
    """Many threads that read one source at once get what one alone gets, inflated once."""
    source = open_source(saved(tmp_path, header={**SPACE, "encoding": "gzip"}))
    start = threading.Barrier(8)

    def read(_: int) -> NDArray[Any]:
        start.wait()
        return whole(source)

    with ThreadPoolExecutor(8) as pool:
        assert all(np.array_equal(voxels, ARRAY) for voxels in pool.map(read, range(8)))
    assert source.decoded == ARRAY.nbytes


def test_there_is_one_array(tmp_path: Path) -> None:
    """A file holds one array, number 0."""
    path = saved(tmp_path)
    assert [str(scene) for scene in scenes(path)] == ["0: unnamed, zyx 6 × 7 × 9 int16"]
    with pytest.raises(SourceError, match="no scene 1"):
        open_source(path, 1)


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr"])
def test_what_pynrrd_writes_arrives_in_the_store(tmp_path: Path, name: str) -> None:
    """Through the whole ingest, voxels, scale and units are the file's."""
    path = saved(tmp_path, name)
    assert main(["ingest", path, str(tmp_path / "root"), "--as", "lab/rat/scan"]) == 0
    group = zarr.open_group(tmp_path / "root/lab/rat/scan", mode="r")
    np.testing.assert_array_equal(group["0"][...], ARRAY)
    scales = group.attrs["ome"]["multiscales"][0]
    found = scales["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert found == [2.0, 0.5, 0.5]
    assert [axis["unit"] for axis in scales["axes"]] == ["millimeter"] * 3


BALL = ("zyx", (30, 30, 30), "int16", {"x": 1.0, "y": 1.0, "z": 1.0})
SAMPLES = {
    "BallBinary30x30x30.nhdr": BALL,
    "BallBinary30x30x30.nrrd": BALL,
    "BallBinary30x30x30_byteskip_minus_one.nhdr": BALL,
    "BallBinary30x30x30_byteskip_minus_one_nifti.nhdr": BALL,
    "BallBinary30x30x30_bz2.nrrd": BALL,
    "BallBinary30x30x30_gz.nrrd": BALL,
    "BallBinary30x30x30_gz_byteskip_minus_one.nrrd": BALL,
    "BallBinary30x30x30_gz_lineskip.nrrd": BALL,
    "test2d_ascii.nrrd": ("qi", (9, 3), "uint16", {}),
    "test_simple4d_raw.nrrd": (
        "qzyx", (1, 1, 1, 1), "float64", {"x": 1.5, "y": 1.5, "z": 1.0}),
}  # fmt: skip
REFUSED = {
    "BallBinary30x30x30_byteskip_minus_five.nhdr": "byte skip -5",
    "BallBinary30x30x30_nifti.nhdr": "more than the 54000 bytes",
    "test1d_ascii.nrrd": "needs y and x",
    "test_customFields.nrrd": "needs y and x",
}


@pytest.mark.samples
@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("place", ["local", "remote"])
def test_every_sample_reads_as_pynrrd_does(samples: Path, name: str, place: str) -> None:
    """Real files: axes, sizes and voxels, here and from afar."""
    path = str(samples / "nrrd/pynrrd" / name)
    source = open_source(path if place == "local" else moved(path))
    found = source.description
    assert (found.axes, found.shape, found.dtype, dict(found.voxel_size)) == SAMPLES[name]
    np.testing.assert_array_equal(whole(source), judged(path), strict=True)
    source.close()


@pytest.mark.samples
@pytest.mark.parametrize("name", REFUSED)
def test_samples_that_pynrrd_or_we_cannot_read_say_why(samples: Path, name: str) -> None:
    """Damage and single lines of numbers are refused."""
    with pytest.raises(SourceError, match=REFUSED[name]):
        whole(open_source(str(samples / "nrrd/pynrrd" / name)))
