"""A volume describes itself and behaves as an array."""

import copy
import pickle
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import microtome
from microtome.errors import (
    AccessDenied,
    InputError,
    NotFound,
    RegionError,
    TooLarge,
    WrongAnswer,
)

Array = NDArray[np.uint16]


def test_a_volume_has_an_arrays_attributes(url: str, brain: Array) -> None:
    """Shape, size, type and length are those of the level."""
    volume = microtome.open(url)
    assert (volume.shape, volume.ndim, volume.size) == (brain.shape, brain.ndim, brain.size)
    assert (volume.dtype, volume.nbytes, len(volume)) == (brain.dtype, brain.nbytes, 3)


def test_a_volume_knows_its_layer(url: str) -> None:
    """Axes, voxel size, units, channels and the record come from the service."""
    volume = microtome.open(url + "/?from=mail")
    assert (volume.id, volume.name, volume.url) == ("demo/brain/neurons", "neurons", url)
    assert (volume.axes, volume.kind, volume.unit) == ("czyx", "image", "micrometer")
    assert volume.voxel_size == {"z": 1.0, "y": 0.4, "x": 0.4}
    assert volume.units == {"c": None} | dict.fromkeys("zyx", "micrometer")
    assert [channel.name for channel in volume.channels] == ["DAPI", "GFP", "RFP"]
    assert volume.attrs == {"session_description": "a test"}


def test_levels_are_volumes(url: str, brain: Array) -> None:
    """`level(n)` is the same layer at another resolution; negative ones count from the coarsest."""
    volume = microtome.open(url, level=1)
    assert (volume.level_index, len(volume.levels)) == (1, 3)
    coarse = volume.level(-1)
    assert (coarse.level_index, coarse.shape) == (2, (3, 20, 12, 10))
    assert coarse.voxel_size == {"z": 1.0, "y": 1.6, "x": 1.6}
    assert np.array_equal(coarse[0], brain[0, :, ::4, ::4])
    assert np.array_equal(coarse.level(0)[...], brain)


@pytest.mark.parametrize("level", [3, -4])
def test_a_level_that_there_is_not(url: str, level: int) -> None:
    """The error says which levels there are."""
    with pytest.raises(NotFound, match="levels 0 to 2"):
        microtome.open(url, level=level)


def test_numpy_takes_a_volume_for_an_array(url: str, brain: Array) -> None:
    """np.asarray reads the whole level, in the type asked for."""
    volume = microtome.open(url)
    assert np.array_equal(np.asarray(volume), brain)
    assert np.asarray(volume, dtype=np.float32).dtype == np.float32
    assert np.array_equal(np.array(volume), brain)
    with pytest.raises(ValueError, match="always a copy"):
        volume.__array__(copy=False)


def test_iteration_gives_the_planes(url: str, brain: Array) -> None:
    """A volume is iterated over its first axis."""
    planes = list(microtome.open(url))
    assert len(planes) == 3
    assert np.array_equal(np.stack(planes), brain)


def test_volumes_are_pickled_and_copied(url: str, brain: Array) -> None:
    """A copy reads the same level over connections of its own."""
    volume = microtome.open(url, level=1, retries=2)
    for other in (pickle.loads(pickle.dumps(volume)), copy.copy(volume), copy.deepcopy(volume)):
        assert other.transport.patience == volume.transport.patience
        assert np.array_equal(other[1], brain[1, :, ::2, ::2])


