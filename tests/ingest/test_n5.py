"""N5 as TensorStore writes it: x first turned, absent blocks told, pyramids of every kind."""

import gzip
import json
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_core.store.location import Store
from microtome_ingest.formats import format_of, open_source, scenes
from microtome_ingest.source import Source

ARRAY = np.random.default_rng(5).integers(1, 60000, (7, 40, 33), "uint16")
GZIP = {"type": "gzip", "level": 1}
BLOSC = {"type": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}


def put(path: Path, attributes: dict[str, Any]) -> None:
    """Write or add to the attributes of a group or dataset."""
    file = path / "attributes.json"
    path.mkdir(parents=True, exist_ok=True)
    old = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**old, **attributes}))


def dataset(
    path: Path,
    array: NDArray[Any] = ARRAY,
    block: Sequence[int] | None = None,
    compression: dict[str, Any] = GZIP,
    **more: Any,  # noqa: ANN401
) -> str:
    """Write an array with TensorStore, which has x first as N5 does."""
    turned = array.T
    metadata = {
        "dimensions": turned.shape,
        "blockSize": block or [16] * array.ndim,
        "dataType": array.dtype.name,
        "compression": compression,
    }
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{path}/"}, "metadata": metadata}
    ts.open(spec, create=True).result().write(turned).result()
    if more:
        put(path, more)
    return str(path)


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def regions(seed: int, count: int) -> list[Region]:
    """Return random regions of `ARRAY`."""
    random = np.random.default_rng(seed)
    boxes = [
        [np.sort(random.choice(n + 1, 2, replace=False)) for n in ARRAY.shape] for _ in range(count)
    ]
    return [Region("qij", tuple(int(e[0]) for e in b), tuple(int(e[1]) for e in b)) for b in boxes]


@pytest.mark.parametrize(
    "compression",
    [{"type": "raw"}, GZIP, {"type": "bzip2", "blockSize": 9}, {"type": "xz", "preset": 6}, BLOSC],
    ids=lambda one: str(one["type"]),
)
def test_any_region_of_any_compression(tmp_path: Path, compression: dict[str, Any]) -> None:
    """A region is the array's with its axes turned, slowest first, in native byte order."""
    source = open_source(dataset(tmp_path / "a", block=[8, 16, 3], compression=compression))
    found = source.description
    assert (found.format, found.axes, found.shape) == ("N5", "qij", ARRAY.shape)
    assert (found.dtype, found.block, found.notes) == ("uint16", (3, 16, 8), ())
    for region in regions(1, 12):
        voxels = source.read(region)
        np.testing.assert_array_equal(voxels, ARRAY[region.slices], strict=True)
        assert voxels.flags.c_contiguous
        assert voxels.flags.writeable
    source.close()
    source.close()
    np.testing.assert_array_equal(whole(source), ARRAY)


def block_file(path: Path, voxels: NDArray[Any], mode: int = 0, more: bytes = b"") -> None:
    """Write a block by the specification: big-endian, x first, gzip."""
    header = struct.pack(f">HH{voxels.ndim}I", mode, voxels.ndim, *voxels.shape[::-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + more + gzip.compress(voxels.astype(">u2").tobytes()))


def test_blocks_as_the_specification_has_them(tmp_path: Path) -> None:
    """Blocks that another program wrote, those at the edges cut, read as they were written."""
    put(
        tmp_path / "a",
        {"dimensions": [33, 40], "blockSize": [20, 30], "dataType": "uint16", "compression": GZIP},
    )
    for x in (0, 1):
        for y in (0, 1):
            part = ARRAY[0, 30 * y : 30 * y + 30, 20 * x : 20 * x + 20]
            block_file(tmp_path / "a" / str(x) / str(y), part)
    np.testing.assert_array_equal(whole(open_source(str(tmp_path / "a"))), ARRAY[0])


@pytest.mark.parametrize("mode", [1, 2])
def test_blocks_of_variable_length_are_refused(tmp_path: Path, mode: int) -> None:
    """Blocks whose elements have lengths of their own, or are objects, are no voxels."""
    put(
        tmp_path / "a",
        {"dimensions": [33, 40], "blockSize": [33, 40], "dataType": "uint16", "compression": GZIP},
    )
    block_file(tmp_path / "a" / "0" / "0", ARRAY[0], mode, struct.pack(">I", 33 * 40))
    with pytest.raises(SourceError, match=r"0/0.*(varlength|[Mm]ode)"):
        whole(open_source(str(tmp_path / "a")))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "uint64", "float32", "float64"])
def test_every_type_of_voxel(tmp_path: Path, dtype: str) -> None:
    """Whole and real numbers, stored big-endian, come in the machine's own order."""
    array = (ARRAY % 120).astype(dtype)
    source = open_source(dataset(tmp_path / "a", array))
    np.testing.assert_array_equal(whole(source), array, strict=True)


