"""The store in BossDB's words: what is listed can be read, and says what intern needs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from microtome_core.store.location import Store

RESOURCE = {
    "collection": {"name", "description", "creator"},
    "experiment": {
        "name", "description", "creator", "coord_frame", "num_hierarchy_levels",
        "hierarchy_method", "num_time_samples", "time_step", "time_step_unit", "channels",
        "collection",
    },
    "channel": {
        "name", "description", "type", "datatype", "base_resolution", "default_time_sample",
        "sources", "related", "creator", "public", "downsample_status", "storage_type",
    },
    "coord": {
        "name", "description", "x_start", "x_stop", "x_voxel_size", "y_start", "y_stop",
        "y_voxel_size", "z_start", "z_stop", "z_voxel_size", "voxel_unit",
    },
}  # fmt: skip


@pytest.fixture
def store() -> Store:
    """An empty store in memory."""
    return Store("memory://resources")


@pytest.fixture
def call(store: Store, make_builder: Any, make_ramp: Any, connect: Any) -> Any:  # noqa: ANN401
    """A caller of a store with layers of many kinds."""
    builder = make_builder(store)
    builder.layer("demo/brain/em", "zyx", make_ramp((20, 61, 83), "uint16"), levels=3)
    ids = np.zeros((20, 61, 83), "uint32")
    builder.layer("demo/brain/cells", "zyx", ids, labels_of="em")
    builder.layer("demo/brain/overview", "yx", make_ramp((6, 7), "uint8"))
    builder.layer("demo/times/fluo", "tczyx", make_ramp((3, 2, 2, 9, 10), "uint8"))
    builder.layer("my_lab/x_y/a--c1", "cyx", make_ramp((1, 9, 10), "uint8"))
    builder.layer("demo/other/heat", "zyx", make_ramp((4, 5, 6), "float32"))
    builder.layer("demo/other/signed", "zyx", make_ramp((4, 5, 6), "int16"))
    return connect(store)


@pytest.mark.parametrize("prefix", ["/v1", "/latest"])
@pytest.mark.parametrize("slash", ["", "/", "//"])
def test_everything_listed_is_there_and_says_what_is_needed(
    call: Any,  # noqa: ANN401 - the folder's own class
    prefix: str,
    slash: str,
) -> None:
    """With slashes at the end or without, under both prefixes, down to the last channel."""

    def ask(path: str) -> Any:  # noqa: ANN401 - JSON
        answer = call.get(f"{prefix}{path}{slash}")
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    seen = []
    frames = ask("/coord")["coords"]
    for frame in frames:
        assert ask(f"/coord/{frame}").keys() >= RESOURCE["coord"]
    for c in ask("/collection")["collections"]:
        assert ask(f"/collection/{c}").keys() >= RESOURCE["collection"]
        for e in ask(f"/collection/{c}/experiment")["experiments"]:
            found = ask(f"/collection/{c}/experiment/{e}")
            assert found.keys() >= RESOURCE["experiment"]
            assert found["coord_frame"] in frames
            channels = ask(f"/collection/{c}/experiment/{e}/channel")["channels"]
            assert channels == found["channels"]
            for ch in channels:
                channel = ask(f"/collection/{c}/experiment/{e}/channel/{ch}")
                assert channel.keys() >= RESOURCE["channel"]
                assert (channel["name"], channel["storage_type"]) == (ch, "spdb")
                frame = ask(f"/coord/{found['coord_frame']}")
                down = ask(f"/downsample/{c}/{e}/{ch}")
                assert down["extent"]["0"] == [frame[f"{axis}_stop"] for axis in "xyz"]
                assert down["voxel_size"]["0"] == [frame[f"{axis}_voxel_size"] for axis in "xyz"]
                seen.append(f"{c}/{e}/{ch}:{channel['datatype']}:{channel['type']}")
    assert seen == [
        "demo/brain/cells:uint64:annotation",
        "demo/brain/em:uint16:image",
        "demo/brain--overview/overview:uint8:image",
        "demo/times/fluo--c0:uint8:image",
        "demo/times/fluo--c1:uint8:image",
        "my_lab/x_y/a--c1:uint8:image",
    ]


def test_a_dataset_of_several_extents_is_several_experiments(call: Any) -> None:  # noqa: ANN401
    """Intern takes the shape from the experiment's one frame: a channel of another is elsewhere."""
    there = call.get("/v1/collection/demo/experiment/brain--overview/channel/overview")
    assert there.status_code == 200
    answer = call.get("/v1/collection/demo/experiment/brain/channel/overview")
    assert (answer.status_code, answer.json()["code"]) == (404, 4000)
    assert "experiment brain--overview" in answer.json()["message"]
    # An experiment by the name of any of its layers is the same one.
    alias = call.get("/v1/collection/demo/experiment/brain--em").json()
    plain = call.get("/v1/collection/demo/experiment/brain").json()
    assert alias == {**plain, "name": "brain--em"}
    frame = call.get("/v1/coord/CF_demo_brain").json()
    assert [frame[f"{axis}_stop"] for axis in "zyx"] == [20, 61, 83]
    assert [frame[f"{axis}_voxel_size"] for axis in "zyx"] == [2.0, 0.5, 0.5]
    assert frame["voxel_unit"] == "micrometers"


