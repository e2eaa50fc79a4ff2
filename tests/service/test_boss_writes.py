"""Creating and writing through the BossDB API: by those who may, whole, or not at all."""

import io
import json
import zlib
from collections.abc import Callable
from typing import Any

import blosc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.names import LayerId
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from tests.service.boss_lab import EXPERIMENT, FRAME, SEG, furnish

BLOSC = {"Content-Type": "application/blosc"}
CUTOUT = "/v1/cutout/lab/exp/seg/0"


@pytest.fixture
def store(make_builder: Any, make_ramp: Any) -> Store:  # noqa: ANN401
    """A store in memory with one layer that was ingested; on disk intern itself writes."""
    found = Store("memory://writes")
    make_builder(found).layer("demo/brain/em", "zyx", make_ramp((4, 20, 30), "uint8"))
    return found


@pytest.fixture
def call(store: Store, connect: Callable[..., Any]) -> Any:  # noqa: ANN401
    """A caller whom everything is allowed."""
    return connect(store, anonymous_writes=True)


@pytest.fixture
def lab(call: Any) -> Any:  # noqa: ANN401 - the folder's own class
    """The same, in a furnished store."""
    furnish(call)
    return call


def packed(voxels: NDArray[Any]) -> bytes:
    """Compress as intern does."""
    return bytes(blosc.compress(np.ascontiguousarray(voxels), typesize=64))


def read(call: Any, region: str, name: str = "seg", number: int = 0) -> NDArray[Any]:  # noqa: ANN401
    """Return the voxels of a region."""
    answer = call.get(
        f"/v1/cutout/lab/exp/{name}/{number}/{region}/", headers={"Accept": "application/npygz"}
    )
    assert answer.status_code == 200, answer.text
    return np.asarray(np.load(io.BytesIO(zlib.decompress(answer.content)), allow_pickle=False))


WHOLE = "0:90/0:70/0:12"
# In the order in which they may be deleted.
RESOURCES = (
    SEG,
    "/v1/collection/lab/experiment/exp",
    "/v1/collection/lab",
    "/v1/coord/CF_lab_exp",
)


def test_what_is_created_is_what_was_described(lab: Any, store: Store) -> None:  # noqa: ANN401
    """All words come back, the layer is OME-Zarr of the frame, and its levels halve x and y."""
    found = lab.get(SEG).json()
    assert (found["type"], found["datatype"], found["sources"]) == ("annotation", "uint64", ["em"])
    assert lab.get("/v1/collection/lab").json()["description"] == "of mine"
    frame = lab.get("/v1/coord/CF_lab_exp").json()
    assert frame == {"name": "CF_lab_exp", "description": "", **FRAME,
                     "x_start": 0, "y_start": 0, "z_start": 0}  # fmt: skip
    experiment = lab.get("/v1/collection/lab/experiment/exp").json()
    assert (experiment["num_hierarchy_levels"], experiment["channels"]) == (3, ["seg"])
    info = read_layer(store, LayerId("lab", "exp", "seg")).info
    assert [level.shape for level in info.levels] == [(12, 70, 90), (12, 35, 45), (12, 18, 23)]
    assert info.levels[0].scale == (30.5, 4.0, 4.0)
    assert (info.units[0], info.kind, info.writable) == ("nanometer", "labels", True)
    assert lab.get("/v1/collection/").json() == {"collections": ["demo", "lab"]}
    assert np.count_nonzero(read(lab, WHOLE)) == 0


def test_what_is_written_is_read_back(lab: Any) -> None:  # noqa: ANN401 - the folder's own class
    """Any part; of ids 0 leaves what is there, as at BossDB, and to_black erases."""
    ids = np.random.default_rng(1).integers(1, 2**63, (12, 70, 90), "uint64")
    assert lab("POST", f"{CUTOUT}/{WHOLE}/", content=packed(ids), headers=BLOSC).status_code == 201
    np.testing.assert_array_equal(read(lab, WHOLE), ids)
    part = np.zeros((5, 10, 20), "uint64")
    part[2, 3:5, 4:9] = 5
    url = f"{CUTOUT}/30:50/20:30/4:9/"
    assert lab("POST", url, content=packed(part), headers=BLOSC).status_code == 201
    ids[6, 23:25, 34:39] = 5
    np.testing.assert_array_equal(read(lab, WHOLE), ids)
    black = "/v1/cutout/to_black/lab/exp/seg/0/0:90/0:35/3:12/"
    assert lab("PUT", black).status_code == 200
    ids[3:12, 0:35] = 0
    np.testing.assert_array_equal(read(lab, WHOLE), ids)


