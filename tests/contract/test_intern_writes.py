"""The unmodified intern writes into the real service on a real socket, and reads it back."""

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import zarr
from requests import HTTPError

from microtome_cli.main import main
from tests.bossdb_server import be_nobody
from tests.contract.conftest import running
from tests.later import Later
from tests.s3_server import unused_port

intern, boss = Later("intern"), Later("intern.remote.boss")
described = Later("intern.resource.boss.resource")

pytestmark = [
    # intern says so of every address, whether CloudVolume is there or not.
    pytest.mark.filterwarnings("ignore:CloudVolume is not installed:ImportWarning"),
]
SHAPE = (37, 150, 131)


@pytest.fixture(scope="module", autouse=True)
def _intern() -> None:
    """Import it, and leave the filters of warnings as they are, of which it sets some."""
    with warnings.catch_warnings():
        import intern  # noqa: F401


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Serve an empty folder to which everybody may write; each test has a collection of its own."""
    root = tmp_path_factory.mktemp("served") / "root"
    root.mkdir()
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as monkeypatch:
            be_nobody(root.parent / "home", monkeypatch)
            monkeypatch.setenv("MICROTOME_ANONYMOUS_WRITES", "true")
            url = stack.enter_context(running(str(root), unused_port()))
        yield root, urlsplit(url).netloc


@pytest.fixture
def root(served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let intern's variables name the service, and return its root."""
    be_nobody(tmp_path / "home", monkeypatch)
    monkeypatch.setenv("INTERN_PROTOCOL", "http")
    monkeypatch.setenv("INTERN_HOST", served[1])
    monkeypatch.setenv("INTERN_TOKEN", "public")
    return served[0]


@pytest.mark.parametrize(
    "dtype", [pytest.param("uint8", marks=pytest.mark.slow), "uint16", "uint64"]
)
def test_an_array_that_is_created_and_written_is_read_back(root: Path, dtype: str) -> None:
    """Collection, frame, experiment and channel in one call; zarr-python sees the same voxels."""
    array = intern.array(
        f"bossdb://lab/exp/{dtype}", create_new=True, dtype=dtype, extents=SHAPE,
        voxel_size=(30, 4, 4), downsample_levels=3,
    )  # fmt: skip
    assert (array.shape, array.dtype) == (SHAPE, dtype)
    assert (array.voxel_size, array.voxel_unit) == ((4.0, 4.0, 30.0), "nanometers")
    assert array.available_resolutions == [0, 1, 2]
    voxels = np.random.default_rng(3).integers(1, np.iinfo(dtype).max, SHAPE, dtype)
    array[0:37, 0:150, 0:131] = voxels
    np.testing.assert_array_equal(array[0:37, 0:150, 0:131], voxels, strict=True)
    voxels[3:8, 20:60, 100:131] = 7
    array[3:8, 20:60, 100:131] = voxels[3:8, 20:60, 100:131]
    np.testing.assert_array_equal(array[0:20, 0:150, 90:131], voxels[:20, :, 90:], strict=True)
    stored = zarr.open_array(f"{root}/lab/exp/{dtype}/0", mode="r")
    np.testing.assert_array_equal(np.asarray(stored[...]), voxels)
    for number in (1, 2):
        coarse = intern.array(f"bossdb://lab/exp/{dtype}/{number}")
        z, y, x = coarse.shape
        assert (z, y, x) == (37, 150 >> number, 131 >> number)
        assert coarse[0:z, 0:y, 0:x].shape == (z, y, x)


@pytest.mark.slow
@pytest.mark.usefixtures("root")
def test_a_large_array_is_written_in_blocks() -> None:
    """Over 67 million voxels intern sends 1024 × 1024 × 32 each, and leaves blocks of 0 out."""
    shape = (66, 1030, 1040)
    array = intern.array(
        "bossdb://lab/big/em", create_new=True, dtype="uint8", extents=shape, voxel_size=(1, 1, 1)
    )
    voxels = np.zeros(shape, "uint8")
    voxels[:40] = np.random.default_rng(4).integers(0, 255, (40, 1030, 1040), "uint8")
    array[0:66, 0:1030, 0:1040] = voxels
    np.testing.assert_array_equal(array[0:66, 0:1030, 0:1040], voxels)