def test_a_layer_of_several_channels_is_its_first_by_its_plain_name(call: Any) -> None:  # noqa: ANN401
    """It says so by its name; a number too high is refused and the valid ones are named."""
    base = "/v1/collection/demo/experiment/times/channel"
    assert call.get(f"{base}/fluo").json()["name"] == "fluo--c0"
    assert "channel 0 of layer demo/times/fluo" in call.get(f"{base}/fluo").json()["description"]
    answer = call.get(f"{base}/fluo--c2")
    assert (answer.status_code, answer.json()["code"]) == (400, 1000)
    assert "--c0 to --c1" in answer.json()["message"]
    # A layer that is called like a part of another is itself.
    assert (
        call.get("/v1/collection/my_lab/experiment/x_y/channel/a--c1--c0").json()["name"] == "a--c1"
    )


def test_times_are_told_of_the_experiment(call: Any) -> None:  # noqa: ANN401 - the folder's own class
    """As many as the channel that has most, and in a unit in which a step is a whole number."""
    found = call.get("/v1/collection/demo/experiment/times").json()
    times = {key: found[key] for key in ("num_time_samples", "time_step", "time_step_unit")}
    assert times == {
        "num_time_samples": 3, "time_step": 500, "time_step_unit": "milliseconds",
    }  # fmt: skip
    still = call.get("/v1/collection/demo/experiment/brain").json()
    assert (still["num_time_samples"], still["time_step_unit"]) == (1, "")


@pytest.mark.parametrize("layer", ["heat", "signed"])
@pytest.mark.parametrize("path", ["/v1/collection/demo/experiment/other/channel/{}",
                                  "/v1/cutout/demo/other/{}/0/0:1/0:1/0:1/"])  # fmt: skip
def test_types_that_bossdb_lacks_are_refused_and_the_way_is_told(
    call: Any,  # noqa: ANN401 - the folder's own class
    layer: str,
    path: str,
) -> None:
    """Floats and signed images are in no list; who asks for one is told where it can be read."""
    answer = call.get(path.format(layer))
    assert (answer.status_code, answer.json()["code"]) == (400, 2001)
    assert f"/api/datasets/demo/other/{layer}/cutout" in answer.json()["message"]
    assert call.get("/v1/collection/demo/experiment/other").json()["channels"] == []


def test_sources_of_labels_are_the_image_they_lie_in(call: Any) -> None:  # noqa: ANN401
    """A label image that belongs to an image names it, and says how it is stored."""
    found = call.get("/v1/collection/demo/experiment/brain/channel/cells").json()
    assert found["sources"] == ["em"]
    assert "stored as uint32, given as uint64" in found["description"]


@pytest.mark.parametrize(
    "path",
    ["collection/none", "collection/demo/experiment/none", "collection/none/experiment",
     "collection/demo/experiment/brain/channel/none", "coord/none", "coord/CF_demo_none",
     "coord/CF_", "collection/UPPER", "collection/demo/experiment/a--b--c--d", "nothing",
     "collection/..%2f..%2fetc", "coord/..%2f..%2fzarr", "collection/demo/experiment/%00",
     "collection/demo/experiment/brain--none", "collection/%F0%9F%A7%A0/experiment/x",
     "downsample/demo/brain/none", "collection/demo/experiment/brain/channel/em/more",
     "coord/" + "a" * 5000, "collection/" + "a" * 5000, "sso/user/somebody", "groups/none"],
)  # fmt: skip
def test_what_is_not_there_is_404_as_bossdb_says_it(
    call: Any,  # noqa: ANN401 - the folder's own class
    path: str,
) -> None:
    """A status, a code and a message; the path is not repeated whole."""
    answer = call.get(f"/v1/{path}")
    assert answer.status_code == 404, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"status", "code", "message"}
    assert (answer.json()["status"], answer.json()["code"]) == (404, 4000)
    assert len(answer.content) < 1200


def test_a_damaged_layer_hides_no_other(
    call: Any,  # noqa: ANN401 - the folder's own class
    store: Store,
) -> None:
    """It is in no list, and who asks for it is told that storage failed."""
    store.write("demo/brain/em/zarr.json", b"{")
    assert call.get("/v1/collection/demo/experiment/brain--overview").status_code == 200
    answer = call.get("/v1/cutout/demo/brain/em/0/0:1/0:1/0:1/")
    assert (answer.status_code, answer.json()["code"]) == (503, 5000)
    assert answer.headers["retry-after"] == "2"


def test_unknown_parameters_and_methods_are_refused(call: Any) -> None:  # noqa: ANN401
    """What would be answered with something else is 400, and methods that are not there 405."""
    assert call.get("/v1/collection?lmit=3").status_code == 400
    assert call.get("/v1/downsample/demo/brain/em?iso=true").status_code == 400
    answer = call("PATCH", "/v1/collection/demo")
    assert (answer.status_code, answer.json()["status"]) == (405, 405)
    assert "GET" in answer.headers["allow"]


def test_names_of_experiments_may_hold_two_hyphens(
    service_store: Store,
    make_builder: Callable[..., Any],
    make_ramp: Callable[..., Any],
    connect: Callable[..., Any],
) -> None:
    """A dataset that is called like a part of another comes first."""
    builder = make_builder(service_store)
    builder.layer("c/a/b", "zyx", make_ramp((2, 3, 4), "uint8"))
    builder.layer("c/a--b/x--y", "zyx", make_ramp((5, 6, 7), "uint8"))
    builder.layer("c/a--b/z", "zyx", make_ramp((5, 6, 8), "uint8"))
    call = connect(service_store)
    assert call.get("/v1/collection/c/experiment/a--b").json()["channels"] == ["z"]
    found = call.get("/v1/collection/c/experiment/a--b--x--y").json()
    assert found["channels"] == ["x--y"]
    assert call.get(f"/v1/coord/{found['coord_frame']}").json()["x_stop"] == 7
