"""A volume describes itself and behaves as an array."""

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import microtome
from microtome.errors import NotFound, WrongAnswer

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
