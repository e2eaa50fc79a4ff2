"""Neuroglancer precomputed as TensorStore writes it: every encoding, packed files, shards."""

import gzip
import json
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import compresso
import imagecodecs
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

RANDOM = np.random.default_rng(6)
# c, z, y, x
ARRAY = RANDOM.integers(1, 60000, (2, 21, 40, 33), "uint16")
IDS = np.repeat(RANDOM.integers(0, 2**40, (21, 20, 33), "uint64"), 2, axis=1)
SHARDS = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "preshift_bits": 1,
    "hash": "murmurhash3_x86_128",
    "minishard_bits": 1,
    "shard_bits": 2,
    "minishard_index_encoding": "gzip",
    "data_encoding": "gzip",
}


def volume(
    path: Path,
    array: NDArray[Any],
    encoding: str = "raw",
    chunk: Sequence[int] = (16, 20, 10),
    offset: Sequence[int] = (0, 0, 0),
    **more: Any,  # noqa: ANN401
) -> str:
    """Write a volume (c, z, y, x or z, y, x) with TensorStore."""
    full = array if array.ndim == 4 else array[None]
    scale = {
        "key": "8_8_40",
        "size": full.shape[:0:-1],
        "chunk_size": chunk,
        "resolution": [8, 8, 40],
        "encoding": encoding,
        "voxel_offset": offset,
        **more,
    }
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "multiscale_metadata": {
            "type": "segmentation" if array.dtype == np.uint64 else "image",
            "data_type": array.dtype.name,
            "num_channels": len(full),
        },
        "scale_metadata": scale,
    }
    store = ts.open(spec, create=True).result()
    store.write(full.T).result()
    return str(path)


def compressed(path: Path, array: NDArray[Any], chunk: Sequence[int] = (16, 20, 10)) -> str:
    """Write a volume in chunks of compresso, as cloud-volume does: packed by gzip."""
    described = {
        "key": "s0",
        "size": array.shape[::-1],
        "resolution": [8, 8, 40],
        "chunk_sizes": [chunk],
        "encoding": "compresso",
        "voxel_offset": [0, 0, 0],
    }
    info = {"data_type": array.dtype.name, "num_channels": 1, "type": "segmentation"}
    (path / "s0").mkdir(parents=True)
    (path / "info").write_text(json.dumps({**info, "scales": [described]}))
    for part in Region.whole("zyx", array.shape).split(chunk[::-1]):
        edges = zip(part.start[::-1], part.stop[::-1], strict=True)
        name = "_".join(f"{low}-{high}" for low, high in edges)
        packed = compresso.compress(np.asfortranarray(array[part.slices].T))
        (path / "s0" / f"{name}.gz").write_bytes(gzip.compress(packed))
    return str(path)


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


