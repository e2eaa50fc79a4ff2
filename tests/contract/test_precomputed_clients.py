"""CloudVolume and TensorStore, unmodified, read precomputed volumes off the real service."""

import json
import struct
import urllib.request
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from numpy.typing import NDArray
from PIL import Image

from tests.contract.conftest import Line
from tests.later import Later

cloudvolume = Later("cloudvolume")
skeletons = Later("cloudvolume.datasource.precomputed.skeleton")

SIZES = ("--voxel-size", "z=2,y=0.5,x=0.25")
SMALL = ("--chunk", "z=16,y=16,x=16", "--shard", "z=32,y=32,x=32")
SHAPE = (29, 70, 53)
PACKED = ("uint32", "uint64")


def blobs(dtype: str) -> NDArray[Any]:
    """Return labels: boxes of one id each, among them the largest of the type."""
    rng = np.random.default_rng(3)
    ids = rng.integers(0, np.iinfo(dtype).max, (8, 18, 14), dtype, endpoint=True)
    ids[0, 0, 0], ids[-2, -2, -2] = 0, np.iinfo(dtype).max
    return np.kron(ids, np.ones((4, 4, 4), dtype))[: SHAPE[0], : SHAPE[1], : SHAPE[2]]


def noise(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return noise over all of a type's range, with smooth parts."""
    rng = np.random.default_rng(len(shape))
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 1e5, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def serve(line: Line, folder: Path, voxels: NDArray[Any], name: str, *words: str) -> str:
    """Ingest voxels and return the address of the precomputed volume."""
    path = folder / "in.npy"
    np.save(path, voxels)
    line.ingest(path, name, *words)
    return f"{line.url}/precomputed/{name}"


def as_read(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return (c) z y x voxels as CloudVolume gives them: x y z c."""
    return (voxels if voxels.ndim == 4 else voxels[None]).T


def open_tensorstore(url: str, level: int = 0) -> ts.TensorStore:
    """Open a scale over HTTP."""
    spec = {"driver": "neuroglancer_precomputed", "kvstore": f"{url}/", "scale_index": level}
    return ts.open(spec, open=True).result()


def fetch(url: str) -> bytes:
    """Return a body."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        body: bytes = answer.read()
    return body


@pytest.mark.parametrize(
    ("shape", "axes", "dtype"),
    [
        (SHAPE, "zyx", "uint8"),
        (SHAPE, "zyx", "uint16"),
        (SHAPE, "zyx", "int16"),
        (SHAPE, "zyx", "float32"),
        ((3, *SHAPE), "czyx", "uint16"),
        ((90, 61), "yx", "uint8"),
    ],
)
def test_images_come_back_voxel_by_voxel(
    line: Line, tmp_path: Path, shape: tuple[int, ...], axes: str, dtype: str
) -> None:
    """Both clients read every level of an image as zarr-python does, with its bounds and the voxel
    size in nm; the whole and boxes off the grid.
    """
    voxels, name = noise(shape, dtype), f"precomputed/{dtype}/{axes}"
    chunks = [",".join(s for s in word.split(",") if s[0] in axes) for word in SMALL[1::2]]
    words = ("--chunk", chunks[0], "--shard", chunks[1], "--voxel-size",
             ",".join(s for s in SIZES[1].split(",") if s[0] in axes))  # fmt: skip
    url = serve(line, tmp_path, voxels, name, "--axes", axes, *words)
    levels = cloudvolume.CloudVolume(f"precomputed://{url}").available_mips
    assert len(levels) > 1
    for level in levels:
        stored = np.asarray(zarr.open_array(f"{line.root}/{name}/{level}", mode="r")[...])
        assert level or np.array_equal(stored, voxels)
        expected = as_read(stored if "z" in axes else stored[None])
        volume = cloudvolume.CloudVolume(f"precomputed://{url}", mip=level, progress=False)
        assert volume.dtype == np.dtype(dtype)
        assert list(volume.bounds.minpt) == [0, 0, 0]
        assert list(volume.bounds.maxpt) == list(expected.shape[:3])
        assert np.array_equal(np.asarray(volume[:, :, :]), expected)
        inside = tuple(slice(n // 3, n - n // 4) for n in expected.shape[:3])
        assert np.array_equal(np.asarray(volume[inside]), expected[inside])
        array = open_tensorstore(url, level)
        assert array.dimension_units == (*[ts.Unit(n, "nm") for n in volume.resolution], None)
        assert array.shape == expected.shape
        assert np.array_equal(array.read().result(), expected)
    thick = 2000 if "z" in axes else 250
    assert list(cloudvolume.CloudVolume(f"precomputed://{url}").resolution) == [250, 500, thick]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int32", "int64"])
def test_labels_keep_every_id(line: Line, tmp_path: Path, dtype: str) -> None:
    """Labels of any type are a segmentation; those of 32 and 64 bits come as compressed
    segmentation unasked, all others where it is asked for, and raw where that is asked for.
    """
    labels, name = blobs(dtype), f"precomputed/labels/{dtype}"
    words = ("--axes", "zyx", *SIZES, *SMALL, "--kind", "labels")
    url = serve(line, tmp_path, labels, name, *words)
    unsigned = dtype.replace("int", "uint").replace("uu", "u")
    for view, encoding, sent in (
        ("", "compressed_segmentation" if unsigned in PACKED else "raw", unsigned),
        ("/compressed_segmentation", "compressed_segmentation",
         unsigned if unsigned in PACKED else "uint32"),
        ("/raw", "raw", unsigned),
    ):  # fmt: skip
        volume = cloudvolume.CloudVolume(f"precomputed://{url}{view}", progress=False)
        assert (volume.layer_type, volume.encoding) == ("segmentation", encoding)
        assert volume.dtype == np.dtype(sent)
        assert np.array_equal(np.asarray(volume[:, :, :]), as_read(labels))
        array = open_tensorstore(url + view)
        assert np.array_equal(array.read().result(), as_read(labels))
    coarse = np.asarray(zarr.open_array(f"{line.root}/{name}/1", mode="r")[...])
    assert np.array_equal(open_tensorstore(url, 1).read().result(), as_read(coarse))


def test_pictures_are_exact_or_near(line: Line, tmp_path: Path) -> None:
    """PNG of uint8 and uint16 is exact and JPEG near; three channels are three colours.

    CloudVolume reads grey JPEG alone: version 12 mixes the channels even of its own.
    """
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    smooth = (128 + 100 * np.sin(z / 9) * np.sin(y / 11) * np.cos(x / 13)).astype("uint8")
    colours = np.stack([smooth, 255 - smooth, smooth // 2])
    for name, axes, voxels in (("grey", "zyx", smooth), ("rgb", "czyx", colours)):
        words = ("--axes", axes, *SIZES, *SMALL)
        url = serve(line, tmp_path, voxels, f"precomputed/pictures/{name}", *words)
        exact = open_tensorstore(f"{url}/png").read().result()
        assert np.array_equal(exact, as_read(voxels))
        near = [open_tensorstore(f"{url}/jpeg").read().result()]
        if axes == "zyx":
            near += [np.asarray(cloudvolume.CloudVolume(f"precomputed://{url}/jpeg")[:, :, :])]
        for picture in near:
            difference = np.abs(picture.astype(int) - as_read(voxels))
            assert difference.max() <= 24
            assert difference.mean() < 2
        one = Image.open(BytesIO(fetch(f"{url}/png/0/0-16_16-32_0-16")))
        assert one.size == (16, 256)
        rows = np.asarray(one).reshape(16, 16, 16, -1)
        assert np.array_equal(np.moveaxis(rows, -1, 0), voxels[..., :16, 16:32, :16].reshape(
            -1, 16, 16, 16))  # fmt: skip
    deep = noise((2, *SHAPE), "uint16")
    url = serve(line, tmp_path, deep, "precomputed/pictures/deep", "--axes", "czyx", *SIZES, *SMALL)
    for channel in (0, 1):
        read = open_tensorstore(f"{url}/c{channel}-png").read().result()
        assert np.array_equal(read, as_read(deep[channel]))


def test_each_time_point_is_a_volume(line: Line, tmp_path: Path) -> None:
    """A recording shows its first time point, and any other by its number."""
    voxels = noise((3, 2, 9, 40, 33), "uint16")
    words = ("--axes", "tczyx", *SIZES, "--time-step", "1")
    url = serve(line, tmp_path, voxels, "precomputed/times/noise", *words)
    for view, expected in (
        ("", voxels[0]),
        ("/t0", voxels[0]),
        ("/t2", voxels[2]),
        ("/t1-c1-raw", voxels[1, 1]),
    ):
        volume = cloudvolume.CloudVolume(f"precomputed://{url}{view}", progress=False)
        assert np.array_equal(np.asarray(volume[:, :, :]), as_read(expected))
        assert np.array_equal(open_tensorstore(url + view).read().result(), as_read(expected))


TREE = "".join(
    f"{n} {kind} {x} {y} {z} {radius} {parent}\n"
    for n, kind, x, y, z, radius, parent in [
        (1, 1, 10, 20.5, -3, 5, -1),
        (2, 3, 11.25, 22, 4, 1, 1),
        (7, 3, 13, 25, 9, 0.5, 2),
        (4, 2, 8, 18, 40, 0.25, 1),
    ]
)


def test_a_skeleton_is_that_of_the_file(line: Line, tmp_path: Path) -> None:
    """CloudVolume reads vertices and radii in nm, edges and types, from the source itself and by
    way of a layer of the same dataset.
    """
    (tmp_path / "cell.swc").write_text(TREE)
    labels = serve(line, tmp_path, blobs("uint32"), "precomputed/traced/cells", "--axes", "zyx",
                   *SIZES, "--kind", "labels")  # fmt: skip
    line.ingest(tmp_path / "cell.swc", "precomputed/traced/cell", "--unit", "um")
    url = f"{line.url}/precomputed/precomputed/traced/annotations/cell/skeletons"
    rows = np.loadtxt(tmp_path / "cell.swc")
    beside = cloudvolume.CloudVolume(
        f"precomputed://{labels}", skel_dir="../annotations/cell/skeletons"
    )
    for source in (skeletons.PrecomputedSkeletonSource.from_cloudpath(url), beside.skeleton):
        found = source.get(1)
        assert np.allclose(found.vertices, rows[:, 2:5] * 1000)
        assert np.allclose(found.radius, rows[:, 5] * 1000)
        assert list(found.vertex_types) == [1, 3, 3, 2]
        assert sorted(map(tuple, np.sort(found.edges, axis=1).tolist())) == [(0, 1), (0, 3), (1, 2)]
        assert found.components()[0].vertices.shape == (4, 3)


def decode(body: bytes, ends: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Read a list of annotations by the published format: rows of numbers, and ids."""
    count = struct.unpack_from("<Q", body)[0]
    row = struct.Struct(f"<{3 * ends}ffBxxx")
    rows = [row.unpack_from(body, 8 + i * row.size) for i in range(count)]
    ids = struct.unpack_from(f"<{count}Q", body, 8 + count * row.size)
    assert len(body) == 8 + count * (row.size + 8)
    return np.array(rows), np.array(ids)


def test_annotations_are_the_nodes_of_the_file(line: Line, tmp_path: Path) -> None:
    """Nodes are points and connections lines, by list and by id; CloudVolume reads the points."""
    (tmp_path / "cell.swc").write_text(TREE)
    line.ingest(tmp_path / "cell.swc", "precomputed/noted/cell", "--unit", "um")
    url = f"{line.url}/precomputed/precomputed/noted/annotations/cell"
    rows = np.loadtxt(tmp_path / "cell.swc")
    by_number = {int(row[0]): row for row in rows}
    points = cloudvolume.from_cloudpath(f"precomputed://{url}/points").get_all()
    order = np.argsort(rows[:, 0])
    mine = np.argsort(points.ids)
    assert list(points.ids[mine]) == [1, 2, 4, 7]
    assert np.allclose(points.geometry[mine], rows[order, 2:5])
    assert np.allclose(points.properties["radius"][mine], rows[order, 5])
    assert list(points.properties["type"][mine]) == [1, 3, 2, 3]
    one = cloudvolume.from_cloudpath(f"precomputed://{url}/points").get_by_id(7)
    assert np.allclose(one.geometry, rows[2, 2:5])
    info = json.loads(fetch(f"{url}/lines/info"))
    assert info["annotation_type"] == "LINE"
    assert info["dimensions"] == {axis: [1e-6, "m"] for axis in "xyz"}
    lines, ids = decode(fetch(f"{url}/lines/{info['spatial'][0]['key']}/0_0_0"), 2)
    assert sorted(ids) == [2, 4, 7]
    for line_, number in zip(lines, ids, strict=True):
        child = by_number[int(number)]
        assert list(line_[:6]) == [*child[2:5], *by_number[int(child[6])][2:5]]
        assert list(line_[6:]) == [child[5], child[1]]
        alone = fetch(f"{url}/lines/by_id/{number}")
        assert alone == struct.pack("<7fBxxx", *line_[:7], int(line_[7]))
    low, high = np.array(info["lower_bound"]), np.array(info["upper_bound"])
    assert (low <= rows[:, 2:5].min(axis=0)).all()
    assert (high >= rows[:, 2:5].max(axis=0)).all()


@pytest.mark.samples
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("czi/czitools/CellDivision_T3_Z5_CH2_X240_Y170_comp1.czi", ("--unit", "pixel")),
        (
            "tiff_sequence/vnc-sstem/labels",
            ("--kind", "labels", "--axes", "zyx", "--voxel-size", "z=0.045,y=0.0046,x=0.0046"),
        ),
    ],
)
def test_real_files_are_read(line: Line, samples: Path, name: str, words: tuple[str, ...]) -> None:
    """A recording by a microscope and a segmentation of tissue come back as they are stored."""
    layer = f"precomputed/real/{Path(name).stem.lower()}"
    line.ingest(samples / name, layer, *words)
    stored = np.asarray(zarr.open_array(f"{line.root}/{layer}/0", mode="r")[...])
    stored = stored[0] if stored.ndim == 5 else stored
    url = f"{line.url}/precomputed/{layer}"
    volume = cloudvolume.CloudVolume(f"precomputed://{url}", progress=False)
    assert np.array_equal(np.asarray(volume[:, :, :]), as_read(stored))
    assert np.array_equal(open_tensorstore(url).read().result(), as_read(stored))
