"""HDF5: any array by its path, read by chunk, wherever the file lies; nothing from other files."""

import gc
import io
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.source import Source
from tests.counted import Counted

ARRAY = np.random.default_rng(8).integers(0, 3000, (7, 40, 33), "uint16")
Make = Callable[[Any], None]


def dataset(**options: Any) -> Make:  # noqa: ANN401
    """Return a function that writes `ARRAY` as ``/group/voxels``."""

    def make(file: Any) -> None:  # noqa: ANN401
        file.create_dataset("group/voxels", data=ARRAY, **options)

    return make


LAYOUTS: dict[str, Make] = {
    "contiguous": dataset(),
    "big-endian": dataset(dtype=">u2"),
    "chunked": dataset(chunks=(2, 16, 16)),
    "gzip": dataset(chunks=(3, 7, 33), compression="gzip", shuffle=True),
    "checksummed": dataset(chunks=(7, 8, 8), fletcher32=True),
    "blosc": dataset(chunks=(2, 16, 16), **hdf5plugin.Blosc(cname="zstd")),
    "bitshuffle": dataset(chunks=(1, 40, 33), **hdf5plugin.Bitshuffle()),
    "zstd": dataset(chunks=(4, 40, 40), maxshape=(None, None, None), **hdf5plugin.Zstd()),
}


def written(make: Make, **options: Any) -> bytes:  # noqa: ANN401
    """Return an HDF5 file."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", **options) as file:
        make(file)
    return stream.getvalue()


def saved(tmp_path: Path, make: Make, **options: Any) -> str:  # noqa: ANN401
    """Write an HDF5 file and return its path."""
    path = tmp_path / "a.h5"
    path.write_bytes(written(make, **options))
    return str(path)


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", ["local", "remote"])
@pytest.mark.parametrize("options", [{}, {"libver": "latest"}, {"userblock_size": 512}], ids=str)
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_region_of_any_layout(
    tmp_path: Path, layout: str, place: str, options: dict[str, Any], data: st.DataObject
) -> None:
    """A region is the array's, in native byte order, whatever stores it and wherever it lies."""
    content = written(LAYOUTS[layout], **options)
    if "userblock_size" in options:
        content = b"MATLAB 7.3 MAT-file".ljust(512) + content[512:]
    Counted.reset()
    (tmp_path / "a.h5").write_bytes(content)
    source = open_source(str(tmp_path / "a.h5") if place == "local" else Counted.put("a", content))
    found = source.description
    assert (found.axes, found.shape, found.dtype) == ("qij", ARRAY.shape, "uint16")
    assert (found.format, found.image) == ("HDF5", "/group/voxels")
    edges = [
        sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in ARRAY.shape
    ]
    region = Region("qij", tuple(e[0] for e in edges), tuple(e[1] for e in edges))
    voxels = source.read(region)
    np.testing.assert_array_equal(voxels, ARRAY[region.slices], strict=True)
    assert voxels.nbytes <= source.decoded <= ARRAY.nbytes
    source.close()
    source.close()
    np.testing.assert_array_equal(whole(source), ARRAY)
    source.close()


@pytest.mark.parametrize(
    ("layout", "block"),
    [("contiguous", (1, 40, 33)), ("chunked", (2, 16, 16)), ("zstd", (4, 40, 33))],
)
def test_the_block_is_the_chunk(tmp_path: Path, layout: str, block: tuple[int, ...]) -> None:
    """What is decoded at once is a chunk, clipped to the array, or a plane without chunks."""
    assert open_source(saved(tmp_path, LAYOUTS[layout])).description.block == block


def several(file: Any) -> None:  # noqa: ANN401
    """Write arrays of several kinds."""
    file["b/second"] = ARRAY[:2]
    file["a/first"] = ARRAY
    file["times"] = np.arange(7.0)
    file["name"] = "brain"
    file["flags"] = np.zeros((4, 4), bool)
    file["table"] = np.zeros((3, 3), [("x", "f4")])
    file["empty"] = np.zeros((0, 4))