@pytest.mark.usefixtures("root")
def test_annotations_next_to_each_other_are_both_kept() -> None:
    """0 is no id: overlapping boxes do not erase each other, however many write at one time."""
    intern.array("bossdb://cells/exp/seg", create_new=True, dtype="uint64", extents=SHAPE,
                 voxel_size=(30, 4, 4))  # fmt: skip
    expected = np.zeros(SHAPE, "uint64")

    def write(number: int) -> None:
        remote = boss.BossRemote()
        channel = remote.get_channel("seg", "cells", "exp")
        first = remote.reserve_ids(channel, 10)
        block = np.zeros((10, 150, 131), "uint64")
        block[:, number * 12 : number * 12 + 9, 5:100] = first
        expected[8:18, number * 12 : number * 12 + 9, 5:100] = first
        remote.create_cutout(channel, 0, [0, 131], [0, 150], [8, 18], block)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(12)))
    remote = boss.BossRemote()
    channel = remote.get_channel("seg", "cells", "exp")
    found = remote.get_cutout(channel, 0, [0, 131], [0, 150], [0, 37])
    np.testing.assert_array_equal(found, expected)
    every = remote.get_ids_in_region(channel, 0, [0, 131], [0, 150], [0, 37])
    assert len(every) == len({i // 10 for i in (i - 1 for i in every)}) == 12
    box = remote.get_bounding_box(channel, 0, every[0], "tight")
    assert (box["z_range"], box["x_range"]) == ([8, 18], [5, 100])
    remote.create_cutout_to_black(channel, 0, [0, 131], [0, 150], [8, 18])
    assert remote.get_ids_in_region(channel, 0, [0, 131], [0, 150], [0, 37]) == []


@pytest.mark.usefixtures("root")
def test_times_are_written_as_a_fourth_axis() -> None:
    """Each time point is its own."""
    remote = boss.BossRemote()
    remote.create_project(described.CollectionResource("films", "a description"))
    frame = described.CoordinateFrameResource(
        "frame", x_stop=30, y_stop=20, z_stop=10, x_voxel_size=0.5, voxel_unit="micrometers"
    )
    remote.create_project(frame)
    film = described.ExperimentResource("film", "films", "frame", num_time_samples=5, time_step=2,
                              time_step_unit="seconds")  # fmt: skip
    assert remote.create_project(film).num_time_samples == 5
    channel = described.ChannelResource(
        "em", "films", "film", "image", datatype="uint16", related=["x"]
    )
    made = remote.create_project(channel)
    assert (made.datatype, made.related) == ("uint16", ["x"])
    voxels = np.random.default_rng(5).integers(1, 9, (3, 4, 20, 30), "uint16")
    remote.create_cutout(made, 0, [0, 30], [0, 20], [2, 6], voxels, [1, 4])
    found = remote.get_cutout(made, 0, [0, 30], [0, 20], [2, 6], [0, 5])
    np.testing.assert_array_equal(found[1:4], voxels)
    assert not found[0].any()
    assert not found[4].any()


def test_resources_are_described_and_deleted_from_the_channel_up(root: Path) -> None:
    """Lists follow at once; what something lies in stays."""
    intern.array("bossdb://gone/exp/em", create_new=True, extents=SHAPE, voxel_size=(30, 4, 4))
    remote = boss.BossRemote()
    collection = described.CollectionResource("gone")
    experiment = remote.get_experiment("gone", "exp")
    frame = remote.get_coordinate_frame("CF_gone_exp")
    channel = remote.get_channel("em", "gone", "exp")
    for resource in (collection, experiment, frame, channel):
        resource.description = "new words"
        assert remote.update_project(resource.name, resource).description == "new words"
        assert remote.get_project(resource).description == "new words"
    remote.set_project_public_visibility(channel, True)
    for resource in (experiment, collection, frame):
        with pytest.raises(HTTPError):
            remote.delete_project(resource)
    for resource in (channel, experiment, collection, frame):
        remote.delete_project(resource)
        with pytest.raises(HTTPError):
            remote.get_project(resource)
    assert "gone" not in remote.list_collections()
    assert "CF_gone_exp" not in remote.list_coordinate_frames()
    assert not (root / "gone").exists()


@pytest.mark.usefixtures("root")
def test_metadata_is_a_dictionary() -> None:
    """Keys are created once, changed, listed and deleted."""
    intern.array("bossdb://told/exp/em", create_new=True, extents=SHAPE, voxel_size=(30, 4, 4))
    for place in ("told", "told/exp", "told/exp/em"):
        pairs = Later("intern.convenience.array").Metadata(
            f"bossdb://{place}", remote=boss.BossRemote()
        )
        pairs["species"] = "mouse"
        pairs["a b"] = "ünï"
        assert pairs.to_dict() == {"species": "mouse", "a b": "ünï"}
        with pytest.raises(Later("intern.service.boss.httperrorlist").HTTPErrorList):
            pairs["species"] = "rat"
        pairs.update_item("species", "rat")
        assert pairs["species"] == "rat"
        pairs.bulk_delete(["species", "a b"])
        assert list(pairs.keys()) == []


def test_intern_writes_with_a_key_and_without_it_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A key of scope write creates and writes; one that reads is 403, and nobody's token 401."""
    (tmp_path / "root").mkdir()
    be_nobody(tmp_path / "home", monkeypatch)
    monkeypatch.setenv("MICROTOME_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("MICROTOME_DATABASE_URL", f"sqlite:///{tmp_path / 'access.sqlite'}")
    assert main(["database", "upgrade"]) == 0
    keys = {}
    for scope in ("write", "read"):
        capsys.readouterr()
        words = ["token", "create", "--name", scope, "--scope", scope, "--collection", "lab"]
        assert main(words) == 0
        keys[scope] = capsys.readouterr().out.strip()
    with running(str(tmp_path / "root"), unused_port()) as url:
        host = urlsplit(url).netloc

        def array(token: str, name: str, **options: object) -> Any:  # noqa: ANN401 - intern's
            for word, value in (("PROTOCOL", "http"), ("HOST", host), ("TOKEN", token)):
                monkeypatch.setenv(f"INTERN_{word}", value)
            return intern.array(f"bossdb://lab/exp/{name}", **options)

        new = {"create_new": True, "extents": (4, 20, 30), "voxel_size": (1, 1, 1)}
        with pytest.raises(HTTPError, match="401"):
            array("public", "em", **new)
        voxels = np.arange(2400, dtype="uint64").reshape(4, 20, 30).astype("uint8") | 1
        array(keys["write"], "em", **new)[0:4, 0:20, 0:30] = voxels
        for token in ("public", keys["read"], keys["write"]):
            np.testing.assert_array_equal(array(token, "em")[0:4, 0:20, 0:30], voxels)
        for token, status in (("public", 401), (keys["read"], 403)):
            with pytest.raises(HTTPError) as caught:
                array(token, "em")[0:4, 0:20, 0:30] = voxels
            assert caught.value.response.status_code == status
            assert caught.value.response.json()["code"] == 3000 + (status == 403)
        remote = boss.BossRemote()
        sets = remote.list_permissions("key:read-primary")
        assert [each["permissions"] for each in sets] == [["read", "read_volatile_data"]]
