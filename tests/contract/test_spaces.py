"""Registration from the command line to the client: points there and back, boxes, resampling."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

import microtome
from microtome.errors import InputError, RegionError, TooLarge
from microtome_cli.main import main
from microtome_core.levels import Level
from microtome_core.names import DatasetId, LayerId
from microtome_core.store.array import ArraySpec, create_array
from microtome_core.store.layer import ensure_groups, publish_layer
from microtome_core.store.location import Store
from microtome_core.store.ome import Ome, multiscale, omero
from microtome_core.store.record import Record, imaging_space
from microtome_core.store.record_changes import history
from microtome_core.wire import Channel
from microtome_service.app import create_app
from microtome_service.settings import Settings
from tests.service.conftest import running

SHAPE, SCALE, START = (24, 40, 56), (2.0, 0.5, 0.75), (10.0, -3.0, 4.0)
LAYER = "demo/brain/em"


def _matrix() -> NDArray[np.float64]:
    """Return a rotation, a flip, unequal scaling and a shift."""
    matrix = np.eye(4)
    turned = Rotation.from_euler("xyz", (15, -30, 40), degrees=True).as_matrix()
    matrix[:3, :3] = turned @ np.diag([1.2, -0.9, 1.0])
    matrix[:3, 3] = (100, 200, -50)
    return matrix


MATRIX = _matrix()


@pytest.fixture(scope="module")
def voxels() -> NDArray[np.float32]:
    """Smooth voxels of unequal extents."""
    noise = np.random.default_rng(5).normal(size=SHAPE)
    return ndimage.gaussian_filter(noise, 2).astype("float32") * 1000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, voxels: NDArray[np.float32]) -> Path:
    """A root with one layer with a record."""
    folder = tmp_path_factory.mktemp("spaces") / "root"
    folder.mkdir()
    store = Store(f"file://{folder}")
    ensure_groups(store, DatasetId("demo", "brain"))
    spec = ArraySpec("zyx", SHAPE, (8, 8, 8), (16, 16, 16), "float32")
    create_array(store, f"{LAYER}/0", spec)[...] = voxels
    levels = [Level((1, 1, 1), SHAPE, SCALE)]
    scales = multiscale("em", "zyx", ["micrometer"] * 3, levels, "mean")
    scales.datasets[0].coordinateTransformations[1].translation = list(START)  # type: ignore[union-attr] # fmt: skip
    ome = Ome(multiscales=[scales], omero=omero([Channel("em", "FFFFFF", (0, 1))], -9, 9))
    record = Record(
        neurodata_type="VolumetricMicroscopyStaticImage",
        imaging_space=imaging_space([56, 40, 24], [0.75, 0.5, 2.0], planar=False),
        source_format="made",
        source_files=[],
        conversion_history=[],
    )
    publish_layer(store, LAYER, {"ome": ome.to_json(), "nwb": record.to_json()})
    return folder


def _register(root: Path, *words: str) -> int:
    return main(["register", str(root), LAYER, *words])


@pytest.fixture(scope="module")
def registered(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root, its layer registered in three ways."""
    folder = tmp_path_factory.mktemp("files")
    np.savetxt(folder / "ccf.txt", MATRIX)
    # The same for x y z, in millimeters, as elastix would write it around a centre.
    flipped = MATRIX[:, [2, 1, 0, 3]]
    center = np.array([1.0, 2.0, 3.0])
    shift = flipped[:3, 3] / 1000 - center + flipped[:3, :3] @ center
    parameters = " ".join(map(repr, [*flipped[:3, :3].ravel().tolist(), *shift.tolist()]))
    (folder / "itk.txt").write_text(
        "#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {parameters}\nFixedParameters: {' '.join(map(repr, center.tolist()))}\n"
    )
    grid = np.random.default_rng(8).normal(size=(3, 6, 7, 8))
    smooth = [ndimage.gaussian_filter(each, 1.5) * 20 for each in grid]
    np.save(folder / "field.npy", np.stack(smooth))
    bend = ("--field", f"{folder}/field.npy", "--field-spacing", "30,30,20",
            "--field-origin", "50,140,-120")  # fmt: skip
    about = ("--title", "Allen CCFv3 2017", "--rrid", "RRID:SCR_020999", "--orientation", "PIR")
    assert _register(root, "--space", "ccf", "--affine", f"{folder}/ccf.txt", *about) == 0
    itk = ("--affine", f"{folder}/itk.txt", "--axes", "xyz", "--unit", "mm")
    assert _register(root, "--space", "itk", *itk) == 0
    assert _register(root, "--space", "bent", "--affine", f"{folder}/ccf.txt", *bend) == 0
    return root


