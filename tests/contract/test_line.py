"""A file in, an array out: the real command, the real service on a socket, the real client."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import microtome
from microtome_cli.main import main
from microtome_core.store.location import Store
from tests.contract.conftest import Line, running
from tests.later import Later

SIZES = ("--voxel-size", "z=2,y=0.5,x=0.5")
SHAPES = {
    "yx": (301, 257),
    "zyx": (17, 131, 99),
    "cyx": (3, 65, 41),
    "czyx": (2, 9, 77, 63),
    "tczyx": (2, 3, 5, 33, 47),
}


def noise(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return noise over all of a type's range."""
    rng = np.random.default_rng(len(shape))
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, np.dtype(dtype).newbyteorder("="), True)


@pytest.mark.parametrize("axes", SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "uint64", "float32"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_what_comes_out_is_what_went_in(
    line: Line, tmp_path: Path, axes: str, dtype: str, order: str
) -> None:
    """Any type, any number of axes, either byte order and odd sizes come back voxel by voxel, to
    the client and to zarr-python, and the layer is valid OME-Zarr.
    """
    voxels = noise(SHAPES[axes], dtype)
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, voxels, byteorder=order, photometric="minisblack")
    name = f"contract/{axes}-{'be' if order == '>' else 'le'}/{dtype}"
    sizes = ("--voxel-size", ",".join(s for s in SIZES[1].split(",") if s[0] in axes))
    volume = microtome.open(line.ingest(path, name, "--axes", axes, *sizes))
    assert (volume.axes, volume.shape, volume.dtype) == (axes, voxels.shape, np.dtype(dtype))
    assert np.array_equal(volume[...], voxels)
    assert np.array_equal(zarr.open_array(f"{line.root}/{name}/0", mode="r")[...], voxels)
    Later("ome_zarr_models").open_ome_zarr(zarr.open_group(f"{line.root}/{name}", mode="r"))


@pytest.fixture(scope="module")
def stack(line: Line, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, NDArray[Any]]:
    """Ingest one stack in many small shards; return its address and its voxels."""
    voxels = noise((29, 90, 71), "uint16")
    path = tmp_path_factory.mktemp("stack") / "stack.npy"
    np.save(path, voxels)
    options = ("--axes", "zyx", *SIZES, "--chunk", "8,16,16", "--shard", "16,32,32")
    return line.ingest(path, "contract/stack/noise", *options), voxels


@st.composite
def indices(draw: st.DrawFn) -> tuple[int | slice, ...]:
    """Any basic index into the stack."""
    extents = (29, 90, 71)[: draw(st.integers(0, 3))]
    return tuple(draw(st.integers(-n, n - 1) | st.slices(n)) for n in extents)


@given(indices())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_reading_any_region_equals_slicing_the_source(
    stack: tuple[str, NDArray[Any]], index: tuple[int | slice, ...]
) -> None:
    """Whatever NumPy accepts as a basic index gives the source's own voxels."""
    url, voxels = stack
    assert np.array_equal(microtome.open(url)[index], voxels[index])


def test_levels_are_what_zarr_python_reads(line: Line, stack: tuple[str, NDArray[Any]]) -> None:
    """Every level of the pyramid is served as it is stored."""
    volume = microtome.open(stack[0])
    assert len(volume.levels) > 1
    for n in range(len(volume.levels)):
        stored = zarr.open_array(f"{line.root}/contract/stack/noise/{n}", mode="r")[...]
        assert np.array_equal(volume.level(n)[...], stored)


def test_ingesting_twice_is_ingesting_once(line: Line, tmp_path: Path) -> None:
    """The second run changes no byte on disk."""
    path = tmp_path / "twice.npy"
    np.save(path, noise((7, 40, 40), "uint16"))
    options = ("--axes", "zyx", *SIZES)
    line.ingest(path, "contract/twice/noise", *options)
    folder = line.root / "contract/twice"
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}
    line.ingest(path, "contract/twice/noise", *options)
    after = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}
    assert before == after


def test_labels_are_found_below_their_image_and_by_their_own_name(
    line: Line, tmp_path: Path
) -> None:
    """Labels keep every id, have as many levels as their image, and are addressed like a layer."""
    image, labels = noise((8, 64, 48), "uint8"), np.zeros((8, 64, 48), "uint32")
    labels[2:6, 10:50, 5:40] = 2**31 + 7
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "labels.npy", labels)
    options = ("--axes", "zyx", *SIZES)
    above = line.ingest(tmp_path / "image.npy", "contract/cells/image", *options, "--levels", "3")
    url = line.ingest(
        tmp_path / "labels.npy",
        "contract/cells/nuclei",
        *(*options, "--kind", "labels", "--labels-of", "image"),
    )
    volume = microtome.open(url)
    assert np.array_equal(volume[...], labels)
    assert len(volume.levels) == len(microtome.open(above).levels) == 3
    assert set(np.unique(volume.level(2)[...])) <= {0, 2**31 + 7}
    group = zarr.open_group(f"{line.root}/contract/cells/image/labels", mode="r")
    assert dict(group.attrs)["ome"]["labels"] == ["nuclei"]  # type: ignore[index, call-overload]
    Later("ome_zarr_models").open_ome_zarr(
        zarr.open_group(f"{line.root}/contract/cells/image/labels/nuclei", mode="r")
    )


def test_a_damaged_shard_is_an_error_at_the_client(line: Line, tmp_path: Path) -> None:
    """A flipped byte ends in an error that says so, never in voxels."""
    np.save(tmp_path / "in.npy", noise((8, 64, 64), "uint16"))
    url = line.ingest(tmp_path / "in.npy", "contract/damaged/noise", "--axes", "zyx", *SIZES)
    shard = next((line.root / "contract/damaged/noise/0").rglob("c/*/*/*"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 0xFF
    shard.write_bytes(data)
    with pytest.raises(microtome.errors.MicrotomeError, match=r"503|storage"):
        microtome.open(url, retries=0)[...]


def test_the_line_holds_on_s3(
    s3_store: Store, tmp_path: Path, unused_port: Callable[[], int]
) -> None:
    """Ingest into a bucket, serve from it, read the same voxels."""
    voxels = noise((9, 70, 50), "uint16")
    np.save(tmp_path / "in.npy", voxels)
    words = ["ingest", str(tmp_path / "in.npy"), s3_store.url, "--as", "contract/s3/noise"]
    assert main([*words, "--axes", "zyx", *SIZES]) == 0
    with running(s3_store.url, unused_port()) as url:
        volume = microtome.open(f"{url}/contract/s3/noise")
        assert np.array_equal(volume[...], voxels)
        assert np.array_equal(volume[3, ::2, -7:], voxels[3, ::2, -7:])