def regions(axes: str, shape: Sequence[int], seed: int, count: int) -> Iterable[Region]:
    """Yield random regions."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        edges = [np.sort(random.choice(n + 1, 2, replace=False)) for n in shape]
        yield Region(axes, tuple(int(e[0]) for e in edges), tuple(int(e[1]) for e in edges))


CASES: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
    "raw": (ARRAY[0], {}),
    "raw channels": (ARRAY, {}),
    "raw float": (ARRAY[0].astype("float32"), {}),
    "png": (ARRAY[0], {"encoding": "png"}),
    "png channels": ((ARRAY % 251).astype("uint8"), {"encoding": "png"}),
    "compressed_segmentation": (
        IDS,
        {"encoding": "compressed_segmentation", "compressed_segmentation_block_size": [8, 8, 8]},
    ),
    "raw moved": (ARRAY[0], {"offset": (100, 7, 30)}),
    "raw sharded": (ARRAY[0], {"sharding": SHARDS}),
    "segmentation sharded": (
        IDS,
        {
            "encoding": "compressed_segmentation",
            "compressed_segmentation_block_size": [4, 4, 4],
            "sharding": {**SHARDS, "data_encoding": "raw", "hash": "identity"},
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_any_region_of_any_encoding(tmp_path: Path, case: str) -> None:
    """A region is what was written, with its axes turned, slowest first."""
    array, options = CASES[case]
    source = open_source(volume(tmp_path / "a", array, **options))
    found = source.description
    axes = "czyx" if array.ndim == 4 else "zyx"
    block = (2, 10, 20, 16) if array.ndim == 4 else (10, 20, 16)
    assert (found.axes, found.shape, found.dtype) == (axes, array.shape, array.dtype.name)
    assert (found.block, found.unit) == (block, "nanometer")
    assert found.voxel_size == {"z": 40.0, "y": 8.0, "x": 8.0}
    for region in regions(axes, array.shape, 1, 12):
        voxels = source.read(region)
        np.testing.assert_array_equal(voxels, array[region.slices], strict=True)
        assert voxels.flags.c_contiguous
        assert voxels.flags.writeable
    source.close()
    source.close()
    np.testing.assert_array_equal(whole(source), array)
    assert source.decoded >= array.nbytes


def test_jpeg_is_read_as_it_is_decoded_and_said_to_be_lossy(tmp_path: Path) -> None:
    """Each chunk of JPEG is what a JPEG decoder of another library makes of the file."""
    array = (ARRAY[0] >> 8).astype("uint8")
    source = open_source(volume(tmp_path / "a", array, "jpeg", (33, 40, 21)))
    [file] = [p for p in (tmp_path / "a" / "8_8_40").iterdir() if "-" in p.name]
    expected = imagecodecs.jpeg8_decode(file.read_bytes()).reshape(array.shape)
    np.testing.assert_array_equal(whole(source), expected)
    assert "with loss" in source.description.notes[0]


def test_compresso_is_read_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Chunks of compresso, which TensorStore lacks, are read too; damage is an error only."""
    source = open_source(compressed(tmp_path / "a", IDS))
    assert "--kind labels keeps them whole" in source.description.notes[0]
    for region in regions("zyx", IDS.shape, 3, 8):
        np.testing.assert_array_equal(source.read(region), IDS[region.slices], strict=True)
    source.close()
    chunk = tmp_path / "a" / "s0" / "0-16_0-20_0-10.gz"
    content = gzip.decompress(chunk.read_bytes())
    chunk.with_suffix("").write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError):
        whole(source)
    source.close()


def chunks(path: str | Path) -> list[Path]:
    """Return the chunk files of a volume."""
    return sorted(p for p in Path(path).rglob("*") if "-" in p.name and p.is_file())


@pytest.mark.parametrize("packing", [".gz", "", ".br", ".zstd"])
def test_packed_chunk_files_are_unpacked(tmp_path: Path, packing: str) -> None:
    """Files packed by gzip, by that name or as services store them, and others by their names."""
    pack = {
        ".br": imagecodecs.brotli_encode,
        ".zstd": imagecodecs.zstd_encode,
    }.get(packing, gzip.compress)
    path = volume(tmp_path / "a", ARRAY)
    for file in chunks(path):
        content = pack(file.read_bytes())
        file.unlink()
        file.with_name(f"{file.name}{packing}").write_bytes(content)
    source = open_source(path)
    assert source.description.notes == ()
    np.testing.assert_array_equal(whole(source), ARRAY)


def test_voxels_that_begin_like_gzip_are_voxels(tmp_path: Path) -> None:
    """Raw voxels whose first bytes are those of a packed file are read as they are."""
    array = ARRAY[0].copy()
    array[:, ::20, ::16] = 0x8B1F
    np.testing.assert_array_equal(whole(open_source(volume(tmp_path / "a", array))), array)


def test_a_missing_chunk_is_told_and_an_error(tmp_path: Path) -> None:
    """A chunk that is not there is counted in a note, and reading it is an error, never 0."""
    path = volume(tmp_path / "a", ARRAY[0])
    lost = chunks(path)[0]
    lost.unlink()
    source = open_source(path)
    assert source.description.notes[0].startswith("1 of 18 chunks are missing")
    source.read(Region("zyx", (10, 0, 0), (21, 40, 33)))
    with pytest.raises(SourceError, match=f"8_8_40/{lost.name} is missing"):
        whole(source)
    assert main(["ingest", path, str(tmp_path / "root"), "--as", "c/d/l"]) == 2
    assert not (tmp_path / "root" / "c" / "d" / "l" / "zarr.json").exists()


def test_a_chunk_that_is_missing_in_a_shard_is_an_error(tmp_path: Path) -> None:
    """A shard that is lost is no 0 either."""
    path = volume(tmp_path / "a", ARRAY[0], sharding=SHARDS)
    for file in Path(path).rglob("*.shard"):
        file.unlink()
    with pytest.raises(SourceError, match="is missing"):
        whole(open_source(path))


