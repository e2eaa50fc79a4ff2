"""Neuroglancer in a real browser, before the real service: the voxels that it draws."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from urllib.parse import quote

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page

from microtome_cli.main import main
from tests.browser import VIEWER, Trouble, missing, pages
from tests.contract.conftest import running

pytestmark = pytest.mark.slow
SHAPE = (48, 64, 80)
# Blocks of one value, so that a pixel's neighbours do not matter.
EDGE = 8
READY = "() => window.viewer && window.viewer.isReady()"
# Which way each plane runs on the screen: voxel axis and sign of right and of down.
PLANES: Mapping[str, tuple[tuple[str, int], tuple[str, int]]] = {
    "xy": (("x", 1), ("y", 1)),
    "xz": (("x", 1), ("z", 1)),
    "yz": (("z", -1), ("y", 1)),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A page before a service of the test pattern."""

    page: Page
    trouble: Trouble
    url: str
    grey: NDArray[np.uint8]
    ids: NDArray[np.uint32]


@pytest.fixture(scope="module")
def seen(
    tmp_path_factory: pytest.TempPathFactory, unused_port: Callable[[], int]
) -> Iterator[Seen]:
    """Serve a grey pattern with labels, and open a browser."""
    if why := missing():
        pytest.skip(why)
    if not VIEWER.exists():
        pytest.skip("the viewer is not built, see make viewer")
    folder = tmp_path_factory.mktemp("viewer")
    dice = np.random.default_rng(8)
    blocks = tuple(n // EDGE for n in SHAPE)
    grey = np.kron(dice.integers(20, 250, blocks), np.ones((EDGE,) * 3)).astype("u1")
    ids = np.kron(dice.integers(0, 5, blocks), np.ones((EDGE,) * 3)).astype("u4")
    for name, voxels, more in (
        ("grey", grey, ()),
        ("ids", ids, ("--kind", "labels", "--labels-of", "grey")),
    ):
        np.save(folder / f"{name}.npy", voxels)
        words = ["ingest", str(folder / f"{name}.npy"), str(folder / "root")]
        sizes = ["--as", f"look/pattern/{name}", "--axes", "zyx", "--voxel-size", "0.2,0.1,0.1"]
        assert main([*words, *sizes, "--chunk", "16,16,16", "--shard", "32,32,32", *more]) == 0
    for name, axes, shape in (
        ("film", "tczyx", (3, 2, 4, 16, 16)),
        ("raw", "tzyx", (3, 4, 16, 16)),
    ):
        np.save(folder / f"{name}.npy", np.zeros(shape, "u1") + _values(axes))
        words = ["ingest", str(folder / f"{name}.npy"), str(folder / "root"), "--axes", axes]
        sizes = ["--unit", "pixel"] if name == "raw" else ["--voxel-size", "2,1,1"]
        steps = [] if name == "raw" else ["--time-step", "3"]
        assert main([*words, "--as", f"look/{name}/image", *sizes, *steps]) == 0
    with running(str(folder / "root"), unused_port()) as url, pages() as (page, trouble):
        yield Seen(page, trouble, url, grey, ids)


def _values(axes: str) -> NDArray[np.uint8]:
    """Return one value for each time point, and of the second channel those backwards."""
    steps = np.array([[0, 200], [100, 100], [200, 0]], "u1")
    return steps[..., None, None, None] if "c" in axes else steps[:, 0, None, None, None]


def show(seen: Seen, layer: str, plane: str, scale: float) -> NDArray[np.uint8]:
    """Draw one plane of one layer around the middle, and return the canvas."""
    told = seen.page.request.get(f"{seen.url}/api/scenes/look/pattern?layer={layer}").json()
    told |= {
        "layout": plane, "crossSectionScale": scale, "position": [40.5, 32.5, 24.5],
        "showAxisLines": False, "showScaleBar": False, "showDefaultAnnotations": False,
        "selectedLayer": {"visible": False},
    }  # fmt: skip
    told["layers"][0] |= {"selectedAlpha": 1} if layer == "ids" else {}
    seen.page.goto("about:blank")
    seen.page.goto(f"{seen.url}/view/look/pattern/{layer}#!{quote(json.dumps(told))}")
    seen.page.wait_for_function(READY, timeout=120_000)
    picture = seen.page.locator(".neuroglancer-rendered-data-panel").first.screenshot()
    return np.asarray(Image.open(BytesIO(picture)).convert("RGB"))


def spots(
    plane: str, scale: float, canvas: NDArray[np.uint8]
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Yield a row and a column of the canvas, and the voxel z, y, x that must lie there."""
    steps = {"x": 1.0, "y": 1.0, "z": 2.0}  # in voxels of the finest axis
    (right, rightward), (down, downward) = PLANES[plane]
    rows, columns = canvas.shape[:2]
    centre = {"z": 24.5, "y": 32.5, "x": 40.5}
    for row in range(20, rows - 20, 37):
        for column in range(20, columns - 20, 41):
            place = dict(centre)
            place[right] += rightward * (column + 0.5 - columns / 2) * scale / steps[right]
            place[down] += downward * (row + 0.5 - rows / 2) * scale / steps[down]
            voxel = tuple(int(np.floor(place[axis])) for axis in "zyx")
            inside = all(0 <= v < n for v, n in zip(voxel, SHAPE, strict=True))
            # Not at an edge between blocks, where half a pixel decides.
            if inside and all(0.15 < place[a] / EDGE % 1 < 0.85 for a in (right, down)):
                yield row, column, voxel


@pytest.mark.parametrize("scale", [0.125, 0.25])
@pytest.mark.parametrize("plane", PLANES)
def test_the_voxels_of_an_image_are_drawn(seen: Seen, plane: str, scale: float) -> None:
    """Every pixel looked at has the grey of the voxel that lies there, in each plane and zoom."""
    canvas = show(seen, "grey", plane, scale)
    found = list(spots(plane, scale, canvas))
    assert len(found) > 20
    layer = f"{seen.url}/api/datasets/look/pattern/grey"
    low, high = seen.page.request.get(layer).json()["channels"][0]["window"]
    shown = np.clip((seen.grey - low) / (high - low), 0, 1) * 255
    wrong = [
        (row, column, voxel, canvas[row, column].tolist(), float(shown[voxel]))
        for row, column, voxel in found
        if np.abs(canvas[row, column] - shown[voxel]).max() > 2
    ]
    assert wrong == []


@pytest.mark.parametrize("plane", PLANES)
def test_each_label_has_a_colour_of_its_own(seen: Seen, plane: str) -> None:
    """Pixels of one id have one colour, of two ids two."""
    canvas = show(seen, "ids", plane, 0.25)
    colors: dict[int, set[tuple[int, ...]]] = {}
    for row, column, voxel in spots(plane, 0.25, canvas):
        colors.setdefault(int(seen.ids[voxel]), set()).add(tuple(canvas[row, column].tolist()))
    assert len(colors) > 3
    assert all(len(each) == 1 for each in colors.values()), colors
    assert len(set().union(*colors.values())) == len(colors)


@pytest.mark.parametrize("name", ["film", "raw"])
def test_every_time_point_is_drawn(seen: Seen, name: str) -> None:
    """The viewer has an axis of time; colours of channels add up, and an unknown unit is none."""
    seen.page.goto("about:blank")
    seen.trouble.said.clear()
    layer = seen.page.request.get(f"{seen.url}/api/datasets/look/{name}/image").json()
    told = seen.page.request.get(f"{seen.url}/api/scenes/look/{name}?t=1").json()
    assert told["dimensions"]["t"] == ([3, "s"] if name == "film" else [1, ""])
    assert told["dimensions"]["z"] == ([2e-6, "m"] if name == "film" else [1, ""])
    told |= {"layout": "xy", "showAxisLines": False, "showScaleBar": False,
             "showDefaultAnnotations": False, "selectedLayer": {"visible": False}}  # fmt: skip
    seen.page.goto(f"{seen.url}/view/look/{name}#!{quote(json.dumps(told))}")
    for t in (1, 0, 2):
        place = f"viewer.navigationState.position.value = Float32Array.of(8, 8, 2, {t} + 0.5)"
        seen.page.wait_for_function(READY, timeout=120_000)
        seen.page.evaluate(place)
        seen.page.wait_for_timeout(500)
        seen.page.wait_for_function(READY, timeout=120_000)
        picture = seen.page.locator(".neuroglancer-rendered-data-panel").first.screenshot()
        canvas = np.asarray(Image.open(BytesIO(picture)).convert("RGB"))
        total = np.zeros(3)
        for values, channel in zip(((0, 100, 200), (200, 100, 0)), layer["channels"], strict=False):
            low, high = channel["window"]
            part = np.clip((values[t] - low) / (high - low), 0, 1)
            total += part * np.array(list(bytes.fromhex(channel["color"])))
        middle = canvas[canvas.shape[0] // 2, canvas.shape[1] // 2]
        assert np.abs(middle - np.clip(total, 0, 255)).max() <= 2, (t, middle, total)
    assert seen.trouble.said == []


def test_the_viewer_opens_from_the_page_of_a_dataset(seen: Seen) -> None:
    """One click leads to its scene; no error, no failed request, no other host, by the policy."""
    seen.page.goto("about:blank")
    seen.page.goto(f"{seen.url}/look/pattern")
    seen.page.wait_for_load_state("networkidle")
    seen.page.get_by_text("Open in the viewer").click()
    seen.page.wait_for_function(READY, timeout=120_000)
    seen.page.wait_for_load_state("networkidle")
    names = seen.page.evaluate("viewer.layerManager.managedLayers.map((layer) => layer.name)")
    assert names == ["grey", "ids"]
    assert seen.trouble.said == []
    assert seen.trouble.hosts <= {seen.url.removeprefix("http://"), ""}


def test_a_request_that_fails_would_be_seen(seen: Seen) -> None:
    """One that breaks off is told from one that the browser takes back as its page is left."""
    chunks = re.compile(r"/precomputed/.*/\d+-\d+_")
    seen.page.goto("about:blank")
    seen.trouble.said.clear()
    seen.page.context.route(chunks, lambda route: route.abort("connectionreset"))
    seen.page.goto(f"{seen.url}/view/look/pattern")
    seen.page.wait_for_function("() => window.viewer", timeout=120_000)
    for _ in range(300):
        if told := any("net::ERR_CONNECTION_RESET" in each for each in seen.trouble.said):
            break
        seen.page.wait_for_timeout(200)
    seen.page.context.unroute(chunks)
    assert told
    seen.page.goto("about:blank")
    seen.trouble.said.clear()
