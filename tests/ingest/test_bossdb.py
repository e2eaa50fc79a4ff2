"""BossDB through the unmodified intern, over real HTTP: the same voxels, or an error."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from microtome_cli.main import main
from microtome_core.errors import RegionError, SourceError
from microtome_core.region import Region
from microtome_core.store.location import StorageOptions
from microtome_ingest.formats import open_source, scenes
from microtome_ingest.source import Source
from tests.bossdb_server import Boss, be_nobody, boss_server

LOCAL = StorageOptions(allowed_hosts=("127.0.0.1",))
NAME = "col-1/exp_1/em"


@pytest.fixture
def boss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Boss]:
    """Run an empty server, and be nobody."""
    be_nobody(tmp_path / "home", monkeypatch)
    with boss_server() as found:
        yield found


def noise(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return voxels of all bits."""
    return np.random.default_rng(6).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


VOLUMES = {
    "uint8": noise((35, 90, 70), "uint8"),
    "uint16": noise((20, 530, 40), "uint16"),
    "uint64": noise((18, 40, 600), "uint64"),
    "times": noise((3, 17, 60, 50), "uint16"),
}


def opened(boss: Boss, voxels: NDArray[Any], **changes: Any) -> Source:  # noqa: ANN401
    """Return a channel of the server as a source."""
    return open_source(boss.add(NAME, voxels, **changes), None, LOCAL)


def whole(source: Source) -> NDArray[Any]:
    """Read all of a source."""
    found = source.description
    return source.read(Region.whole(found.axes, found.shape))


@pytest.mark.parametrize("kind", VOLUMES)
@pytest.mark.parametrize("start", [(0, 0, 0), (500, 3, 17)], ids=str)
def test_any_box_is_the_channels(boss: Boss, kind: str, start: tuple[int, int, int]) -> None:
    """Voxels, shape, dtype and axes are the channel's, wherever its frame starts."""
    voxels = VOLUMES[kind]
    source = opened(boss, voxels, start=start)
    found = source.description
    assert (found.axes, found.shape) == ("tzyx"[-voxels.ndim :], voxels.shape)
    assert (found.dtype, found.format, found.files) == (str(voxels.dtype), "BossDB", ())
    np.testing.assert_array_equal(whole(source), voxels, strict=True)
    random = np.random.default_rng(1)
    for _ in range(8):
        edges = [np.sort(random.choice(n + 1, 2, replace=False)).tolist() for n in voxels.shape]
        box = Region(found.axes, tuple(a for a, _ in edges), tuple(b for _, b in edges))
        np.testing.assert_array_equal(source.read(box), voxels[box.slices], strict=True)
    with pytest.raises(RegionError):
        source.read(Region.whole(found.axes, tuple(n + 1 for n in voxels.shape)))
    source.close()


def test_intern_itself_reads_the_same_from_this_server(boss: Boss) -> None:
    """The stand-in is a BossDB to intern's own arrays as well."""
    voxels = VOLUMES["uint8"]
    boss.add(NAME, voxels)
    config = {"protocol": "http", "host": boss.host, "token": "public"}
    import intern

    array = intern.array(NAME, boss_config=config)
    assert (array.shape, array.dtype) == (voxels.shape, "uint8")
    np.testing.assert_array_equal(array[3:9, 10:40, 5:50], voxels[3:9, 10:40, 5:50])