def test_another_scale_is_named_by_its_key(tmp_path: Path) -> None:
    """The finest scale is the image; ``::key`` names another."""
    path = volume(tmp_path / "a", ARRAY[0])
    half = volume(tmp_path / "b", ARRAY[0, ::2, ::2, ::2], key="16_16_80", resolution=[16, 16, 80])
    infos = [json.loads((Path(p) / "info").read_text()) for p in (path, half)]
    infos[0]["scales"] += infos[1]["scales"]
    (tmp_path / "a" / "info").write_text(json.dumps(infos[0]))
    shutil.copytree(tmp_path / "b" / "16_16_80", tmp_path / "a" / "16_16_80")
    assert [s.shape for s in scenes(path)] == [ARRAY.shape[1:]]
    source = open_source(f"{path}::16_16_80")
    assert source.description.voxel_size == {"z": 80.0, "y": 16.0, "x": 16.0}
    np.testing.assert_array_equal(whole(source), ARRAY[0, ::2, ::2, ::2])
    with pytest.raises(SourceError, match="has no scale '1', but 8_8_40, 16_16_80"):
        open_source(f"{path}::1")
    with pytest.raises(SourceError, match="has no scene 1"):
        open_source(path, 1)


def test_where_a_volume_lies_is_kept(tmp_path: Path) -> None:
    """The offset of the first voxel becomes an origin in the record, and all of info is there."""
    found = open_source(volume(tmp_path / "a", ARRAY[0], offset=(100, -7, 30))).description
    assert found.metadata["origin"] == {"z": 1200.0, "y": -56.0, "x": 800.0, "unit": "nanometer"}
    assert "z=1200, y=-56, x=800 nanometer" in found.notes[0]
    info = found.metadata["Neuroglancer precomputed"]["info"]
    assert info["scales"][0]["voxel_offset"] == [100, -7, 30]


@pytest.mark.parametrize("address", ["{}", "{}/", "precomputed://{}", "precomputed://file://{}"])
def test_addresses(tmp_path: Path, address: str) -> None:
    """A folder is a volume with or without the scheme before it."""
    path = volume(tmp_path / "a", ARRAY[0])
    source = open_source(address.format(path))
    assert format_of(address.format(path)).module.endswith(".precomputed")
    np.testing.assert_array_equal(whole(source), ARRAY[0])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"@type": "neuroglancer_multilod_draco"}, "neuroglancer_multilod_draco, not a volume"),
        ({"@type": "neuroglancer_skeletons"}, "neuroglancer_skeletons, not a volume"),
        ({"scales": []}, "lists no scales"),
        ({"scales": None}, "lists no scales"),
        ({"scales": ["a"]}, "a"),
        ({"data_type": "float16"}, "float16"),
        ({"data_type": "picture"}, "picture"),
        ({"num_channels": 0}, "num_channels"),
        ({"num_channels": 1 << 40}, "num_channels"),
    ],
    ids=str,
)
def test_what_is_no_volume_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    """Folders of meshes or skeletons, and types that are not stored, are named."""
    path = volume(tmp_path / "a", ARRAY[0])
    info = json.loads((tmp_path / "a" / "info").read_text())
    (tmp_path / "a" / "info").write_text(json.dumps({**info, **changes}))
    with pytest.raises(SourceError, match=reason):
        open_source(path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"encoding": "fpzip"}, "'fpzip' is not read"),
        ({"size": [1, 2]}, "size"),
        ({"size": [0, 40, 21]}, "size"),
        ({"chunk_sizes": [[1 << 20, 1 << 20, 1]], "size": [1 << 20] * 3}, "no more than"),
        ({"chunk_sizes": []}, "a"),
        ({"chunk_sizes": [[0, 1, 1]]}, "chunk_sizes"),
        ({"resolution": [0, 1, 1]}, "resolution"),
        ({"resolution": ["a", 1, 1]}, "a"),
        ({"key": "../b"}, "leads out of its folder"),
        ({"sharding": {"@type": "other"}}, "a"),
        ({"voxel_offset": [0.5, 0, 0]}, "voxel_offset"),
    ],
    ids=str,
)
def test_scales_that_cannot_be_are_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    """Encodings that are not read and numbers that cannot be are named."""
    path = volume(tmp_path / "a", ARRAY[0])
    info = json.loads((tmp_path / "a" / "info").read_text())
    info["scales"][0].update(changes)
    (tmp_path / "a" / "info").write_text(json.dumps(info))
    with pytest.raises(SourceError, match=reason):
        whole(open_source(path))