def test_arrays_are_chosen_by_path_or_number(tmp_path: Path) -> None:
    """Of several arrays of numbers one is named; the error lists them, and a wrong path all."""
    path = saved(tmp_path, several)
    assert [scene.name for scene in scenes(path)] == ["/a/first", "/b/second"]
    with pytest.raises(SourceError, match=r"--scene N or .*::name: 0: /a/first, 1: /b/second"):
        open_source(path)
    for inside in ("::/b/second", "::b/second"):
        np.testing.assert_array_equal(whole(open_source(path + inside)), ARRAY[:2])
    np.testing.assert_array_equal(whole(open_source(path, 0)), ARRAY)
    with pytest.raises(SourceError, match=r"holds no /c; it holds .*/a/first \(7, 40, 33\) uint16"):
        open_source(f"{path}::/c")
    with pytest.raises(SourceError, match="no scene 2"):
        open_source(path, 2)


@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        ("/a", "is no array"),
        ("/times", r"shape \(7,\): expected 2 to 6 axes"),
        ("/name", r"shape \(\)"),
        ("/flags", "bool"),
        ("/table", "'x'"),
        ("/empty", r"\(0, 4\)"),
        ("/a/first/x", "holds no"),
    ],
)
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, inside: str, reason: str) -> None:
    """Groups, texts, tables, and types that are not stored are named."""
    with pytest.raises(SourceError, match=reason):
        open_source(f"{saved(tmp_path, several)}::{inside}")


def test_a_file_without_images_says_what_it_holds(tmp_path: Path) -> None:
    """The error lists the arrays that are there, and why the first that could be one is none."""
    path = saved(tmp_path, lambda file: file.create_dataset("times", data=np.arange(7.0)))
    for call in (open_source, scenes):
        with pytest.raises(SourceError, match=r"two axes or more; it holds /times \(7,\) float64$"):
            call(path)
    half = saved(tmp_path, lambda file: file.create_dataset("a", data=ARRAY.astype("float16")))
    with pytest.raises(
        SourceError, match=r"; it holds /a .* float16; /a has dtype float16: expected"
    ):
        open_source(half)


def test_axes_are_named_by_labels_and_scales(tmp_path: Path) -> None:
    """Single letters that HDF5 itself ties to an axis name it; anything else leaves it open."""

    def make(file: Any) -> None:  # noqa: ANN401
        for name in ("labels", "scales", "words", "twice", "some"):
            file[name] = ARRAY
        for i, label in enumerate("zYx"):
            file["labels"].dims[i].label = label
        for i, name in enumerate("tyx"):
            file[f"scale/{name}"] = np.arange(ARRAY.shape[i])
            file[f"scale/{name}"].make_scale(name)
            file["scales"].dims[i].attach_scale(file[f"scale/{name}"])
        for i, label in enumerate(("depth", "row", "column")):
            file["words"].dims[i].label = label
        for i in range(3):
            file["twice"].dims[i].label = "x"
        file["some"].dims[0].label = "z"

    path = saved(tmp_path, make)
    axes = {name: open_source(f"{path}::{name}").description.axes for name in ("labels", "scales")}
    assert axes == {"labels": "zyx", "scales": "tyx"}
    others = {n: open_source(f"{path}::{n}").description.axes for n in ("words", "twice", "some")}
    assert others == {"words": "qij", "twice": "qij", "some": "zqi"}


def test_attributes_are_kept_verbatim(tmp_path: Path) -> None:
    """Those of the array and of every group above it are in the metadata, as JSON."""

    def make(file: Any) -> None:  # noqa: ANN401
        file.attrs["lab"] = "north"
        file.create_dataset("group/voxels", data=ARRAY)
        file["group"].attrs["rate"] = np.float32(7.5)
        attrs = file["group/voxels"].attrs
        attrs["element_size_um"] = np.array([2.0, 0.5, np.nan])
        attrs["bytes"] = np.bytes_(b"text\0\0")
        attrs["raw"] = np.void(b"\xff\x00")
        attrs["names"] = np.array([b"a", b"b"])
        attrs["empty"] = h5py.Empty("f4")
        attrs["link"] = file["group"].ref
        attrs["long"] = np.zeros(7000, "u1")

    kept = open_source(saved(tmp_path, make)).description.metadata["HDF5"]
    assert json.loads(json.dumps(kept)) == kept
    assert kept["path"] == "/group/voxels"
    assert kept["attributes"]["/"] == {"lab": "north"}
    assert kept["attributes"]["/group"] == {"rate": 7.5}
    found = kept["attributes"]["/group/voxels"]
    assert found["element_size_um"] == [2.0, 0.5, "nan"]
    assert (found["bytes"], found["raw"], found["names"]) == ("text", "ff00", ["a", "b"])
    assert found["empty"] is None
    assert "reference" in found["link"]
    assert len(found["long"]) == 7000


