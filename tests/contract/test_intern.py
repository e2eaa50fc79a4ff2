"""The unmodified intern against the real service on a real socket: it reads what was ingested."""

import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from requests import HTTPError

from microtome_cli.main import main
from microtome_core.names import LayerId
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from tests.bossdb_server import be_nobody
from tests.contract.conftest import Line
from tests.later import Later

intern, boss = Later("intern"), Later("intern.remote.boss")
described = Later("intern.resource.boss.resource")

pytestmark = [
    # intern says so of every address, whether CloudVolume is there or not.
    pytest.mark.filterwarnings("ignore:CloudVolume is not installed:ImportWarning"),
]
SIZES = ("--voxel-size", "z=30,y=4,x=4", "--unit", "nanometer")
SHAPE = (23, 141, 203)


def noise(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return voxels of all bits."""
    return np.random.default_rng(6).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def ids() -> NDArray[Any]:
    """Return boxes of ids."""
    voxels = np.zeros(SHAPE, "uint32")
    voxels[2:9, 20:80, 30:90] = 11
    voxels[5:20, 100:141, 3:60] = 2**31 + 5
    voxels[22, 140, 202] = 11
    return voxels


VOXELS = {
    "intern/em/image": ("zyx", noise(SHAPE, "uint8")),
    "intern/em/wide": ("zyx", noise(SHAPE, "uint16")),
    "intern/times/fluo": ("tczyx", noise((4, 3, 5, 33, 47), "uint16")),
    "intern/big/image": ("zyx", noise((130, 520, 560), "uint8")),
    "intern/cubic/image": ("zyx", noise((67, 131, 150), "uint8")),
}


@pytest.fixture(scope="module", autouse=True)
def _intern() -> None:
    """Import it, and leave the filters of warnings as they are, of which it sets some."""
    with warnings.catch_warnings():
        import intern  # noqa: F401


@pytest.fixture(scope="module")
def filled(line: Line, tmp_path_factory: pytest.TempPathFactory) -> Line:
    """The line, with layers of each kind."""
    folder = tmp_path_factory.mktemp("sources")
    for number, (layer, (axes, voxels)) in enumerate(VOXELS.items()):
        np.save(folder / f"{number}.npy", voxels)
        size = (
            ("--voxel-size", "z=1,y=1,x=1", "--unit", "micrometer") if "cubic" in layer else SIZES
        )
        step = ("--time-step", "2") if "t" in axes else ()
        line.ingest(folder / f"{number}.npy", layer, "--axes", axes, *size, *step,
                    "--chunk", ",".join("32" if a in "zyx" else "1" for a in axes))  # fmt: skip
    np.save(folder / "ids.npy", ids())
    line.ingest(folder / "ids.npy", "intern/em/cells", "--axes", "zyx", *SIZES,
                "--kind", "labels", "--labels-of", "image")  # fmt: skip
    return line


@pytest.fixture(autouse=True)
def _configured(filled: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be nobody, and let intern's variables name the service."""
    be_nobody(tmp_path / "home", monkeypatch)
    monkeypatch.setenv("INTERN_PROTOCOL", "http")
    monkeypatch.setenv("INTERN_HOST", urlsplit(filled.url).netloc)
    monkeypatch.setenv("INTERN_TOKEN", "public")


KEYS = [
    3, (3, 5, 7), (slice(2, 9), 5, 7), (slice(None, 4), slice(0, 141), slice(0, 203)),
    (slice(0, 23), slice(10, 20), slice(190, 203)), (slice(22, 23), slice(0, 5), slice(1, 2)),
    (slice(1, 20, 5), slice(3, 99, 7), slice(0, 203, 50)),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("layer", ["image", "wide"])
def test_an_index_gives_the_sources_voxels(layer: str, key: Any) -> None:  # noqa: ANN401
    """Numbers and ranges; intern drops every extent of 1, and takes no notice of steps."""
    array = intern.array(f"bossdb://intern/em/{layer}")
    voxels = VOXELS[f"intern/em/{layer}"][1]
    assert (array.shape, array.dtype) == (SHAPE, str(voxels.dtype))
    words = key if isinstance(key, tuple) else (key,)
    plain = tuple(
        slice(k.start, k.stop) if isinstance(k, slice) else slice(k, k + 1) for k in words
    )
    if voxels[plain].squeeze().ndim == 0 or (voxels[plain].shape.count(1) > 1):
        # intern's own: it takes out the first extent of 1 and then looks for the second in place.
        with pytest.raises(IndexError):
            array[key]
        return
    np.testing.assert_array_equal(array[key], voxels[plain].squeeze(), strict=True)


RANGES = st.tuples(*(
    st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True).map(sorted) for n in SHAPE
))  # fmt: skip


@given(RANGES)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_box_is_the_sources(ranges: tuple[list[int], ...]) -> None:
    """Through intern's own request, decompression and reshaping."""
    remote = boss.BossRemote()
    channel = remote.get_channel("wide", "intern", "em")
    z, y, x = ranges
    found = remote.get_cutout(channel, 0, x, y, z)
    voxels = VOXELS["intern/em/wide"][1]
    np.testing.assert_array_equal(found, voxels[z[0] : z[1], y[0] : y[1], x[0] : x[1]])


@pytest.mark.parametrize(
    ("key", "words"),
    [(-1, "valid is z=0:23"), ((slice(0, 5), -3, 7), "y=.*counted from 0"),
     ((slice(0, 24), slice(0, 5), slice(0, 5)), "valid is z=0:23"),
     ((slice(None), slice(None), slice(None)), "out of bounds")],
)  # fmt: skip
def test_what_intern_gets_wrong_is_told_and_never_voxels(key: Any, words: str) -> None:  # noqa: ANN401
    """Negative numbers reach the service as they are, and ``[:, :, :]`` with x and z swapped."""
    array = intern.array("bossdb://intern/em/image")
    with pytest.raises(HTTPError, match=words) as caught:
        array[key]
    assert caught.value.response.status_code == 400


@pytest.mark.parametrize("layer", ["em/image", "cubic/image", "big/image"])
def test_every_resolution_has_the_shape_that_intern_says(layer: str) -> None:
    """X and y are halved and z never is, also where the pyramid halves all three."""
    voxels = VOXELS[f"intern/{layer}"][1]
    whole = intern.array(f"bossdb://intern/{layer}")
    assert len(whole.available_resolutions) > 1
    for number in whole.available_resolutions:
        array = intern.array(f"bossdb://intern/{layer}/{number}")
        z, y, x = array.shape
        assert (z, y, x) == (voxels.shape[0], voxels.shape[1] >> number, voxels.shape[2] >> number)
        found = array[0:8, 0:y, 0:x]
        assert found.shape == (8, y, x)
        # Each voxel is about the mean of those that it covers.
        f = 2**number
        y, x = voxels.shape[1] // f, voxels.shape[2] // f
        means = voxels[:8, : y * f, : x * f].reshape(8, y, f, x, f).mean((2, 4))
        assert np.abs(found[:, :y, :x] - means).max() <= number * 0.5 + 0.01


def test_levels_of_the_pyramid_are_served_as_they_are(filled: Line) -> None:
    """Where a stored level left z alone, its own voxels come."""
    stored = read_layer(Store(str(filled.root)), LayerId("intern", "em", "wide"))
    array = intern.array("bossdb://intern/em/wide", resolution=1)
    z, y, x = array.shape
    expected = np.asarray(stored.arrays[1].read().result())
    assert expected.shape[0] == SHAPE[0]
    np.testing.assert_array_equal(array[0:z, 0:y, 0:x], expected[:, :y, :x])


def test_voxel_size_unit_and_times_are_those_of_the_source() -> None:
    """The size is x y z, as intern has it; a step of time is a whole number."""
    array = intern.array("bossdb://intern/em/image")
    assert (array.voxel_size, array.voxel_unit) == ((4.0, 4.0, 30.0), "nanometers")
    remote = boss.BossRemote()
    times = remote.get_experiment("intern", "times")
    assert (times.num_time_samples, times.time_step, times.time_step_unit) == (4, 2, "seconds")
    frame = remote.get_coordinate_frame(times.coord_frame)
    assert (frame.x_stop, frame.y_stop, frame.z_stop) == (47, 33, 5)
    assert remote.get_extents(times) == [[0, 47], [0, 33], [0, 5]]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_time_series_of_several_channels_is_a_channel_each(index: int) -> None:
    """Any range of times is a fourth axis; without one the first time point is read."""
    voxels = VOXELS["intern/times/fluo"][1][:, index]
    remote = boss.BossRemote()
    channel = remote.get_channel(f"fluo--c{index}", "intern", "times")
    found = remote.get_cutout(channel, 0, [2, 40], [0, 33], [1, 4], [1, 4])
    np.testing.assert_array_equal(found, voxels[1:4, 1:4, :, 2:40])
    array = intern.array(f"bossdb://intern/times/fluo--c{index}")
    np.testing.assert_array_equal(array[1:4, 0:33, 2:40], voxels[0, 1:4, :, 2:40])


def test_what_is_listed_can_be_had() -> None:
    """Collections, experiments, channels and frames, through intern's own lists."""
    remote = boss.BossRemote()
    assert "intern" in remote.list_collections()
    assert set(remote.list_experiments("intern")) == {"em", "times", "big", "cubic"}
    assert remote.list_channels("intern", "em") == ["cells", "image", "wide"]
    assert remote.list_channels("intern", "times") == ["fluo--c0", "fluo--c1", "fluo--c2"]
    frames = remote.list_coordinate_frames()
    assert {"CF_intern_em", "CF_intern_times"} <= set(frames)
    for frame in frames:
        assert remote.get_project(described.CoordinateFrameResource(frame)).name == frame
    assert (
        remote.get_project(described.ExperimentResource("em", "intern")).hierarchy_method
        == "anisotropic"
    )
    assert remote.list_groups() == ["public"]
    everything = remote.list_permissions("public")
    assert {"intern/em"} <= {f"{each['collection']}/{each['experiment']}" for each in everything}
    with pytest.raises(HTTPError):
        remote.get_project(described.ChannelResource("none", "intern", "em"))


def test_labels_are_annotations_with_ids_and_bounding_boxes() -> None:
    """uint32 comes as uint64; ids of a region, the box of one, and cutouts of some."""
    remote, voxels = boss.BossRemote(), ids()
    channel = remote.get_channel("cells", "intern", "em")
    assert (channel.type, channel.datatype, channel.sources) == ("annotation", "uint64", ["image"])
    array = intern.array("bossdb://intern/em/cells")
    np.testing.assert_array_equal(array[0:23, 0:141, 0:203], voxels)
    every = [0, 203], [0, 141], [0, 23]
    assert remote.get_ids_in_region(channel, 0, *every) == [11, 2**31 + 5]
    assert remote.get_ids_in_region(channel, 0, [0, 20], [0, 141], [6, 9], [0, 1]) == [2**31 + 5]
    tight = remote.get_bounding_box(channel, 0, 11, "tight")
    assert (tight["x_range"], tight["y_range"], tight["z_range"]) == ([30, 203], [20, 141], [2, 23])
    loose = remote.get_bounding_box(channel, 0, 2**31 + 5, "loose")
    assert loose == {
        "x_range": [0, 203], "y_range": [0, 141], "z_range": [0, 23], "t_range": [0, 1],
    }  # fmt: skip
    for mode in Later("intern.service.boss.v1.volume").CacheMode:
        some = remote.get_cutout(channel, 0, *every, id_list=[11], access_mode=mode)
        np.testing.assert_array_equal(some, np.where(voxels == 11, 11, 0))


def test_a_large_read_comes_in_blocks_over_several_processes() -> None:
    """Over 30.2 million voxels intern asks for blocks, all at once."""
    voxels = VOXELS["intern/big/image"][1]
    array = intern.array("bossdb://intern/big/image")
    z, y, x = array.shape
    np.testing.assert_array_equal(array[0:z, 0:y, 0:x], voxels)


def test_metadata_of_what_was_ingested_is_an_empty_list() -> None:
    """There are no pairs, and one that is asked for is told to be absent."""
    data = Later("intern.convenience.array").Metadata(
        "bossdb://intern/em/image", remote=boss.BossRemote()
    )
    assert list(data.keys()) == []
    assert "species" not in data


def test_our_own_ingest_reads_our_own_service(filled: Line, tmp_path: Path) -> None:
    """Through ``bossdb+http://`` a layer comes back with its voxels, voxel size and times."""
    host = urlsplit(filled.url).netloc
    for name, layer in (("em/wide", "em/wide"), ("times/fluo--c2", "times/fluo"), ("em/cells", "")):
        address = f"bossdb+http://{host}/intern/{name}"
        root = tmp_path / name.replace("/", "-")
        kind = () if layer else ("--kind", "labels")
        assert (
            main(
                ["ingest", address, str(root), "--as", "a/b/c", *kind, "--allow-host", "127.0.0.1"]
            )
            == 0
        )
        found = read_layer(Store(str(root)), LayerId("a", "b", "c"))
        axes, voxels = VOXELS[f"intern/{layer}"] if layer else ("zyx", ids())
        expected = voxels[:, 2] if "c" in axes else voxels
        np.testing.assert_array_equal(np.asarray(found.arrays[0].read().result()), expected)
        scale = dict(zip(found.info.axes, found.info.levels[0].scale, strict=True))
        assert (scale["z"], scale["y"], scale.get("t", 2.0)) == (30.0, 4.0, 2.0)
        assert found.info.units[-1] == "nanometer"