def test_every_voxel_of_an_image_is_written_zeros_too(lab: Any) -> None:  # noqa: ANN401
    """0 is a brightness like any other; times are a fourth axis."""
    body = {**EXPERIMENT, "num_time_samples": 3, "time_step": 250, "time_step_unit": "milliseconds"}
    lab("POST", "/v1/collection/lab/experiment/film", json=body)
    url = "/v1/collection/lab/experiment/film/channel/em"
    created = lab("POST", url, json={"type": "image", "datatype": "uint16"})
    assert created.status_code == 201, created.text
    found = lab.get("/v1/collection/lab/experiment/film").json()
    assert (found["num_time_samples"], found["time_step"]) == (3, 250)
    rng = np.random.default_rng(2)
    for _ in range(2):
        voxels = rng.integers(0, 3, (2, 4, 10, 20), "uint16")
        cutout = "/v1/cutout/lab/film/em/0/30:50/20:30/4:8/1:3/"
        assert lab("POST", cutout, content=packed(voxels), headers=BLOSC).status_code == 201
        answer = lab.get(cutout, headers={"Accept": "application/npygz"})
        again = np.load(io.BytesIO(zlib.decompress(answer.content)), allow_pickle=False)
        np.testing.assert_array_equal(again, voxels)
    first = lab.get("/v1/cutout/lab/film/em/0/30:50/20:30/4:8/")
    assert not any(blosc.decompress(first.content))


def test_an_etag_changes_with_what_is_written(lab: Any) -> None:  # noqa: ANN401
    """Whoever has the old voxels gets the new ones."""
    url = f"{CUTOUT}/0:4/0:4/0:4/"
    etag = lab.get(url).headers["etag"]
    assert lab.get(url, headers={"If-None-Match": etag}).status_code == 304
    lab("POST", url, content=packed(np.ones((4, 4, 4), "uint64")), headers=BLOSC)
    assert lab.get(url, headers={"If-None-Match": etag}).status_code == 200


def bodies() -> list[tuple[str, bytes, int, int]]:
    """Return bodies that are none for 2 × 3 × 4 voxels of uint64."""
    good = packed(np.ones((2, 3, 4), "uint64"))
    bomb = bytearray(packed(np.zeros(1 << 24, "uint8")))
    lying = bytearray(good)
    lying[4:8] = (2**31 - 1).to_bytes(4, "little")
    return [
        ("empty", b"", 400, 1000),
        ("short", good[:10], 400, 1000),
        ("cut", good[:-3], 400, 1000),
        ("long", good + b"\0" * 8, 400, 1000),
        ("text", b"x" * 64, 400, 2002),
        ("pickle", blosc.pack_array(np.ones((2, 3, 4), "uint64")), 400, 2002),
        ("narrow", packed(np.ones((2, 3, 4), "uint32")), 400, 2001),
        ("bytes", packed(np.ones((2, 3, 4), "uint8")), 400, 2001),
        ("fewer", packed(np.ones((2, 3, 3), "uint64")), 400, 2002),
        ("bomb", bytes(bomb), 413, 2000),
        ("claim", bytes(lying), 400, 2002),
        ("megabytes", b"\0" * (1 << 20), 413, 2000),
    ]


@pytest.mark.parametrize(
    ("body", "status", "code"), [b[1:] for b in bodies()], ids=[b[0] for b in bodies()]
)
def test_bodies_that_are_no_such_voxels_are_refused_unread(
    lab: Any,  # noqa: ANN401 - the folder's own class
    body: bytes,
    status: int,
    code: int,
) -> None:
    """By what they claim, before anything is decoded; nothing is written."""
    answer = lab("POST", f"{CUTOUT}/0:4/0:3/0:2/", content=body, headers=BLOSC)
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] in (code, 1000), answer.text
    assert np.count_nonzero(read(lab, WHOLE)) == 0