def test_the_token_is_read_when_a_volume_is_opened(
    server: Any,  # noqa: ANN401 - conftest's server
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MICROTOME_TOKEN stands in for token=, which goes first, even if it is empty."""
    monkeypatch.setenv("MICROTOME_TOKEN", "from-outside")
    for token, sent in ((None, "Bearer from-outside"), ("mine", "Bearer mine"), ("", None)):
        _ = microtome.open(url, token=token)[0, 0]
        assert {h.get("Authorization") for h in server.headers[-2:]} == {sent}


def test_a_service_may_have_a_prefix(server: Any, brain: Array) -> None:  # noqa: ANN401
    """Everything is asked for below it."""
    server.prefix = "/data/v2"
    assert np.array_equal(microtome.open(server.add(brain, "czyx"))[2, 5], brain[2, 5])
    assert all(path.startswith("/data/v2/api/") for path in server.asked)


def test_a_layer_that_there_is_not(url: str) -> None:
    """The service's own words are the error, with its status."""
    with pytest.raises(NotFound, match=r"there is no such layer \(404 Not Found") as caught:
        microtome.open(url.replace("neurons", "axons"))
    assert isinstance(caught.value, microtome.errors.ServiceError)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"id": "demo/brain/axons"}, "describes layer 'demo/brain/axons'"),
        ({"axes": "xyzc"}, "axes 'xyzc'"),
        ({"dtype": "object"}, "dtype object"),
        ({"dtype": "no type"}, "no type"),
        ({"levels": ()}, "0 levels"),
        ({"units": ()}, "0 units"),
        ({"axes": 5}, "5|int"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(
    server: Any,  # noqa: ANN401
    url: str,
    words: dict[str, Any],
    message: str,
) -> None:
    """Nothing is built on a description that contradicts itself."""
    layer = server.layers["demo/brain/neurons"]
    layer.info = replace(layer.info, **words)
    with pytest.raises(WrongAnswer, match=message):
        microtome.open(url)


@pytest.mark.parametrize(
    "words",
    [
        {"shape": (3, 20, 48)},
        {"shape": (3, 20, 48, 0)},
        {"chunk": (1, 16, 16, "16")},
        {"shard": (1, 32, 32, 1.5)},
        {"scale": (1.0, 0.0, 1.0, 1.0)},
        {"scale": (1.0, float("inf"), 1.0, 1.0)},
        {"translation": (0.0, None, 0.0, 0.0)},
        {"translation": 7},
    ],
)
def test_a_level_that_makes_no_sense_is_refused(
    server: Any,  # noqa: ANN401
    url: str,
    words: dict[str, Any],
) -> None:
    """Extents are whole and positive, sizes finite, and there is one for each axis."""
    layer = server.layers["demo/brain/neurons"]
    levels = (replace(layer.info.levels[0], **words), *layer.info.levels[1:])
    layer.info = replace(layer.info, levels=levels)
    with pytest.raises(WrongAnswer, match="level 0 does not fit axes czyx"):
        microtome.open(url)


@pytest.mark.parametrize(
    "value", ["[]", "5", "null", '{"levels": 3}', '{"id": "demo/brain/neurons"}']
)
def test_other_json_is_refused(server: Any, url: str, value: str) -> None:  # noqa: ANN401
    """A service of another kind is not taken for this one."""
    server.everywhere = True
    server.lie(body=value.encode(), Content_Length=str(len(value)))
    with pytest.raises(WrongAnswer, match="not a layer's JSON"):
        microtome.open(url)


def test_volumes_are_equal_that_are_the_same_level(server: Any, url: str) -> None:  # noqa: ANN401
    """Of the same version of one layer; and so are their hashes."""
    volume = microtome.open(url)
    assert volume == microtome.open(url, retries=1)
    assert len({volume, microtome.open(url), volume.level(0)}) == 1
    assert volume != volume.level(1)
    assert volume != url
    layer = server.layers[volume.id]
    layer.info = replace(layer.info, version="2")
    assert volume != microtome.open(url)


def test_iteration_reads_planes_together_and_ahead(server: Any, brain: Array) -> None:  # noqa: ANN401
    """Twenty planes of one row of chunks are few requests; each plane is an array of its own."""
    volume = microtome.open(server.add(brain[0], "zyx", name="demo/brain/stack"))
    planes = list(volume)
    assert np.array_equal(np.stack(planes), brain[0])
    assert all(plane.base is None for plane in planes)
    assert len(server.cutouts) == 2


def test_leaving_a_loop_ends_what_is_read_ahead(
    server: Any,  # noqa: ANN401
    brain: Array,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No more is asked for, and no thread stays."""
    monkeypatch.setattr("microtome.arrays._AHEAD", 1)
    volume = microtome.open(server.add(brain[0], "zyx", name="demo/brain/stack"))
    for _ in volume:
        break
    asked = len(server.cutouts)
    for thread in [t for t in threading.enumerate() if t.name.startswith("microtome-ahead")]:
        thread.join(3)
        assert not thread.is_alive()
    assert asked <= len(server.cutouts) <= asked + 1 <= 4


def test_other_libraries_take_a_volume(url: str, brain: Array) -> None:
    """By DLPack, without knowing of it."""
    assert np.array_equal(np.from_dlpack(microtome.open(url)), brain)


def test_what_memory_cannot_hold_is_not_taken_for_an_array(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An accident of np.asarray ends in an error that says what to do."""
    monkeypatch.setattr("microtome.memory._memory", lambda: 1000)
    with pytest.raises(TooLarge, match=r"overview\(\)"):
        np.asarray(microtome.open(url))
    monkeypatch.setattr("microtome.memory._memory", lambda: None)
    assert np.asarray(microtome.open(url)).shape == (3, 20, 48, 40)


def test_axes_are_read_by_name(url: str, brain: Array) -> None:
    """In voxels, strictly: a range beyond the volume is an error, as a misspelt axis is."""
    volume = microtome.open(url)
    assert np.array_equal(volume.read(c="GFP", z=(2, 5), x=-1), brain[1, 2:5, :, -1])
    assert np.array_equal(volume.read(np.s_[0, 3]), brain[0, 3])
    assert np.array_equal(volume.read(y=slice(None, None, 7)), brain[:, :, ::7])
    for words, message in (
        ({"z": (0, 21)}, "z=0:21 is out of bounds: valid is z=0:20"),
        ({"q": 1}, "axis 'q' is unknown: the axes are 'czyx'"),
        ({"c": "YFP"}, "'DAPI', 'GFP', 'RFP'"),
        ({"z": 20}, "out of bounds for axis z"),
    ):
        with pytest.raises(RegionError, match=message):
            volume.read(**words)
    for words in ({"z": 1.5}, {"z": True}, {"key": 0, "z": 1}):
        with pytest.raises(InputError, match="expected"):
            volume.read(**words)


def test_a_refused_token_says_how_to_log_in(server: Any, url: str) -> None:  # noqa: ANN401
    """401 names token= and the environment's variable."""
    server.everywhere = True
    server.fail(401, detail="credentials needed")
    with pytest.raises(AccessDenied, match=r"token= .* MICROTOME_TOKEN"):
        microtome.open(url)