def test_what_the_server_says_is_kept(boss: Boss) -> None:
    """Voxel size, unit, time step, origin, names, all JSON and all key-value metadata."""
    boss.pairs = {
        "col-1": {"species": "mouse"},
        "col-1/exp_1": {"a key & more=1": "ünï"},
        NAME: {"k": "v"},
    }
    changes = {"time_step": 250, "time_step_unit": "milliseconds", "start": (10, 20, 3)}
    source = opened(boss, VOLUMES["times"], **changes)
    found = source.description
    assert found.voxel_size == {"z": 40.0, "y": 4.0, "x": 4.0}
    assert (found.unit, found.time_step, found.block) == ("nanometer", 0.25, (1, 16, 60, 50))
    assert found.image == boss.address(NAME)
    assert found.channels[0].name == "em"
    assert found.metadata["description"] == "a test"
    assert found.metadata["origin"] == {"z": 120.0, "y": 80.0, "x": 40.0, "unit": "nanometer"}
    words = json.loads(json.dumps(found.metadata["BossDB"]))
    assert words["channel"]["storage_type"] == "spdb"
    assert words["coordinate_frame"]["x_start"] == 10
    assert words["experiment"]["num_hierarchy_levels"] == 3
    assert words["collection"]["creator"] == "someone"
    assert words["metadata"] == {
        "collection": {"species": "mouse"},
        "experiment": {"a key & more=1": "ünï"},
        "channel": {"k": "v"},
    }
    assert any("starts at voxel z=3, y=20, x=10" in note for note in found.notes)
    assert any("3 time samples" in note for note in found.notes)
    assert source.stamps == {}
    [scene] = scenes(boss.address(NAME), LOCAL)
    assert (scene.name, scene.shape) == ("em", found.shape)
    with pytest.raises(SourceError, match="has no scene 1"):
        open_source(boss.address(NAME), 1, LOCAL)


def test_annotations_and_resolutions_are_noted(boss: Boss) -> None:
    """Ids ask for --kind labels, and another resolution than 0 is told; else neither is."""
    notes = " ".join(opened(boss, VOLUMES["uint64"], base_resolution=1).description.notes)
    assert "--kind labels keeps them whole" in notes
    assert "its own resolution is 1" in notes
    notes = " ".join(opened(boss, VOLUMES["uint8"]).description.notes)
    assert "labels" not in notes
    assert "resolution" not in notes


def test_cutouts_lie_within_cuboids(boss: Boss) -> None:
    """A region is cut where the server's cuboids of 512 × 512 × 16 meet, 16 MiB at most at once,
    and what does not reach over such an edge is one cutout of just that size.
    """
    source = opened(boss, np.zeros((70, 600, 600), "uint16"), start=(100, 0, 0))
    whole(source)
    assert sorted(path.split("/")[7:10] for path in boss.cutouts()) == sorted(
        [x, y, z]
        for x in ("100:512", "512:700")
        for y in ("0:512", "512:600")
        for z in ("0:32", "32:64", "64:70")
    )
    assert source.decoded == 70 * 600 * 600 * 2
    boss.asked.clear()
    source.read(Region("zyx", (3, 0, 1), (9, 40, 300)))
    assert [path.split("/")[7:10] for path in boss.cutouts()] == [["101:400", "0:40", "3:9"]]


def test_opening_reads_no_voxels_and_closing_is_no_end(boss: Boss) -> None:
    """A description costs no cutout; a closed source can be read, and closed again."""
    source = opened(boss, VOLUMES["uint8"])
    assert boss.cutouts() == []
    source.close()
    source.close()
    np.testing.assert_array_equal(whole(source), VOLUMES["uint8"])
    source.close()


def test_threads_at_once_use_a_session_each(boss: Boss) -> None:
    """Many threads read at once, equal to the volume, over connections that are used again."""
    voxels = VOLUMES["uint16"]
    source = opened(boss, voxels)
    boss.delay = 0.02
    boxes = [Region("zyx", (z, y, 0), (z + 1, y + 100, 40)) for z in range(20) for y in (0, 400)]
    with ThreadPoolExecutor(8) as pool:
        for box, found in zip(boxes, pool.map(source.read, boxes), strict=True):
            np.testing.assert_array_equal(found, voxels[box.slices])
    assert 2 <= boss.most_at_once <= 8
    assert len(boss.connections) <= 16
    source.close()