@pytest.mark.parametrize("encoding", ["raw", "png", "compressed_segmentation"])
@pytest.mark.parametrize("cut", [0, 1, 30, -40])
def test_a_chunk_that_is_cut_off_is_an_error(tmp_path: Path, encoding: str, cut: int) -> None:
    """A damaged chunk is named with what is wrong."""
    array = IDS if encoding == "compressed_segmentation" else ARRAY[0]
    block = {"compressed_segmentation_block_size": [8, 8, 8]} if array is IDS else {}
    path = volume(tmp_path / "a", array, encoding, **block)
    chunk = chunks(path)[3]
    chunk.write_bytes(chunk.read_bytes()[:cut])
    with pytest.raises(SourceError, match=chunk.name):
        whole(open_source(path))


def test_bombs_are_refused(tmp_path: Path) -> None:
    """A chunk file that inflates to far more than a chunk, or is far longer, is an error."""
    path = volume(tmp_path / "a", ARRAY[0])
    first, second, *_ = chunks(path)
    first.rename(f"{first}.gz").write_bytes(gzip.compress(bytes(100 << 20)))
    with pytest.raises(SourceError, match="more than a chunk holds"):
        whole(open_source(path))
    Path(f"{first}.gz").unlink()
    shutil.copy(second, first)
    with second.open("r+b") as file:
        file.truncate(100 << 20)
    with pytest.raises(SourceError, match="more than it can hold"):
        whole(open_source(path))


@pytest.mark.parametrize("how", ["link", "folder"])
def test_what_is_no_chunk_file_is_an_error(tmp_path: Path, how: str) -> None:
    """A folder or a link out of the volume in a chunk's place is refused."""
    path = volume(tmp_path / "a", ARRAY[0])
    chunk = chunks(path)[0]
    chunk.rename(tmp_path / "elsewhere")
    if how == "link":
        chunk.symlink_to(tmp_path / "elsewhere")
    else:
        chunk.mkdir()
    with pytest.raises(SourceError, match=f"{chunk.name}: is "):
        whole(open_source(path))


def test_threads_read_at_once(tmp_path: Path) -> None:
    """Many threads get what one would."""
    source = open_source(volume(tmp_path / "a", ARRAY, "png", (16, 20, 10)))
    asked = list(regions("czyx", ARRAY.shape, 2, 40))
    with ThreadPoolExecutor(8) as pool:
        for region, voxels in zip(asked, pool.map(source.read, asked), strict=True):
            np.testing.assert_array_equal(voxels, ARRAY[region.slices])


@pytest.mark.parametrize("sharded", [False, True])
def test_a_volume_on_s3_reads_as_here(tmp_path: Path, s3_store: Store, sharded: bool) -> None:
    """Chunks packed without a word, shards, and missing chunks: on S3 all is as it is here."""
    path = volume(tmp_path / "a", ARRAY[0], **({"sharding": SHARDS} if sharded else {}))
    for file in Path(path).rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            packed = gzip.compress(content) if "-" in file.name else content
            s3_store.write(f"a/{file.relative_to(path).as_posix()}", packed)
    source = open_source(f"{s3_store.url}/a", None, s3_store.options)
    assert source.description.notes == ()
    np.testing.assert_array_equal(whole(source), ARRAY[0])
    if not sharded:
        s3_store.remove(f"a/{chunks(path)[0].relative_to(path).as_posix()}")
        with pytest.raises(SourceError, match="is missing"):
            whole(source)


def test_ingest_is_equal(tmp_path: Path) -> None:
    """What TensorStore wrote and microtome ingests is what zarr-python reads of the layer."""
    path = volume(tmp_path / "a", IDS)
    words = ["--as", "c/d/l", "--kind", "labels"]
    assert main(["ingest", path, str(tmp_path / "root"), *words]) == 0
    layer = zarr.open_array(str(tmp_path / "root" / "c" / "d" / "l" / "0"), mode="r")
    np.testing.assert_array_equal(layer[:], IDS)