@given(st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_damage_to_a_body_is_an_error_of_the_service(lab: Any, data: st.DataObject) -> None:  # noqa: ANN401
    """Whatever bytes are changed, it is voxels of the right size or it is refused."""
    body = bytearray(packed(np.arange(24, dtype="uint64").reshape(2, 3, 4) // 3))
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    answer = lab("POST", f"{CUTOUT}/0:4/0:3/0:2/", content=bytes(body), headers=BLOSC)
    assert answer.status_code in (201, 400, 413)


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("POST", f"{CUTOUT}/0:91/0:3/0:2/", 400),
        ("POST", f"{CUTOUT}/-1:2/0:3/0:2/", 400),
        ("POST", f"{CUTOUT}/4:0/0:3/0:2/", 400),
        ("POST", f"{CUTOUT}/0:4/0:3/0:2/0:2/", 400),
        ("POST", f"{CUTOUT}/0:{'9' * 500}/0:3/0:2/", 400),
        ("POST", f"{CUTOUT}/0:4/0:3/0:2/?filter=3", 400),
        ("POST", "/v1/cutout/lab/exp/seg/1/0:4/0:3/0:2/", 400),
        ("POST", "/v1/cutout/lab/exp/none/0/0:4/0:3/0:2/", 404),
        ("POST", "/v1/cutout/demo/brain/em/0/0:4/0:3/0:2/", 409),
        ("PUT", "/v1/cutout/to_black/demo/brain/em/0/0:4/0:3/0:2/", 409),
        ("PUT", "/v1/cutout/to_black/lab/exp/seg/0/0:4/0:3/0:13/", 400),
        ("DELETE", "/v1/collection/demo/experiment/brain/channel/em", 409),
        ("DELETE", "/v1/collection/demo/experiment/brain", 409),
        ("DELETE", "/v1/collection/lab/experiment/exp", 409),
        ("DELETE", "/v1/collection/lab", 409),
        ("DELETE", "/v1/coord/CF_lab_exp", 409),
        ("DELETE", "/v1/coord/CF_demo_brain", 409),
        ("DELETE", "/v1/collection/none", 404),
        ("DELETE", "/v1/collection/lab/experiment/none", 404),
        ("GET", "/v1/reserve/demo/brain/em/3", 400),
        ("GET", "/v1/reserve/lab/exp/seg/0", 400),
        ("GET", "/v1/reserve/lab/exp/seg/99999999999", 400),
        ("DELETE", "/v1/downsample/lab/exp/seg", 400),
        ("PUT", "/v1/cutout/lab/exp/seg/0/0:4/0:3/0:2/", 405),
    ],
)
def test_what_cannot_be_written_is_refused(
    lab: Any,  # noqa: ANN401 - the folder's own class
    method: str,
    url: str,
    status: int,
) -> None:
    """Regions that are none, channels that were ingested, and what something lies in."""
    options = {"content": packed(np.ones((2, 3, 4), "uint64")), "headers": BLOSC}
    answer = lab(method, url, **(options if method == "POST" else {}))
    assert answer.status_code == status, answer.text
    assert answer.json()["status"] == status
    assert np.count_nonzero(read(lab, WHOLE)) == 0


@pytest.mark.parametrize("kind", ["application/blosc-python", "application/json", "", "text/html"])
def test_pickles_are_never_taken(lab: Any, kind: str) -> None:  # noqa: ANN401
    """Nor anything else than blosc."""
    body = packed(np.ones((2, 3, 4), "uint64"))
    headers = {"Content-Type": kind} if kind else {}
    answer = lab("POST", f"{CUTOUT}/0:4/0:3/0:2/", content=body, headers=headers)
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/v1/collection/UPPER", {}),
        ("/v1/collection/x", {"name": "y"}),
        ("/v1/collection/x", {"description": "a" * 70000}),
        ("/v1/collection/x", {"description": "\ud800"}),
        ("/v1/collection/x", []),
        ("/v1/collection/x", {"description": 5}),
        ("/v1/coord/f", {**FRAME, "x_stop": 0}),
        ("/v1/coord/f", {**FRAME, "x_stop": 2**70}),
        ("/v1/coord/f", {**FRAME, "x_stop": 2**40, "y_stop": 2**40}),
        ("/v1/coord/f", {**FRAME, "x_start": 5}),
        ("/v1/coord/f", {**FRAME, "x_voxel_size": -1}),
        ("/v1/coord/f", {**FRAME, "voxel_unit": "pixels"}),
        ("/v1/coord/..f", FRAME),
        ("/v1/collection/lab/experiment/e", {**EXPERIMENT, "num_hierarchy_levels": 0}),
        ("/v1/collection/lab/experiment/e", {}),
        ("/v1/collection/lab/experiment/E", EXPERIMENT),
        ("/v1/collection/lab/experiment/e", {**EXPERIMENT, "hierarchy_method": "iso"}),
        ("/v1/collection/lab/experiment/exp/channel/c", {"type": "image", "datatype": "float32"}),
        ("/v1/collection/lab/experiment/exp/channel/c", {"type": "mask", "datatype": "uint8"}),
        ("/v1/collection/lab/experiment/exp/channel/C", {"type": "image", "datatype": "uint8"}),
        ("/v1/collection/lab/experiment/exp/channel/annotations",
         {"type": "image", "datatype": "uint8"}),
    ],
)  # fmt: skip
def test_descriptions_that_cannot_be_are_refused(lab: Any, url: str, body: Any) -> None:  # noqa: ANN401
    """Names that are none or another's, numbers that cannot be, half characters."""
    answer = lab("POST", url, content=json.dumps(body))
    assert answer.status_code == 400, answer.text
    assert (answer.json()["code"], lab.get(url).status_code) == (1000, 404)