@pytest.fixture(scope="module")
def address(registered: Path) -> Iterator[str]:
    """A server of it."""
    app: FastAPI = create_app(Settings(root=str(registered), recheck_seconds=0.0))
    with running(app) as served:
        yield served


@pytest.fixture
def volume(address: str) -> Any:  # noqa: ANN401 - as microtome.open
    """The volume, opened."""
    return microtome.open(f"{address}/{LAYER}")


POINTS = np.random.default_rng(4).uniform(0, 20, (50, 3))
PHYSICAL = POINTS * SCALE + START
EXPECTED = PHYSICAL @ MATRIX[:3, :3].T + MATRIX[:3, 3]


def test_points_go_into_a_space_and_back(volume: Any) -> None:  # noqa: ANN401 - the fixture's
    """By the matrix that was registered, from voxels and from micrometers."""
    np.testing.assert_allclose(volume.transform(POINTS, to="physical"), PHYSICAL)
    np.testing.assert_allclose(volume.transform(POINTS, to="ccf"), EXPECTED)
    np.testing.assert_allclose(volume.transform(EXPECTED, source="ccf", to="voxel"), POINTS)
    np.testing.assert_allclose(volume.transform(PHYSICAL, source="physical", to="ccf"), EXPECTED)
    assert volume.spaces["ccf"].rrid == "RRID:SCR_020999"


def test_itk_text_in_x_y_z_and_millimeters_means_the_same(volume: Any) -> None:  # noqa: ANN401
    """The centre is taken into account, the order of axes and the unit are."""
    np.testing.assert_allclose(volume.transform(POINTS, to="itk"), EXPECTED)


def test_a_bent_space_is_followed_both_ways(volume: Any) -> None:  # noqa: ANN401 - the fixture's
    """The service holds the field; points come back within its tolerance."""
    there = volume.transform(POINTS.reshape(5, 10, 3), to="bent")
    assert there.shape == (5, 10, 3)
    assert 0.5 < np.abs(there.reshape(-1, 3) - EXPECTED).max() < 50
    back = volume.transform(there, source="bent", to="physical")
    np.testing.assert_allclose(back.reshape(-1, 3), PHYSICAL, atol=0.01)


def test_the_service_moves_points_too(address: str) -> None:
    """As JSON and as NPY, with the same result; spaces are listed."""
    url = f"{address}/api/datasets/{LAYER}"
    words = {"source": "voxel", "target": "ccf"}
    answer = httpx.post(f"{url}/transform", params=words, json={"points": POINTS.tolist()})
    np.testing.assert_allclose(answer.json()["points"], EXPECTED)
    file = BytesIO()
    np.save(file, POINTS)
    kind = {"Content-Type": "application/x-npy"}
    npy = httpx.post(f"{url}/transform", params=words, content=file.getvalue(), headers=kind)
    np.testing.assert_allclose(np.load(BytesIO(npy.content)), EXPECTED)
    spaces = {each["name"]: each for each in httpx.get(f"{url}/spaces").json()["spaces"]}
    assert list(spaces) == ["voxel", "physical", "ccf", "itk", "bent"]
    assert spaces["ccf"]["title"] == "Allen CCFv3 2017"
    assert (spaces["ccf"]["field"], spaces["bent"]["field"]) == (False, True)


