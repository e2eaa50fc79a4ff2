"""Zarr 2 and 3 as zarr-python writes them: any region, absent chunks told, damage refused."""

import json
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import SourceError
from microtome_core.region import Region
from microtome_ingest.formats import format_of, open_source, scenes
from microtome_ingest.source import Source

ARRAY = np.random.default_rng(3).integers(1, 60000, (7, 40, 33), "uint16")
Write = Callable[[str, NDArray[Any]], Any]


def second(path: str, array: NDArray[Any], **options: Any) -> Any:  # noqa: ANN401
    """Write an array of Zarr 2."""
    return zarr.create_array(path, data=array, zarr_format=2, **{"chunks": (2, 16, 16), **options})


def third(path: str, array: NDArray[Any], **options: Any) -> Any:  # noqa: ANN401
    """Write an array of Zarr 3."""
    return zarr.create_array(path, data=array, zarr_format=3, **{"chunks": (2, 16, 16), **options})


LAYOUTS: dict[str, Write] = {
    "v2 blosc": second,
    "v2 gzip": partial(second, compressors=numcodecs.GZip(3)),
    "v2 zlib": partial(second, compressors=numcodecs.Zlib(3)),
    "v2 bz2": partial(second, compressors=numcodecs.BZ2(3)),
    "v2 zstd": partial(second, compressors=numcodecs.Zstd(3)),
    "v2 raw nested": partial(
        second, compressors=None, chunk_key_encoding={"name": "v2", "separator": "/"}
    ),
    "v2 fortran": partial(second, order="F"),
    "v2 one chunk": partial(second, chunks=(7, 40, 33)),
    "v3 zstd": third,
    "v3 raw": partial(third, compressors=None),
    "v3 flat keys": partial(third, chunk_key_encoding={"name": "v2", "separator": "."}),
    "v3 blosc": partial(third, compressors=zarr.codecs.BloscCodec(typesize=2)),
    "v3 gzip crc": partial(
        third, compressors=[zarr.codecs.GzipCodec(level=1), zarr.codecs.Crc32cCodec()]
    ),
    "v3 sharded": partial(third, shards=(4, 32, 32)),
    "v3 transposed": partial(third, filters=[zarr.codecs.TransposeCodec(order=(2, 0, 1))]),
}
BIG = {"v2": second, "v3": third}


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def boxes(seed: int, count: int = 12) -> list[tuple[slice, ...]]:
    """Return random boxes of `ARRAY`."""
    random = np.random.default_rng(seed)
    edges = [
        [np.sort(random.choice(n + 1, 2, replace=False)) for n in ARRAY.shape] for _ in range(count)
    ]
    return [tuple(slice(int(low), int(high)) for low, high in box) for box in edges]


def grouped(path: Path) -> None:
    """Write a group of several arrays."""
    group = zarr.create_group(str(path), zarr_format=3)
    group.create_array("b/second", data=ARRAY[:2], chunks=(1, 40, 33))
    group.create_array("a10", data=ARRAY, chunks=(1, 40, 33), dimension_names=("z", "y", "x"))
    group.create_array("times", data=np.arange(7.0))


def packed(folder: Path, target: Path, compression: int = zipfile.ZIP_STORED) -> None:
    """Pack a folder."""
    with zipfile.ZipFile(target, "w", compression) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_region_of_any_layout(tmp_path: Path, layout: str) -> None:
    """A region is what zarr-python reads, in native byte order, however it is stored."""
    path = str(tmp_path / "a.zarr")
    LAYOUTS[layout](path, ARRAY)
    source = open_source(path)
    found = source.description
    assert (found.format, found.shape, found.dtype) == (f"Zarr {layout[1]}", (7, 40, 33), "uint16")
    assert (found.axes, found.notes) == ("qij", ())
    expected = zarr.open_array(path, mode="r")[:]
    for box in boxes(sum(map(ord, layout))):
        region = Region("qij", tuple(s.start for s in box), tuple(s.stop for s in box))
        voxels = source.read(region)
        np.testing.assert_array_equal(voxels, expected[box], strict=True)
        assert voxels.flags.c_contiguous
        assert voxels.flags.writeable
    source.close()
    source.close()
    np.testing.assert_array_equal(whole(source), ARRAY)
    assert source.decoded >= ARRAY.nbytes


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("dtype", [">u2", "<i4", ">f8", "|u1", "<f4", ">i8"])
def test_every_type_of_voxel(tmp_path: Path, version: int, dtype: str) -> None:
    """Whole and real numbers of either byte order come in the machine's own."""
    array = (ARRAY % 251).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of big-endian data in version 3
        zarr.create_array(str(tmp_path / "a"), data=array, chunks=(3, 20, 20), zarr_format=version)
    source = open_source(str(tmp_path / "a"))
    assert source.description.dtype == array.dtype.newbyteorder("=").name
    np.testing.assert_array_equal(whole(source), array.astype(array.dtype.newbyteorder("=")))