def test_bodies_that_are_not_json_are_refused(lab: Any) -> None:  # noqa: ANN401
    """However deep, and no longer than they may be."""
    for body, status in ((b"{", 400), (b"[" * 100_000, 400), (b"\xff", 400), (b" " * 2**21, 413)):
        answer = lab("POST", "/v1/collection/x", content=body)
        assert answer.status_code == status, body[:10]


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/v1/collection/lab", {"description": "another"}),
        ("/v1/collection/demo", {}),
        ("/v1/coord/CF_lab_exp", {**FRAME, "x_stop": 91}),
        ("/v1/coord/CF_demo_brain", FRAME),
        ("/v1/collection/lab/experiment/exp", EXPERIMENT),
        ("/v1/collection/demo/experiment/brain", EXPERIMENT),
        (SEG, {"type": "annotation", "datatype": "uint64"}),
        ("/v1/collection/lab/experiment/other", {"coord_frame": "CF_demo_brain"}),
    ],
)
def test_what_exists_is_not_created_again(lab: Any, url: str, body: dict[str, Any]) -> None:  # noqa: ANN401
    """It is a conflict, and stays as it was."""
    before = lab.get(url).json()
    answer = lab("POST", url, json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, 4001)
    assert lab.get(url).json() == before


def test_descriptions_are_changed_and_resources_deleted(lab: Any, store: Store) -> None:  # noqa: ANN401
    """From the channel up; afterwards nothing of them is left in the store."""
    for url in (
        SEG,
        "/v1/collection/lab/experiment/exp",
        "/v1/collection/lab",
        "/v1/coord/CF_lab_exp",
    ):
        name = url.rsplit("/", 1)[1]
        answer = lab("PUT", url, json={"name": name, "description": "new words"})
        assert (answer.status_code, answer.json()["description"]) == (200, "new words")
        assert lab.get(url).json()["description"] == "new words"
        assert lab("PUT", url, json={"name": "renamed"}).status_code == 400
    for url in (
        SEG,
        "/v1/collection/lab/experiment/exp",
        "/v1/collection/lab",
        "/v1/coord/CF_lab_exp",
    ):
        assert lab("DELETE", url).status_code == 204
        assert lab.get(url).status_code == 404
        assert lab("DELETE", url).status_code == 404
    assert store.children() == ["demo"] or store.children() == [".bossdb", "demo"]
    assert list(store.sizes("lab")) == list(store.sizes(".bossdb")) == []


def test_visibility_is_not_said_here(lab: Any) -> None:  # noqa: ANN401
    """What is so already is fine; anything else is forbidden."""
    assert lab("PUT", SEG, json={"public": True}).status_code == 200
    answer = lab("PUT", SEG, json={"public": False})
    assert (answer.status_code, answer.json()["code"]) == (403, 3001)


def test_reserved_ids_are_nobody_elses(lab: Any) -> None:  # noqa: ANN401 - the folder's own class
    """They follow those in use, whoever wrote them, and each other."""
    ids = np.zeros((2, 3, 4), "uint64")
    ids[0, 0, 0] = 41
    lab("POST", f"{CUTOUT}/0:4/0:3/0:2/", content=packed(ids), headers=BLOSC)
    reserve = "/v1/reserve/lab/exp/seg"
    assert lab.get(f"{reserve}/10").json() == {"start_id": 42, "count": 10}
    assert lab.get(f"{reserve}/1/").json() == {"start_id": 52, "count": 1}
    ids[0, 0, 0] = 99
    lab("POST", f"{CUTOUT}/0:4/0:3/0:2/", content=packed(ids), headers=BLOSC)
    assert lab.get(f"{reserve}/5").json() == {"start_id": 100, "count": 5}
    ids[0, 0, 0] = 2**64 - 1
    lab("POST", f"{CUTOUT}/0:4/0:3/0:2/", content=packed(ids), headers=BLOSC)
    assert lab.get(f"{reserve}/1").status_code == 409