def test_soft_links_within_the_file_are_followed(tmp_path: Path) -> None:
    """Absolute and relative ones, also on the way, lead to the array; loops and gaps are errors."""

    def make(file: Any) -> None:  # noqa: ANN401
        file["a/voxels"] = ARRAY
        file["absolute"] = h5py.SoftLink("/a/voxels")
        file["b/relative"] = h5py.SoftLink("../a/voxels")
        file["way"] = h5py.SoftLink("a")
        file["loop"] = h5py.SoftLink("/loop")
        file["gap"] = h5py.SoftLink("/none")

    path = saved(tmp_path, make)
    for inside in ("/absolute", "/way/voxels", "/b/../absolute"):
        if ".." not in inside:
            source = open_source(f"{path}::{inside}")
            assert source.description.image == "/a/voxels"
            np.testing.assert_array_equal(whole(source), ARRAY)
    for inside, reason in (("/loop", "links"), ("/gap", "holds no /none")):
        with pytest.raises(SourceError, match=reason):
            open_source(f"{path}::{inside}")


@pytest.mark.parametrize("name", ["external", "virtual", "raw", "group/voxels"])
def test_other_files_are_never_opened(tmp_path: Path, name: str) -> None:
    """Links, virtual datasets and storage that lead out of the file are refused by name."""
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["group/voxels"] = ARRAY
    (tmp_path / "voxels.raw").write_bytes(ARRAY.tobytes())

    def make(file: Any) -> None:  # noqa: ANN401
        file["external"] = h5py.ExternalLink("other.h5", "/group/voxels")
        file["group"] = h5py.ExternalLink("other.h5", "/group")
        layout = h5py.VirtualLayout(ARRAY.shape, ARRAY.dtype)
        layout[...] = h5py.VirtualSource(str(other), "group/voxels", ARRAY.shape)
        file.create_virtual_dataset("virtual", layout)
        raw = [(str(tmp_path / "voxels.raw"), 0, ARRAY.nbytes)]
        file.create_dataset("raw", ARRAY.shape, ARRAY.dtype, external=raw)

    path = saved(tmp_path, make)
    with pytest.raises(SourceError, match=r"refused|is virtual"):
        open_source(f"{path}::/{name}")


def test_a_filter_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Voxels that cannot be decoded are refused when the file is opened, not on the way."""

    def make(file: Any) -> None:  # noqa: ANN401
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((7, 8, 8))
        plist.set_filter(305, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(ARRAY.shape)
        h5py.h5d.create(file.id, b"lzo", h5py.h5t.STD_U16LE, space, plist)

    with pytest.raises(SourceError, match="compressed with filter 305"):
        open_source(saved(tmp_path, make))


@pytest.mark.parametrize("place", ["local", "remote"])
def test_chunks_that_were_never_written_are_fill_value(tmp_path: Path, place: str) -> None:
    """By HDF5's definition."""

    def make(file: Any) -> None:  # noqa: ANN401
        found = file.create_dataset("a", (4, 60, 60), "i2", chunks=(2, 16, 16), fillvalue=-7)
        found[1:2, 5:9, 20:40] = 3

    Counted.reset()
    path = saved(tmp_path, make)
    url = Counted.put("a.h5", Path(path).read_bytes())
    expected = np.full((4, 60, 60), -7, "int16")
    expected[1:2, 5:9, 20:40] = 3
    np.testing.assert_array_equal(whole(open_source(path if place == "local" else url)), expected)