@pytest.mark.parametrize(
    ("options", "block"),
    [
        ({}, (2, 16, 16)),
        ({"shards": (4, 32, 32)}, (2, 16, 16)),
        ({"chunks": (7, 64, 64)}, (7, 40, 33)),
    ],
)
def test_the_block_is_the_inner_chunk(
    tmp_path: Path, options: dict[str, Any], block: tuple[int, ...]
) -> None:
    """What is decoded at once is a chunk, of a shard one of its chunks, clipped to the array."""
    third(str(tmp_path / "a"), ARRAY, **options)
    source = open_source(str(tmp_path / "a"))
    assert source.description.block == block
    source.read(Region("qij", (0, 0, 0), (1, 1, 1)))
    assert source.decoded == np.prod(block) * 2


@pytest.mark.parametrize(
    ("names", "axes"),
    [
        (("z", "y", "x"), "zyx"),
        (("T", "Y", "X"), "tyx"),
        (("time", "y", "x"), "qyx"),
        ((None, "y", "x"), "qyx"),
        (None, "qij"),
    ],
)
@pytest.mark.parametrize("version", [2, 3])
def test_axes_are_those_that_are_named(
    tmp_path: Path,
    names: tuple[str | None, ...] | None,
    axes: str,
    version: int,
) -> None:
    """Dimension names t, c, z, y, x in any case are axes; whatever else is left open."""
    array = (second if version == 2 else third)(str(tmp_path / "a"), ARRAY)
    if names and version == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = list(names)
    elif names:
        third(str(tmp_path / "a"), ARRAY, dimension_names=names, overwrite=True)
    assert open_source(str(tmp_path / "a")).description.axes == axes


@pytest.mark.parametrize("layout", ["v2 blosc", "v3 zstd", "v3 sharded", "v3 flat keys"])
@pytest.mark.parametrize("zipped", [False, True])
def test_absent_chunks_are_counted(tmp_path: Path, layout: str, zipped: bool) -> None:
    """Chunks that were never written, within shards too, are counted and read as the fill value."""
    # zarr-python does not keep chunks of the fill value: 2 x 2 x 2 of 4 x 3 x 3.
    array = ARRAY.copy()
    array[:4, :32, :32] = 0
    LAYOUTS[layout](str(tmp_path / "a"), array)
    if zipped:
        packed(tmp_path / "a", tmp_path / "a.zarr.zip")
    source = open_source(str(tmp_path / ("a.zarr.zip" if zipped else "a")))
    [note] = source.description.notes
    assert note.startswith("8 of 36 chunks are absent")
    assert "read as 0" in note
    np.testing.assert_array_equal(whole(source), array)


@pytest.mark.parametrize("place", ["start", "end"])
def test_absent_chunks_within_a_shard_are_counted(tmp_path: Path, place: str) -> None:
    """The index of a shard says which of its chunks were written, wherever it lies."""
    array = np.zeros_like(ARRAY)
    array[0, 0, 0] = array[6, 39, 32] = 5
    codec = zarr.codecs.ShardingCodec(chunk_shape=(2, 16, 16), index_location=place)
    zarr.create_array(
        str(tmp_path / "a"), data=array, chunks=(8, 48, 48), serializer=codec, compressors=None
    )
    source = open_source(str(tmp_path / "a"))
    assert source.description.block == (2, 16, 16)
    assert source.description.notes[0].startswith("34 of 36 chunks are absent")
    np.testing.assert_array_equal(whole(source), array)
    [shard] = [p for p in (tmp_path / "a" / "c").rglob("*") if p.is_file()]
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(SourceError, match=r"c/0/0/0.*index"):
        whole(open_source(str(tmp_path / "a")))


@pytest.mark.parametrize("version", [2, 3])
def test_absent_chunks_read_as_the_fill_value(tmp_path: Path, version: int) -> None:
    """A fill value other than 0 is what they read as."""
    zarr.create_array(
        str(tmp_path / "a"), shape=(4, 4), chunks=(2, 2), dtype="u2", fill_value=7,
        zarr_format=version,
    )  # fmt: skip
    source = open_source(str(tmp_path / "a"))
    assert "4 of 4 chunks are absent" in source.description.notes[0]
    assert "read as 7" in source.description.notes[0]
    assert (whole(source) == 7).all()