def test_absent_blocks_are_counted(tmp_path: Path) -> None:
    """Blocks that were never written read as 0, and a note says how many there are."""
    path = dataset(tmp_path / "a", block=[33, 40, 1])
    for z in (2, 5):
        (tmp_path / "a" / "0" / "0" / str(z)).unlink()
    expected = ARRAY.copy()
    expected[[2, 5]] = 0
    source = open_source(path)
    assert source.description.notes[0].startswith("2 of 7 chunks are absent")
    np.testing.assert_array_equal(whole(source), expected)


@pytest.mark.parametrize("cut", [0, 1, 10, 40, -1])
def test_a_block_that_is_cut_off_is_an_error(tmp_path: Path, cut: int) -> None:
    """A damaged block is named, and never 0."""
    path = dataset(tmp_path / "a", block=[33, 40, 1])
    block = tmp_path / "a" / "0" / "0" / "3"
    block.write_bytes(block.read_bytes()[:cut])
    source = open_source(path)
    source.read(Region("qij", (0, 0, 0), (3, 40, 33)))
    with pytest.raises(SourceError, match=r"q=0:7.*0/0/3"):
        whole(source)


VIEWER = {"pixelResolution": {"unit": "um", "dimensions": [0.4, 0.5, 2]}}
COSEM = {
    "axes": ["z", "y", "x"],
    "scale": [2, 0.5, 0.4],
    "translate": [0, 1, 0],
    "units": ["um", "um", "um"],
}
SIZES = {"z": 2.0, "y": 0.5, "x": 0.4}
LEVELS = [{"path": "s0", "transform": COSEM}, {"path": "s1"}]
TURNED = {name: value[::-1] for name, value in COSEM.items()}


@pytest.mark.parametrize(
    ("group", "own", "axes", "sizes", "unit"),
    [
        ({**VIEWER, "scales": [[1, 1, 1], [2, 2, 2]]}, {}, "zyx", SIZES, "micrometer"),
        (VIEWER, {"downsamplingFactors": [1, 1, 1]}, "zyx", SIZES, "micrometer"),
        ({}, {**VIEWER, "downsamplingFactors": [1, 1, 1]}, "zyx", SIZES, "micrometer"),
        (
            {"axes": ["x", "y", "z"], "units": ["um"] * 3, "resolution": [0.4, 0.5, 2]},
            {}, "zyx", SIZES, "micrometer",
        ),
        (
            {"axes": ["x", "y", "t"], "units": ["nm", "um", "ms"], "resolution": [400, 0.5, 20]},
            {}, "tyx", {"y": 0.5, "x": 0.4}, "micrometer",
        ),
        (
            {"axes": ["x", "y", "c"], "units": ["nm", "s", ""], "resolution": [400, 0.5, 1]},
            {}, "cyx", {"x": 400.0}, "nanometer",
        ),
        ({"resolution": [0.4, 0.5, 2]}, {"downsamplingFactors": [1, 1, 1]}, "zyx", SIZES, None),
        ({"multiscales": [{"datasets": LEVELS}]}, {}, "zyx", SIZES, "micrometer"),
        ({}, {"transform": COSEM}, "zyx", SIZES, "micrometer"),
        ({}, {"transform": {**TURNED, "ordering": "F"}}, "zyx", SIZES, "micrometer"),
        ({"scales": [[1, 1, 1]]}, {}, "zyx", {}, None),
        ({}, {}, "qij", {}, None),
    ],
    ids=str,
)  # fmt: skip
def test_pyramids_of_every_convention(
    tmp_path: Path,
    group: dict[str, Any],
    own: dict[str, Any],
    axes: str,
    sizes: dict[str, float],
    unit: str | None,
) -> None:
    """A pyramid is one image, its finest level, with the voxel size that its group gives it."""
    put(tmp_path / "a", {"n5": "2.5.1", **group})
    dataset(tmp_path / "a" / "s0", **own)
    coarse = {"downsamplingFactors": [2, 2, 2]} if "downsamplingFactors" in own else {}
    dataset(tmp_path / "a" / "s1", ARRAY[::2, ::2, ::2], **coarse)
    source = open_source(str(tmp_path / "a"))
    found = source.description
    assert (found.image, found.axes, found.unit) == ("s0", axes, unit)
    assert found.voxel_size == pytest.approx(sizes)
    assert found.time_step == (0.02 if axes == "tyx" else None)
    assert found.metadata["N5"]["attributes"][""] == {"n5": "2.5.1", **group}
    moved = "transform" in own or "multiscales" in group
    assert ("origin" in found.metadata) == moved
    np.testing.assert_array_equal(whole(source), ARRAY)


def test_a_coarser_level_has_larger_voxels(tmp_path: Path) -> None:
    """``::s1`` is measured by the factors that made it."""
    put(tmp_path / "a", VIEWER)
    dataset(tmp_path / "a" / "s0", downsamplingFactors=[1, 1, 1])
    dataset(tmp_path / "a" / "s1", ARRAY[::4, ::2, ::2], downsamplingFactors=[2, 2, 4])
    found = open_source(f"{tmp_path}/a::s1").description
    assert found.voxel_size == pytest.approx({"z": 8.0, "y": 1.0, "x": 0.8})


