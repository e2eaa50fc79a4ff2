"""Readers of OME-Zarr, unmodified, over HTTP: each sees the voxels of the source."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import tensorstore
import tifffile
import xarray
import zarr
from numpy.typing import NDArray
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from zarr.storage import FsspecStore

from microtome_core.store.ledger import shard_key
from tests.contract.conftest import Line
from tests.later import Later

SIZES = ("--voxel-size", "z=2,y=0.5,x=0.5")
LAYOUT = (*SIZES, "--chunk", "z=8,y=16,x=16", "--shard", "z=16,y=32,x=32")


@dataclass(frozen=True)
class Served:
    """What is served, and the voxels that went in.

    Parameters
    ----------
    line : Line
    sources : dict
        The source's voxels, by the path of an array of level 0 below ``/zarr``.
    """

    line: Line
    sources: dict[str, NDArray[Any]]

    @property
    def url(self) -> str:
        """The root of the store."""
        return f"{self.line.url}/zarr"

    @property
    def layers(self) -> dict[str, NDArray[Any]]:
        """The same voxels, by the path of the layer."""
        return {path.removesuffix("/0").removesuffix("/v2"): v for path, v in self.sources.items()}


@pytest.fixture(scope="module")
def served(line: Line, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Ingest several channels and times, labels below an image, and a layer that was replaced."""
    folder = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(5)
    multi = rng.integers(0, 60000, (2, 3, 20, 50, 70)).astype("uint16")
    image = rng.integers(0, 255, (20, 60, 70)).astype("uint8")
    labels = np.zeros((20, 60, 70), "uint32")
    labels[3:9, 10:40, 10:31] = 2**31 + 7

    def ingest(voxels: NDArray[Any], name: str, axes: str, *options: str) -> None:
        path = folder / f"{name}.npy"
        np.save(path, voxels)
        options = ("--levels", "2", *options)
        line.ingest(path, f"zarr/brain/{name}", "--axes", axes, *LAYOUT, *options)

    ingest(multi, "multi", "tczyx")
    ingest(image, "image", "zyx")
    ingest(labels, "cells", "zyx", "--kind", "labels", "--labels-of", "image")
    ingest(image, "again", "zyx")
    ingest(image[::-1], "again", "zyx", "--restart")
    sources = {
        "zarr/brain/multi/0": multi,
        "zarr/brain/image/0": image,
        "zarr/brain/image/labels/cells/0": labels,
        "zarr/brain/again/v2/0": image[::-1],
    }
    return Served(line, sources)


def equal(found: object, expected: NDArray[Any]) -> None:
    """Compare values and type."""
    array = np.asarray(found)
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


def test_zarr_python_walks_down_from_the_root(served: Served) -> None:
    """Every group lists its members, without a listing, and every array is read."""
    root = zarr.open_group(store=FsspecStore.from_url(served.url), mode="r")
    members = {path for path, _ in root["zarr"].members(max_depth=None)}  # type: ignore[union-attr]
    assert {path.removeprefix("zarr/") for path in served.sources} <= members
    for path, voxels in served.sources.items():
        array = root[path]
        assert isinstance(array, zarr.Array)
        equal(array[...], voxels)
        equal(array[..., 3:9, 1:40, ::7], voxels[..., 3:9, 1:40, ::7])


def test_zarr_python_opens_consolidated_groups(served: Served) -> None:
    """A dataset and a layer are opened by the metadata in their own document."""
    dataset = zarr.open_consolidated(f"{served.url}/zarr/brain")
    assert sorted(dataset) == ["again", "image", "multi"]
    layer = zarr.open_consolidated(f"{served.url}/zarr/brain/multi")
    equal(layer["0"][...], served.sources["zarr/brain/multi/0"])  # type: ignore[index]
    assert layer.attrs["ome"]["version"] == "0.5"  # type: ignore[index, call-overload]


def test_xarray_opens_a_level_with_its_coordinates(served: Served) -> None:
    """Named axes, coordinates in the layer's units, and the voxels, lazily or not."""
    for layer, voxels in served.layers.items():
        name = "labels" if "labels" in layer else "image"
        lazy = xarray.open_zarr(f"{served.url}/{layer}/xarray/0")
        equal(lazy[name].values, voxels)
        eager = xarray.open_dataset(f"{served.url}/{layer}/xarray/1", engine="zarr")
        folder = next(p for p in served.sources if p.startswith(layer)).rpartition("/")[0]
        stored = zarr.open_array(f"{served.line.root}/{folder}/1", mode="r")
        equal(eager[name].values, stored[...])
        assert eager[name].dims == tuple("tczyx" if "multi" in layer else "zyx")
        np.testing.assert_allclose(lazy["x"].values[:3], [0, 0.5, 1.0])
        np.testing.assert_allclose(eager["x"].values[:3], [0.25, 1.25, 2.25])
        assert lazy["x"].attrs["units"] == "micrometer"


def test_xarray_opens_a_layer_itself_by_one_of_its_levels(served: Served) -> None:
    """`open_zarr` on a layer's own group, once the other levels are dropped."""
    levels = len(zarr.open_group(f"{served.url}/zarr/brain/multi", mode="r"))
    others = [str(number) for number in range(1, levels)]
    found = xarray.open_zarr(f"{served.url}/zarr/brain/multi", drop_variables=others)
    equal(found["0"].values, served.sources["zarr/brain/multi/0"])


def test_dask_reads_arrays(served: Served) -> None:
    """`from_zarr` by address, and by layer and component."""
    for path, voxels in served.sources.items():
        equal(dask.array.from_zarr(f"{served.url}/{path}").compute(), voxels)
    multi = dask.array.from_zarr(f"{served.url}/zarr/brain/multi", component="0")
    equal(multi[1, :, 3:5].compute(), served.sources["zarr/brain/multi/0"][1, :, 3:5])