@pytest.mark.parametrize("at", [0.05, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("layout", ["contiguous", "gzip"])
def test_a_file_cut_off_is_refused(tmp_path: Path, layout: str, at: float) -> None:
    """A file that ends early is an error, wherever it lies."""
    data = written(LAYOUTS[layout])
    cut = data[: int(len(data) * at)]
    (tmp_path / "a.h5").write_bytes(cut)
    Counted.reset()
    for path in (str(tmp_path / "a.h5"), Counted.put("a.h5", cut)):
        with pytest.raises(SourceError, match=r"a\.h5"):
            whole(open_source(path))


def test_flipped_bits_in_checksummed_chunks_are_found(tmp_path: Path) -> None:
    """A chunk whose checksum is wrong is an error that names the place."""
    path = Path(saved(tmp_path, LAYOUTS["checksummed"]))
    with h5py.File(path) as file:
        at = file["group/voxels"].id.get_chunk_info(3).byte_offset
    data = bytearray(path.read_bytes())
    data[at + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.h5: /group/voxels, q=0:7"):
        whole(open_source(str(path)))


def test_a_file_that_changes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and reading nothing may be written."""
    monkeypatch.setattr("microtome_ingest.remote._PAUSE", 0.001)
    path = saved(tmp_path, LAYOUTS["gzip"])
    source = open_source(path)
    whole(source)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match="changed"):
        whole(source)
    Counted.reset()
    large = np.random.default_rng(1).integers(0, 60000, (8, 128, 128), "uint16")
    data = written(lambda file: file.create_dataset("a", data=large))
    distant = open_source(Counted.put("a.h5", data))
    Counted.put("a.h5", data[:100_000])
    with pytest.raises(SourceError, match=r"a\.h5"):
        whole(distant)


@pytest.mark.parametrize("layout", ["contiguous", "gzip", "latest"])
def test_a_small_region_takes_a_small_part_of_the_bytes(layout: str) -> None:
    """Of 16 MB, a region of a few kilobytes fetches less than a twentieth, opening included; chunks
    are asked for together.
    """
    large = np.random.default_rng(9).integers(0, 60000, (32, 512, 512), "uint16")
    chunks = {"chunks": (8, 32, 32), "compression": "gzip"} if layout != "contiguous" else {}
    libver = {"libver": "latest"} if layout == "latest" else {}
    data = written(lambda file: file.create_dataset("a", data=large, **chunks), **libver)
    Counted.reset()
    source = open_source(Counted.put("a.h5", data))
    region = Region("qij", (7, 100, 200), (9, 140, 330))
    np.testing.assert_array_equal(source.read(region), large[region.slices])
    assert 0 < Counted.fetched() < len(data) / 20
    opened = len(Counted.asked)
    source.read(Region.whole("qij", large.shape))
    assert len(Counted.asked) - opened < 60


@pytest.mark.timeout(120)
def test_garbage_that_is_collected_while_fetching_blocks_nobody() -> None:
    """h5py takes its lock to free what it holds, in whatever thread garbage is collected."""
    stuck = []

    def collect(*_: object) -> None:
        loop: dict[str, Any] = {"held": other["group/voxels"]}
        loop["itself"] = loop
        del loop
        thread = threading.Thread(target=gc.collect)
        thread.start()
        thread.join(2)
        stuck.append(thread.is_alive())

    content = written(LAYOUTS["gzip"])
    with h5py.File(io.BytesIO(content)) as other:
        Counted.reset()
        Counted.fault = staticmethod(collect)
        gc.disable()
        try:
            np.testing.assert_array_equal(whole(open_source(Counted.put("a.h5", content))), ARRAY)
        finally:
            gc.enable()
    assert stuck
    assert not any(stuck)


def test_threads_share_a_source(tmp_path: Path) -> None:
    """Many threads that read one source at once get what one alone gets."""
    path = saved(tmp_path, LAYOUTS["gzip"])
    Counted.reset()
    for place in (path, Counted.put("a.h5", Path(path).read_bytes())):
        source = open_source(place)
        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(whole, source) for _ in range(24)]
            assert all(np.array_equal(job.result(), ARRAY) for job in jobs)