def test_setups_and_time_points_of_bigdataviewer_are_scenes(tmp_path: Path) -> None:
    """Each time point of each view of bdv.n5 is a scene, in the order of their numbers."""
    put(tmp_path / "a", {"n5": "2.5.1"})
    for setup in (0, 1, 10):
        place = tmp_path / "a" / f"setup{setup}"
        put(place, {"dataType": "uint16", "downsamplingFactors": [[1, 1, 1], [2, 2, 2]]})
        for time in (0, 2):
            put(place / f"timepoint{time}", {"resolution": [0.4, 0.5, 2], "multiScale": True})
            for level in (0, 1):
                array = ARRAY[:: level + 1] + setup + time
                dataset(place / f"timepoint{time}" / f"s{level}", array)
    found = scenes(str(tmp_path / "a"))
    assert [s.name for s in found] == [
        f"setup{s}/timepoint{t}/s0" for s in (0, 1, 10) for t in (0, 2)
    ]
    assert {s.axes for s in found} == {"zyx"}
    with pytest.raises(SourceError, match="holds 6 arrays, choose with --scene N"):
        open_source(str(tmp_path / "a"))
    source = open_source(str(tmp_path / "a"), 5)
    assert (source.description.voxel_size, source.description.unit) == (SIZES, None)
    np.testing.assert_array_equal(whole(source), ARRAY + 12)
    assert open_source(f"{tmp_path}/a::setup1/timepoint2").description.image.endswith("2/s0")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dataType": "object"}, "object"),
        ({"dataType": "string"}, "string"),
        ({"compression": {"type": "lz4"}}, "'lz4' is not available"),
        ({"compression": None}, "not available"),
        ({"dimensions": [33]}, "2 to 6 axes"),
        ({"dimensions": [33, 0, 7]}, "and voxels"),
        ({"dimensions": [33, 40, -7]}, "whole numbers"),
        ({"dimensions": None}, "whole numbers"),
        ({"blockSize": [16, 16]}, "a"),
        ({"blockSize": [0, 16, 16]}, "a"),
        ({"blockSize": [1 << 15, 1 << 15, 1]}, "no more than"),
    ],
    ids=str,
)
def test_what_is_no_image_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    """Types that are not stored, compressions that are not there, wrong extents are named."""
    path = dataset(tmp_path / "a")
    put(tmp_path / "a", changes)
    with pytest.raises(SourceError, match=reason):
        open_source(path)


def test_an_empty_container_is_refused(tmp_path: Path) -> None:
    """A container without datasets is no source, and a path leads nowhere else."""
    put(tmp_path / "a", {"n5": "2.5.1"})
    with pytest.raises(SourceError, match="holds no datasets"):
        open_source(str(tmp_path / "a"))
    dataset(tmp_path / "b")
    with pytest.raises(SourceError, match="leads out of its folder"):
        open_source(f"{tmp_path}/a::../b")
    put(tmp_path / "a", {"multiscales": [{"datasets": [{"path": "../b"}]}]})
    with pytest.raises(SourceError, match="leads out of its folder"):
        open_source(str(tmp_path / "a"))


def test_threads_read_at_once(tmp_path: Path) -> None:
    """Many threads get what one would."""
    source = open_source(dataset(tmp_path / "a", block=[8, 16, 3]))
    asked = regions(2, 60)
    with ThreadPoolExecutor(8) as pool:
        for region, voxels in zip(asked, pool.map(source.read, asked), strict=True):
            np.testing.assert_array_equal(voxels, ARRAY[region.slices])


def test_a_container_on_s3_reads_as_here(tmp_path: Path, s3_store: Store) -> None:
    """Groups are listed, absent blocks counted and voxels read from S3 too."""
    put(tmp_path / "a", {"n5": "2.5.1"})
    dataset(tmp_path / "a" / "raw", block=[33, 40, 1])
    (tmp_path / "a" / "raw" / "0" / "0" / "6").unlink()
    for file in (tmp_path / "a").rglob("*"):
        if file.is_file():
            s3_store.write(f"a/{file.relative_to(tmp_path / 'a').as_posix()}", file.read_bytes())
    source = open_source(f"{s3_store.url}/a", None, s3_store.options)
    assert source.description.notes[0].startswith("1 of 7 chunks are absent")
    np.testing.assert_array_equal(whole(source)[:6], ARRAY[:6])


def test_ingest_is_equal(tmp_path: Path) -> None:
    """What TensorStore wrote and microtome ingests is what zarr-python reads of the layer."""
    put(tmp_path / "a", {**VIEWER, "scales": [[1, 1, 1]]})
    dataset(tmp_path / "a" / "s0")
    assert format_of(str(tmp_path / "a")).name == "N5"
    assert main(["ingest", str(tmp_path / "a"), str(tmp_path / "root"), "--as", "c/d/l"]) == 0
    layer = zarr.open_array(str(tmp_path / "root" / "c" / "d" / "l" / "0"), mode="r")
    np.testing.assert_array_equal(layer[:], ARRAY)