@pytest.mark.parametrize("kind", ["collection", "experiment", "channel", "coordinate frame"])
def test_what_is_missing_is_named(boss: Boss, kind: str) -> None:
    """Of channel, experiment and frame the message tells which is not there; a collection that may
    not be seen is only noted.
    """
    address = boss.add(NAME, VOLUMES["uint8"])
    paths = {
        "collection": "collection/col-1",
        "experiment": "collection/col-1/experiment/exp_1",
        "channel": "collection/col-1/experiment/exp_1/channel/em",
        "coordinate frame": "coord/frame-exp_1",
    }
    del boss.resources[paths[kind]]
    if kind == "collection":
        notes = open_source(address, None, LOCAL).description.notes
        assert any("collection 'col-1' was not to be had (HTTP 404)" in note for note in notes)
        return
    with pytest.raises(SourceError, match=rf"{kind} '.*': not found \(HTTP 404\)"):
        open_source(address, None, LOCAL)


@pytest.mark.parametrize(
    "changes",
    [
        {"x_stop": 0},
        {"x_stop": "many"},
        {"z_start": -4},
        {"y_stop": 1e300},
        {"y_stop": None},
        {"x_stop": True},
        {"num_time_samples": 0},
        {"num_time_samples": [1]},
        {"datatype": "float32"},
        {"datatype": None},
        {"voxel_unit": "parsecs"},
        {"type": 7},
        {"coord_frame": ""},
        {"coord_frame": "../../collection/col-1"},
        {"hierarchy_method": "none"},
    ],
    ids=str,
)
def test_answers_that_cannot_be_are_refused(boss: Boss, changes: dict[str, Any]) -> None:
    """Whatever a server says of a channel, it is an image or an error about the channel."""
    with pytest.raises(SourceError, match=boss.host):
        opened(boss, VOLUMES["uint8"], **changes)


@pytest.mark.parametrize("changes", [{"x_voxel_size": 0}, {"x_voxel_size": None}], ids=str)
def test_sizes_that_are_none_stay_open(boss: Boss, changes: dict[str, Any]) -> None:
    """A voxel size that cannot be is asked of the user."""
    assert set(opened(boss, VOLUMES["uint8"], **changes).description.voxel_size) == {"z", "y"}


@pytest.mark.parametrize("kind", VOLUMES)
def test_info_and_ingest(
    boss: Boss, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line tells of a channel and converts it, and verifies the copy."""
    voxels = VOLUMES[kind]
    address = boss.add(NAME, voxels)
    allow = ["--allow-host", "127.0.0.1"]
    assert main(["info", address, *allow, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["format"], told["shape"], told["missing"]) == ("BossDB", [*voxels.shape], [])
    words = [str(tmp_path / "root"), "--as", "c/d/e"]
    more = ["--kind", "labels"] if kind == "uint64" else []
    assert main(["ingest", address, *words, *more, *allow]) == 0
    stored = zarr.open_array(tmp_path / "root/c/d/e/0", mode="r")
    np.testing.assert_array_equal(stored[...], voxels)
    assert main(["verify", words[0], "c/d/e", "--source", address, *allow]) == 0
    record = json.loads((tmp_path / "root/c/d/e/zarr.json").read_text())
    assert "col-1" in json.dumps(record["attributes"]["nwb"])
    capsys.readouterr()
    asked = len(boss.cutouts())
    assert main(["ingest", address, *words, *more, *allow]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert len(boss.cutouts()) == asked


@pytest.mark.slow
def test_an_ingest_that_was_ended_goes_on(boss: Boss, tmp_path: Path) -> None:
    """A second run asks only for what the first one, ended midway, had not stored."""
    voxels = noise((128, 128, 128), "uint8")
    address = boss.add(NAME, voxels)
    root = tmp_path / "root"
    words = ["ingest", address, str(root), "--as", "c/d/e", "--allow-host", "127.0.0.1"]
    words += ["--shard", "16,64,64", "--chunk", "16,64,64", "--levels", "1", "--threads", "1"]
    boss.delay = 0.25
    begun = [sys.executable, "-m", "microtome_cli", *words]
    with subprocess.Popen(begun, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while len(boss.cutouts()) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.terminate()
    assert process.returncode == 143
    assert not (root / "c/d/e/zarr.json").exists()
    boss.delay = 0.0
    boss.asked.clear()
    assert main(words) == 0
    stored = zarr.open_array(root / "c/d/e/0", mode="r")
    np.testing.assert_array_equal(stored[...], voxels)
    assert 0 < len(boss.cutouts()) < 128 // 16