BAD: dict[str, tuple[dict[str, str], bytes, str]] = {
    "space": ({"target": "waxholm"}, b'{"points": [[1,2,3]]}', "space 'waxholm'"),
    "count": ({"target": "ccf"}, b'{"points": [[1,2]]}', "shape"),
    "form": ({"target": "ccf"}, b"[]", "points"),
    "json": ({"target": "ccf"}, b"{", "points"),
    "words": ({"target": "ccf"}, b'{"points": [["a", 1, 2]]}', "points"),
    "nan": ({"target": "ccf"}, b'{"points": [[NaN, 1, 2]]}', "finite"),
    "unknown": ({"to": "ccf"}, b'{"points": []}', "'to'"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_points_are_refused(address: str, what: str) -> None:
    """It is 400, and the detail says what is wrong."""
    words, body, named = BAD[what]
    url = f"{address}/api/datasets/{LAYER}/transform"
    answer = httpx.post(url, params=words, content=body)
    assert answer.status_code == 400
    assert named in answer.json()["detail"]


def test_a_box_of_a_space_is_covered(volume: Any, voxels: NDArray[np.float32]) -> None:  # noqa: ANN401
    """The cutout holds every voxel that the box touches, and no row that it does not."""
    center = volume.transform([12, 20, 28], to="ccf")
    ranges = [(float(c) - 3, float(c) + 3) for c in center]
    box = volume.box_in("ccf", *ranges)
    places = np.stack(np.indices(SHAPE), -1).reshape(-1, 3)
    inside = (np.abs(volume.transform(places, to="ccf") - center) <= 3).all(axis=1)
    low, high = places[inside].min(axis=0), places[inside].max(axis=0) + 1
    for (start, stop), first, last in zip(box.values(), low, high, strict=True):
        assert first - 4 <= start <= first
        assert last <= stop <= last + 4
    cut = volume.sel(space="ccf", **dict(zip("zyx", ranges, strict=True)))
    np.testing.assert_array_equal(cut, voxels[tuple(slice(*each) for each in box.values())])
    with pytest.raises(RegionError, match="outside"):
        volume.sel(space="ccf", z=(9000, 9001), y=(0, 1), x=(0, 1))
    with pytest.raises(RegionError, match="x=None"):
        volume.sel(space="ccf", z=(0, 1), y=(0, 1))
    with pytest.raises(InputError, match="waxholm"):
        volume.sel(space="waxholm", z=(0, 1), y=(0, 1), x=(0, 1))


def test_what_memory_cannot_hold_is_not_resampled(volume: Any) -> None:  # noqa: ANN401
    """The error says how many nodes or voxels, and what to ask for instead."""
    wide = ((0.0, 1e6),) * 3
    with pytest.raises(TooLarge, match=r"a grid of 100000000×.* nodes .* spacing"):
        volume.resample("ccf", *wide, spacing=0.01)


def test_a_block_is_resampled_as_scipy_does(
    volume: Any,  # noqa: ANN401 - the fixture's
    voxels: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Linear between voxels, NaN outside of the volume, whatever the slabs."""
    center = volume.transform([12, 20, 28], to="ccf")
    ranges = [(float(c) - 15, float(c) + 15) for c in center]
    grid = np.stack(np.meshgrid(*(np.arange(*r, 2.5) for r in ranges), indexing="ij"), -1)
    inverse = np.linalg.inv(MATRIX)
    layer = grid @ inverse[:3, :3].T + inverse[:3, 3]
    places = np.moveaxis((layer - START) / SCALE, -1, 0)
    expected = ndimage.map_coordinates(
        voxels.astype("float64"), places, order=1, mode="constant", cval=np.nan
    )
    whole = volume.resample("ccf", *ranges, spacing=2.5)
    assert 0.1 < np.isnan(expected).mean() < 0.9
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    monkeypatch.setattr("microtome.spaces._SLAB_POINTS", 300)
    np.testing.assert_array_equal(volume.resample("ccf", *ranges, spacing=2.5), whole)


def test_a_change_is_noted(registered: Path) -> None:
    """Who registered what is in the history of the record."""
    store = Store(f"file://{registered}")
    notes = history(store, LayerId.parse(LAYER))
    assert [note["tool"] for note in notes[:3]] == ["microtome register"] * 3
    assert all(note["who"] for note in notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 0 0 0\n1 0 0 0\n0 0 1 0\n0 0 0 1\n", "singular"),
        ("1 0 0\n0 1 0\n", "shape"),
        ("nan 0 0 0\n0 1 0 0\n0 0 1 0\n", "finite"),
        ("hello\n", "hello"),
        ("Parameters: 1 2 3\n", "3 parameters"),
        ("{", "m.txt"),
    ],
)
def test_a_bad_file_is_refused_by_name(
    text: str, words: str, registered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code says bad input, the message names the file, the record stays."""
    (tmp_path / "m.txt").write_text(text)
    before = (registered / LAYER / "zarr.json").read_bytes()
    assert _register(registered, "--space", "bad", "--affine", str(tmp_path / "m.txt")) == 2
    told = capsys.readouterr().err
    assert "m.txt" in told
    assert words in told
    assert (registered / LAYER / "zarr.json").read_bytes() == before


@pytest.mark.parametrize(("option", "value"), [("--orientation", "PPR"), ("--rrid", "CCF")])
def test_a_space_that_others_could_not_read_is_refused(
    registered: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: str,
) -> None:
    """By name, and before its field is stored."""
    np.savetxt(tmp_path / "ccf.txt", MATRIX)
    np.save(tmp_path / "field.npy", np.zeros((3, 2, 2, 2)))
    before = sorted(registered.rglob("*"))
    words = ("--affine", f"{tmp_path}/ccf.txt", "--field", f"{tmp_path}/field.npy",
             "--field-spacing", "1,1,1", option, value)  # fmt: skip
    assert _register(registered, "--space", "new", *words) == 2
    told = capsys.readouterr().err
    assert option.removeprefix("--") in told
    assert repr(value) in told
    assert sorted(registered.rglob("*")) == before