def open_tensorstore(url: str) -> tensorstore.TensorStore:
    """Open an array over HTTP, tried once."""
    kvstore = {"driver": "http", "base_url": f"{url}/"}
    context = tensorstore.Context({"http_request_retries": {"max_retries": 1}})
    return tensorstore.open({"driver": "zarr3", "kvstore": kvstore}, context=context).result()


def test_tensorstore_reads_shards_by_ranges(served: Served) -> None:
    """Its own sharding finds each chunk by the index at the end of a shard."""
    for path, voxels in served.sources.items():
        array = open_tensorstore(f"{served.url}/{path}")
        equal(array.read().result(), voxels)
        equal(array[..., 3:9, 20:21, 5:40].read().result(), voxels[..., 3:9, 20:21, 5:40])


@pytest.mark.slow
def test_ome_zarr_py_finds_images_and_labels(served: Served) -> None:
    """Its reader gives every level of a layer, and the labels below an image."""
    for layer, voxels in served.layers.items():
        location = parse_url(f"{served.url}/{layer}")
        assert location is not None
        nodes = {node.zarr.path.rstrip("/").removeprefix(f"{served.url}/"): node
                 for node in Reader(location)()}  # fmt: skip
        equal(nodes[layer].data[0].compute(), voxels)
        assert len(nodes[layer].data) > 1
        if layer.endswith("/image"):
            cells = nodes[f"{layer}/labels/cells"]
            equal(cells.data[0].compute(), served.sources["zarr/brain/image/labels/cells/0"])


@pytest.mark.slow
def test_ngff_zarr_reads_layers(served: Served) -> None:
    """Its own backend for addresses reads voxels, scales and units."""
    pytest.importorskip("obstore")
    from ngff_zarr import from_ngff_zarr

    for layer, voxels in served.layers.items():
        image = from_ngff_zarr(f"{served.url}/{layer}").images[0]
        equal(image.data.compute(), voxels)
        assert (image.scale["z"], image.scale["x"]) == (2.0, 0.5)


NAPARI = """
import sys
import numpy as np
from napari_ome_zarr import napari_get_reader

out, *urls = sys.argv[1:]
for url in urls:
    for data, options, kind in napari_get_reader(url)(url):
        first = data[0] if isinstance(data, (list, tuple)) else data
        name = f"{url.split('/')[-1]}-{kind}-{options.get('channel_axis')}"
        np.save(f"{out}/{name}.npy", np.asarray(first))
"""


@pytest.mark.slow
def test_napari_reads_images_with_channels_and_labels(served: Served, tmp_path: Path) -> None:
    """Its OME-Zarr reader, in a process without a display, gives layers of the same voxels."""
    urls = [f"{served.url}/zarr/brain/{name}" for name in ("multi", "image", "again")]
    subprocess.run(
        [sys.executable, "-c", NAPARI, str(tmp_path), *urls],
        check=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        stdout=subprocess.DEVNULL,
    )
    names = ("multi-image-1", "image-image-None", "image-labels-None", "again-image-None")
    assert {path.stem for path in tmp_path.iterdir()} == set(names)
    for name, voxels in zip(names, served.sources.values(), strict=True):
        equal(np.load(tmp_path / f"{name}.npy"), voxels)


@pytest.mark.parametrize("fault", ["lost", "empty", "cut", "changed"])
def test_a_shard_that_is_lost_or_damaged_is_an_error_to_every_reader(
    fault: str, line: Line, tmp_path: Path
) -> None:
    """Never zeros: zarr-python and TensorStore both raise, and read the other shards."""
    np.save(tmp_path / "in.npy", np.random.default_rng(1).integers(1, 255, (16, 64, 64), "uint8"))
    layer = f"zarr/{fault}/noise"
    line.ingest(tmp_path / "in.npy", layer, "--axes", "zyx", *LAYOUT)
    url, shard = f"{line.url}/zarr/{layer}/0", line.root / layer / shard_key(0, (0, 1, 0))
    body = shard.read_bytes()
    changed = bytes([*body[:50], body[50] ^ 1, *body[51:]])
    shard.write_bytes({"empty": b"", "cut": body[:-9], "changed": changed}.get(fault, body))
    if fault == "lost":
        shard.unlink()
    array = zarr.open_array(url, mode="r")
    with pytest.raises(Exception, match=r"503|checksum"):
        array[:, 32:, :32]
    with pytest.raises(ValueError, match=r"503|Digest|checksum"):
        open_tensorstore(url)[:, 32:, :32].read().result()
    assert np.asarray(array[:, :32]).all()
    assert np.asarray(open_tensorstore(url)[:, :32].read().result()).all()


@pytest.mark.samples
def test_real_neurons_are_read_by_all(line: Line, samples: Path) -> None:
    """Sections of a ventral nerve cord, and a confocal series of several times and channels."""
    sections = samples / "tiff_sequence/vnc-sstem/raw"
    line.ingest(sections, "zarr/real/cord", "--axes", "zyx", "--unit", "pixel", "--levels", "2")
    series = samples / "nd2/cluster.nd2"
    line.ingest(series, "zarr/real/cluster", "--levels", "2")
    cord = np.stack([tifffile.imread(path) for path in sorted(sections.glob("*.tif"))])
    for name, expected in (("cord", cord), ("cluster", Later("nd2").imread(series).swapaxes(1, 2))):
        url = f"{line.url}/zarr/zarr/real/{name}"
        equal(zarr.open_array(f"{url}/0", mode="r")[...], expected)
        equal(open_tensorstore(f"{url}/0").read().result(), expected)
        equal(xarray.open_zarr(f"{url}/xarray/0")["image"].values, expected)