@pytest.mark.parametrize("place", ["lab", "lab/exp", "lab/exp/seg", "demo/brain/em", "demo"])
def test_pairs_are_kept_by_key(lab: Any, place: str) -> None:  # noqa: ANN401
    """Created once, changed, listed and deleted, of every resource."""
    url = f"/v1/meta/{place}"
    assert lab.get(url).json() == {"keys": []}
    pair = {"key": "a key & more=1", "value": "ünï 🧠"}
    assert lab("PUT", url, params=pair).status_code == 404
    assert lab("POST", url + "/", params=pair).status_code == 201
    assert lab("POST", url, params={**pair, "value": "other"}).status_code == 409
    assert lab.get(url, params={"key": pair["key"]}).json() == pair
    assert lab.get(url).json() == {"keys": [pair["key"]]}
    assert lab("PUT", url, params={**pair, "value": "other"}).status_code == 200
    assert lab.get(url, params={"key": pair["key"]}).json()["value"] == "other"
    assert lab("DELETE", url, params={"key": pair["key"]}).status_code == 204
    assert lab("DELETE", url, params={"key": pair["key"]}).status_code == 404
    assert lab.get(url, params={"key": pair["key"]}).status_code == 404
    for words in ({"key": ""}, {"key": "k" * 256, "value": "v"}, {"key": "k"}, {"value": "v"}):
        assert lab("POST", url, params=words).status_code == 400
    assert lab("POST", url, params={"key": "k", "value": "v" * 20000}).status_code == 413


def test_pairs_are_bounded(lab: Any) -> None:  # noqa: ANN401 - the folder's own class
    """In bytes, all of a resource together; those that are there stay."""
    for number in range(70):
        answer = lab("POST", "/v1/meta/lab", params={"key": str(number), "value": "v" * 16000})
        if answer.status_code != 201:
            break
    assert (answer.status_code, answer.json()["code"]) == (413, 2000)
    assert len(lab.get("/v1/meta/lab").json()["keys"]) == number


WRITES = [
    ("POST", "/v1/collection/new"), ("PUT", "/v1/collection/lab"), ("DELETE", "/v1/collection/lab"),
    ("POST", "/v1/coord/new"), ("PUT", "/v1/coord/CF_lab_exp"), ("DELETE", "/v1/coord/CF_lab_exp"),
    ("POST", "/v1/collection/lab/experiment/new"), ("PUT", "/v1/collection/lab/experiment/exp"),
    ("DELETE", "/v1/collection/lab/experiment/exp"), ("POST", SEG.replace("seg", "new")),
    ("PUT", SEG), ("DELETE", SEG), ("POST", f"{CUTOUT}/0:4/0:3/0:2/"),
    ("PUT", "/v1/cutout/to_black/lab/exp/seg/0/0:4/0:3/0:2/"), ("GET", "/v1/reserve/lab/exp/seg/1"),
    ("POST", "/v1/meta/lab?key=a&value=b"), ("PUT", "/v1/meta/lab/exp?key=a&value=b"),
    ("DELETE", "/v1/meta/lab/exp/seg?key=a"), ("POST", "/v1/downsample/lab/exp/seg"),
    ("DELETE", "/v1/downsample/lab/exp/seg"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "url"), WRITES)
def test_nobody_writes_without_credentials(
    lab: Any,  # noqa: ANN401 - the folder's own class
    store: Store,
    connect: Callable[..., Any],
    method: str,
    url: str,
) -> None:
    """By default every change is 401 to whoever does not say who they are, and nothing changes."""
    before = sorted(store.sizes(""))
    answer = connect(store)(method, url, json={})
    assert (answer.status_code, answer.json()["code"]) == (401, 3000), answer.text
    assert sorted(store.sizes("")) == before
    del lab


def test_a_channel_that_is_written_says_when_coarser_voxels_follow(lab: Any) -> None:  # noqa: ANN401
    """Its status is one of BossDB's words, and that of resolutions that are there."""
    lab(
        "POST", f"{CUTOUT}/{WHOLE}/", content=packed(np.ones((12, 70, 90), "uint64")), headers=BLOSC
    )
    for _ in range(200):
        status = lab.get(SEG).json()["downsample_status"]
        assert status in ("IN_PROGRESS", "DOWNSAMPLED")
        if status == "DOWNSAMPLED":
            break
    assert lab.get("/v1/downsample/lab/exp/seg").json()["status"] == "DOWNSAMPLED"
    assert (read(lab, "0:23/0:18/0:12", number=2) == 1).all()