@pytest.mark.parametrize("how", ["folder", "link away", "link to nothing"])
def test_what_is_no_chunk_file_is_an_error(tmp_path: Path, how: str) -> None:
    """A folder or a link away in the place of a chunk is never the fill value."""
    third(str(tmp_path / "a"), ARRAY)
    chunk = tmp_path / "a" / "c" / "0" / "0" / "0"
    (tmp_path / "elsewhere").write_bytes(chunk.read_bytes())
    chunk.unlink()
    if how == "folder":
        chunk.mkdir()
    elif how == "link away":
        chunk.symlink_to(tmp_path / "elsewhere")
    else:
        chunk.symlink_to("1")
        (tmp_path / "a" / "c" / "0" / "0" / "1").unlink()
    source = open_source(str(tmp_path / "a"))
    with pytest.raises(SourceError, match=r"c/0/0/0: is "):
        whole(source)


def test_a_link_within_the_store_is_followed(tmp_path: Path) -> None:
    """Two chunks may be one file."""
    array = ARRAY.copy()
    array[2:4] = array[:2]
    third(str(tmp_path / "a"), array)
    chunk = tmp_path / "a" / "c" / "1" / "0" / "0"
    chunk.unlink()
    chunk.symlink_to("../../0/0/0")
    np.testing.assert_array_equal(whole(open_source(str(tmp_path / "a"))), array)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("cut", [0, 1, 20, -1])
def test_a_chunk_that_is_cut_off_is_an_error(tmp_path: Path, version: int, cut: int) -> None:
    """A damaged chunk is named, and never the fill value."""
    (second if version == 2 else third)(str(tmp_path / "a"), ARRAY)
    key = "1.0.0" if version == 2 else "c/1/0/0"
    chunk = tmp_path / "a" / key
    chunk.write_bytes(chunk.read_bytes()[:cut])
    source = open_source(str(tmp_path / "a"))
    source.read(Region("qij", (0, 0, 0), (2, 40, 33)))
    with pytest.raises(SourceError, match=rf"q=0:7.*{key}"):
        whole(source)


def replaced(path: Path, **changes: object) -> None:
    """Change metadata."""
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **changes}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dtype": "|O"}, "object"),
        ({"dtype": [["a", "<u2"]]}, "structured"),
        ({"dtype": "|b1"}, "bool"),
        ({"dtype": "<f2"}, "float16"),
        ({"dtype": "<c8"}, "complex64"),
        ({"dtype": "<U4"}, "dtype"),
        ({"compressor": {"id": "pcodec"}}, "pcodec is not available"),
        ({"filters": [{"id": "delta", "dtype": "<u2"}]}, "delta"),
        ({"shape": [7, 40]}, "a"),
        ({"shape": [7]}, "2 to 6 axes"),
        ({"shape": [7, 0, 3]}, "and voxels"),
        ({"shape": "large"}, "whole numbers"),
        ({"chunks": [1 << 20, 1 << 20, 1]}, "no more than"),
        ({"chunks": [0, 16, 16]}, "a"),
        ({"chunks": None}, "a"),
        ({"zarr_format": 4}, "a"),
    ],
    ids=str,
)
def test_what_is_no_image_of_version_2_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    """Types that are not stored, codecs that are not there, and wrong extents are named."""
    second(str(tmp_path / "a"), ARRAY)
    replaced(tmp_path / "a" / ".zarray", **changes)
    with pytest.raises(SourceError, match=reason):
        whole(open_source(str(tmp_path / "a")))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data_type": "bool"}, "bool"),
        ({"data_type": "string"}, "string|str"),
        ({"data_type": {"name": "struct", "configuration": {}}}, "struct"),
        ({"codecs": [{"name": "bytes"}, {"name": "numcodecs.lzma"}]}, "numcodecs.lzma is not"),
        ({"codecs": None}, "a"),
        ({"chunk_grid": {"name": "rectilinear"}}, "a"),
        ({"dimension_names": ["y", "y", "x"]}, "not unique"),
        ({"node_type": "tree"}, "neither an array nor a group"),
        ({"shape": [1 << 62, 1 << 62, 4]}, "a"),
    ],
    ids=str,
)
def test_what_is_no_image_of_version_3_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    """So are those of version 3."""
    third(str(tmp_path / "a"), ARRAY)
    replaced(tmp_path / "a" / "zarr.json", **changes)
    with pytest.raises(SourceError, match=reason):
        open_source(str(tmp_path / "a"))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "nan", '"a"', "\x00"])
