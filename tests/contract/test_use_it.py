"""The lines that a page gives for each program are run as they stand, and read the same voxels."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from microtome_cli.main import main
from tests.bossdb_server import be_nobody
from tests.contract.conftest import running

pytestmark = pytest.mark.slow
SHAPE = {"czyx": (2, 80, 70, 90), "tzyx": (3, 5, 20, 30), "yx": (40, 50)}
# Napari's viewer without a window, and nothing that waits for one to be closed.
HEADLESS = (
    "import napari, napari.components\n"
    "napari.Viewer = napari.components.ViewerModel\n"
    "napari.run = lambda: None\n"
)
READ = "\nimport numpy; numpy.save('block.npy', numpy.asarray({}))\n"


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, unused_port: Callable[[], int]
) -> Iterator[tuple[str, dict[str, NDArray[np.uint16]]]]:
    """A service of three volumes of different axes, and their voxels."""
    folder = tmp_path_factory.mktemp("use")
    voxels = {}
    for axes, shape in SHAPE.items():
        voxels[axes] = np.random.default_rng(1).integers(0, 999, shape).astype("u2")
        np.save(folder / f"{axes}.npy", voxels[axes])
        sizes = ",".join(f"{axis}=1" for axis in axes if axis in "zyx")
        words = ["ingest", str(folder / f"{axes}.npy"), str(folder / "root"), "--axes", axes]
        more = ["--time-step", "1"] if "t" in axes else []
        assert main([*words, "--as", f"use/it/{axes}", "--voxel-size", sizes, *more]) == 0
    with running(str(folder / "root"), unused_port()) as url:
        yield url, voxels


def lines(url: str, axes: str, name: str) -> str:
    """Return what the page of a layer gives for a program; empty where it gives nothing."""
    page = urlopen(f"{url}/use/it/{axes}").read().decode()
    _, found, rest = page.partition(f'<code id="use-{name}">')
    return unescape(rest.partition("</code>")[0]) if found else ""


def example(voxels: NDArray[np.uint16], axes: str) -> NDArray[np.uint16]:
    """Return the box in the middle that pages ask for."""
    starts = [(n - 64) // 2 if n > 64 and a in "zyx" else 0 for a, n in zip(axes, voxels.shape)]  # noqa: B905
    return voxels[tuple(slice(s, s + 64) for s in starts)]


@pytest.mark.parametrize("axes", SHAPE)
@pytest.mark.parametrize("name", ["python", "xarray", "zarr", "intern", "napari"])
def test_python_reads_the_box(
    served: tuple[str, dict[str, NDArray[np.uint16]]],
    name: str,
    axes: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a process of its own; napari reads the whole, intern the first channel."""
    url, voxels = served
    text = lines(url, axes, name)
    if not text:
        assert (name, axes) == ("intern", "tzyx")
        return
    if name == "napari":
        shown = "viewer.layers[0].data[0] if viewer.layers[0].multiscale else viewer.layers[0].data"
        text = HEADLESS + text + READ.format(shown)
    else:
        text += READ.format("block")
    be_nobody(tmp_path / "home", monkeypatch)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", text],
        cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    block = np.load(tmp_path / "block.npy")
    wanted = voxels[axes] if name == "napari" else example(voxels[axes], axes)
    if name in ("intern", "napari") and axes == "czyx":
        wanted = wanted[0]
    assert np.array_equal(np.squeeze(block), np.squeeze(wanted))


@pytest.mark.parametrize("axes", SHAPE)
def test_curl_saves_a_tiff(
    served: tuple[str, dict[str, NDArray[np.uint16]]], axes: str, tmp_path: Path
) -> None:
    """As the shell runs it."""
    url, voxels = served
    text = lines(url, axes, "curl")
    subprocess.run(text, shell=True, cwd=tmp_path, check=True, capture_output=True)
    found = tifffile.imread(tmp_path / f"{axes}.tif")
    assert np.array_equal(found, example(voxels[axes], axes))


def test_addresses_for_viewers_open(served: tuple[str, dict[str, NDArray[np.uint16]]]) -> None:
    """Neuroglancer's by CloudVolume, which reads the same format; Fiji's root as any OME-Zarr."""
    url, voxels = served
    from cloudvolume import CloudVolume

    view = CloudVolume(lines(url, "czyx", "neuroglancer"), use_https=False, progress=False)
    assert np.array_equal(np.asarray(view[:8, :9, :10]).T, voxels["czyx"][:, :10, :9, :8])
    group = zarr.open_group(lines(url, "czyx", "fiji"), mode="r")
    assert group.attrs["ome"]["multiscales"]  # type: ignore[index,call-overload]
    assert np.array_equal(group["0"][:, 3], voxels["czyx"][:, 3])  # type: ignore[index]