@pytest.mark.parametrize("version", [2, 3])
def test_metadata_that_is_no_json_is_an_error(tmp_path: Path, text: str, version: int) -> None:
    """Metadata that cannot be parsed is named."""
    (second if version == 2 else third)(str(tmp_path / "a"), ARRAY)
    name = ".zarray" if version == 2 else "zarr.json"
    (tmp_path / "a" / name).write_text(text)
    with pytest.raises(SourceError, match=name):
        open_source(str(tmp_path / "a"))


def test_arrays_of_a_group_are_chosen_by_path_or_number(tmp_path: Path) -> None:
    """Of several arrays one is named; the error lists them, and leaves out what is no image."""
    grouped(tmp_path / "a")
    path = str(tmp_path / "a")
    assert [(s.name, s.axes) for s in scenes(path)] == [("a10", "zyx"), ("b/second", "qij")]
    with pytest.raises(SourceError, match=r"--scene N or .*::name: 0: a10, 1: b/second"):
        open_source(path)
    for source in (open_source(f"{path}::b/second"), open_source(path, 1)):
        assert source.description.image == "b/second"
        np.testing.assert_array_equal(whole(source), ARRAY[:2])
    assert open_source(f"{path}::b").description.image == "b/second"
    with pytest.raises(SourceError, match="holds no Zarr none"):
        open_source(f"{path}::none")
    with pytest.raises(SourceError, match="leads out of its folder"):
        open_source(f"{path}::../a")
    with pytest.raises(SourceError, match="2 to 6 axes"):
        open_source(f"{path}::times")
    with pytest.raises(SourceError, match="no scene 2"):
        open_source(path, 2)


def test_a_group_without_images_says_what_it_holds(tmp_path: Path) -> None:
    """A store of tables alone is refused."""
    group = zarr.create_group(str(tmp_path / "a"))
    group.create_array("times", data=np.arange(7.0))
    group.create_array("ids", data=np.arange(7))
    with pytest.raises(SourceError, match=r"no array that is an image: ids shape"):
        open_source(str(tmp_path / "a"))
    zarr.create_group(str(tmp_path / "b"))
    with pytest.raises(SourceError, match="holds no arrays"):
        open_source(str(tmp_path / "b"))


def test_threads_read_at_once(tmp_path: Path) -> None:
    """Many threads get what one would."""
    third(str(tmp_path / "a"), ARRAY, shards=(4, 32, 32))
    source = open_source(str(tmp_path / "a"))
    regions = [
        Region("qij", tuple(s.start for s in box), tuple(s.stop for s in box))
        for box in boxes(5, 60)
    ]
    with ThreadPoolExecutor(8) as pool:
        for region, voxels in zip(regions, pool.map(source.read, regions), strict=True):
            np.testing.assert_array_equal(voxels, ARRAY[region.slices])


def test_metadata_that_is_replaced_is_noticed(tmp_path: Path) -> None:
    """A store whose metadata was written anew is no longer the one that was opened."""
    third(str(tmp_path / "a"), ARRAY)
    source = open_source(str(tmp_path / "a"))
    replaced(tmp_path / "a" / "zarr.json", attributes={"new": 1})
    with pytest.raises(SourceError, match=r"zarr\.json: changed since it was opened"):
        whole(source)


def test_ingest_of_every_version_is_equal(tmp_path: Path) -> None:
    """What zarr-python wrote and microtome ingests is what zarr-python reads of the layer."""
    for version, write in BIG.items():
        write(str(tmp_path / "a" / version), ARRAY)
        root = str(tmp_path / "root")
        words = ["--axes", "zyx", "--voxel-size", "2,1,1"]
        assert (
            main(["ingest", str(tmp_path / "a" / version), root, "--as", f"c/d/{version}", *words])
            == 0
        )
        layer = zarr.open_array(f"{root}/c/d/{version}/0", mode="r")
        np.testing.assert_array_equal(layer[:], ARRAY)


def test_the_formats_are_told_by_content(tmp_path: Path) -> None:
    """A folder with Zarr's metadata is Zarr, whatever it is called."""
    second(str(tmp_path / "plain"), ARRAY)
    assert format_of(str(tmp_path / "plain")).name == "Zarr"
    shutil.rmtree(tmp_path / "plain")
    os.mkdir(tmp_path / "plain.zarr")
    with pytest.raises(SourceError):
        open_source(str(tmp_path / "plain.zarr"))
