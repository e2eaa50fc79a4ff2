"""Cutouts, ids, bounding boxes and pictures as BossDB gives them: exact, or refused."""

import io
import zlib
from collections.abc import Callable
from typing import Any

import blosc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from microtome_core.store.location import Store

SHAPE = (12, 33, 41)


def cells(dtype: str = "uint32") -> NDArray[Any]:
    """Return a few boxes of ids, one of them in two parts far from each other."""
    voxels = np.zeros(SHAPE, dtype)
    voxels[1:3, 4:9, 5:20] = 7
    voxels[2:11, 20:30, 30:40] = 250
    voxels[11, 32, 40] = 7
    voxels[0, 0, 0] = 9
    return voxels


@pytest.fixture(scope="module")
def layers(make_builder: Any) -> tuple[Store, dict[str, NDArray[Any]]]:  # noqa: ANN401
    """A store in memory with a layer of each kind, and their voxels."""
    rng = np.random.default_rng(5)
    store = Store("memory://boss")
    builder = make_builder(store)
    held: dict[str, NDArray[Any]] = {}
    for dtype in ("uint8", "uint16", "uint64", "uint32"):
        held[dtype] = rng.integers(0, np.iinfo(dtype).max, SHAPE, dtype, endpoint=True)
        builder.layer(f"d/e/{dtype}", "zyx", held[dtype])
    held["times"] = rng.integers(0, 255, (4, 3, *SHAPE), "uint8")
    builder.layer("d/e/times", "tczyx", held["times"])
    for dtype in ("uint8", "uint32", "int32", "int64"):
        held[f"cells-{dtype}"] = cells(dtype)
        builder.layer(f"d/e/cells-{dtype}", "zyx", cells(dtype), labels_of="uint8")
    negative = cells("int32")
    negative[5, 5, 5] = -1
    builder.layer("d/e/negative", "zyx", negative, labels_of="uint8")
    return store, held


@pytest.fixture
def call(layers: tuple[Store, Any], connect: Callable[..., Any]) -> Any:  # noqa: ANN401
    """A caller of that store."""
    return connect(layers[0], recheck_seconds=60.0)


def get(call: Any, name: str, accept: str = "application/blosc") -> NDArray[Any]:  # noqa: ANN401
    """Return the flat voxels of a cutout by its path, in the type that its channel says."""
    answer = call.get(f"/v1/cutout/d/e/{name}", headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == accept
    if accept == "application/npygz":
        return np.asarray(np.load(io.BytesIO(zlib.decompress(answer.content)), allow_pickle=False))
    channel = call.get(
        f"/v1/collection/d/experiment/e/channel/{name.split('/', maxsplit=1)[0]}"
    ).json()
    return np.frombuffer(blosc.decompress(answer.content), channel["datatype"])


RANGES = st.tuples(*(
    st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True).map(sorted) for n in SHAPE
))  # fmt: skip


@given(RANGES, st.sampled_from(["uint8", "uint16", "uint32", "uint64", "cells-int64"]))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_box_is_the_layers_in_either_encoding(
    call: Any,  # noqa: ANN401 - the folder's own class
    layers: tuple[Store, dict[str, NDArray[Any]]],
    ranges: tuple[list[int], list[int], list[int]],
    name: str,
) -> None:
    """Every voxel of every type, z y x in C order, as intern and as Neuroglancer decode it."""
    z, y, x = ranges
    path = f"{name}/0/{x[0]}:{x[1]}/{y[0]}:{y[1]}/{z[0]}:{z[1]}"
    expected = layers[1][name][z[0] : z[1], y[0] : y[1], x[0] : x[1]]
    np.testing.assert_array_equal(get(call, path).reshape(expected.shape), expected)
    array = get(call, f"{path}/", "application/npygz")
    np.testing.assert_array_equal(array, expected)
    assert array.dtype in (np.uint8, np.uint16, np.uint64)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_times_are_a_fourth_axis_where_they_are_asked_for(
    call: Any,  # noqa: ANN401 - the folder's own class
    layers: tuple[Store, dict[str, NDArray[Any]]],
    index: int,
) -> None:
    """Without a range of times the first one is given, of three axes."""
    voxels = layers[1]["times"][:, index]
    path = f"times--c{index}/0/3:30/0:33/2:9"
    first = get(call, path, "application/npygz")
    np.testing.assert_array_equal(first, voxels[0, 2:9, :, 3:30], strict=True)
    some = get(call, f"{path}/1:4/", "application/npygz")
    np.testing.assert_array_equal(some, voxels[1:4, 2:9, :, 3:30], strict=True)
    one = get(call, "uint8/0/0:4/0:3/0:2/0:1", "application/npygz")
    np.testing.assert_array_equal(one, layers[1]["uint8"][None, :2, :3, :4], strict=True)


def test_a_jpeg_is_planes_one_below_the_other(
    call: Any,  # noqa: ANN401 - the folder's own class
    layers: tuple[Store, dict[str, NDArray[Any]]],
) -> None:
    """Lossy, of uint8 alone; other types are spread by window= and ids are refused."""
    url = "/v1/cutout/d/e/{}/0/0:16/0:8/2:5/"
    accept = {"Accept": "image/jpeg"}
    answer = call.get(url.format("times--c1"), headers=accept)
    picture = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert picture.shape == (24, 16)
    wanted = layers[1]["times"][0, 1, 2:5, :8, :16].reshape(24, 16)
    assert np.corrcoef(picture.ravel(), wanted.ravel())[0, 1] > 0.9
    for name in ("uint16", "cells-uint8"):
        refused = call.get(url.format(name), headers=accept)
        assert (refused.status_code, refused.json()["code"]) == (400, 2001)
    spread = call.get(url.format("uint16") + "?window=0,65535", headers=accept)
    assert np.asarray(Image.open(io.BytesIO(spread.content))).shape == (24, 16)
    assert call.get(url.format("uint16") + "?window=5,5", headers=accept).status_code == 400
    assert call.get(url.format("uint16") + "?window=0,9").status_code == 400


def test_a_filter_leaves_the_ids_of_its_list(call: Any) -> None:  # noqa: ANN401
    """All others are 0; images have none."""
    whole = "0/0:41/0:33/0:12/"
    found = get(call, f"cells-uint32/{whole}?filter=7,9").reshape(SHAPE)
    expected = np.where(np.isin(cells(), [7, 9]), cells(), 0)
    np.testing.assert_array_equal(found, expected)
    answer = call.get(f"/v1/cutout/d/e/uint8/{whole}?filter=7")
    assert (answer.status_code, answer.json()["code"]) == (400, 1000)


@pytest.mark.parametrize("mode", ["cache", "no-cache", "raw"])
def test_ways_around_caches_are_all_the_same(call: Any, mode: str) -> None:  # noqa: ANN401
    """There is nothing stale to go around."""
    url = f"/v1/cutout/d/e/uint8/0/0:4/0:4/0:4/?access-mode={mode}"
    assert call.get(url).content == call.get(url.split("?", maxsplit=1)[0]).content


def test_who_has_a_cutout_gets_304_and_head_reads_nothing(call: Any) -> None:  # noqa: ANN401
    """A strong ETag names all that the bytes depend on."""
    url = "/v1/cutout/d/e/cells-uint32/0/0:4/0:4/0:4/"
    etag = call.get(url).headers["etag"]
    again = call.get(url, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    for other in (f"{url}0:1/", f"{url}?filter=7", url.replace("0:4/0:4/0:4", "0:4/0:4/0:5")):
        assert call.get(other).headers["etag"] != etag
    npygz = call.get(url, headers={"Accept": "application/npygz"})
    assert npygz.headers["etag"] != etag
    head = call("HEAD", url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == etag


@pytest.mark.parametrize("name", ["cells-uint8", "cells-uint32", "cells-int32", "cells-int64"])
def test_ids_are_those_of_the_region(call: Any, name: str) -> None:  # noqa: ANN401
    """As text, sorted, without 0, with times and without."""
    for tail in ("", "/", "/0:1/"):
        url = f"/v1/ids/d/e/{name}/0/0:41/0:33/0:12{tail}"
        assert call.get(url).json() == {"ids": ["7", "9", "250"]}
    assert call.get(f"/v1/ids/d/e/{name}/0/5:20/4:9/1:3").json() == {"ids": ["7"]}
    assert call.get(f"/v1/ids/d/e/{name}/0/0:4/20:22/8:9").json() == {"ids": []}
    assert call.get("/v1/ids/d/e/uint8/0/0:4/20:22/8:9").status_code == 400


def test_a_bounding_box_holds_every_voxel_of_its_object(call: Any) -> None:  # noqa: ANN401
    """The tight one no more than these, however far apart; the loose one whole cuboids."""
    base = "/v1/boundingbox/d/e/cells-uint32/0"
    tight = call.get(f"{base}/250/?type=tight").json()
    assert tight == {
        "x_range": [30, 40], "y_range": [20, 30], "z_range": [2, 11], "t_range": [0, 1],
    }  # fmt: skip
    apart = call.get(f"{base}/7/?type=tight").json()
    assert [apart[f"{axis}_range"] for axis in "xyz"] == [[5, 41], [4, 33], [1, 12]]
    loose = call.get(f"{base}/9").json()
    assert [loose[f"{axis}_range"] for axis in "xyz"] == [[0, 41], [0, 33], [0, 12]]
    coarse = call.get("/v1/boundingbox/d/e/cells-uint32/1/250/?type=tight").json()
    assert [coarse[f"{axis}_range"] for axis in "xyz"] == [[15, 20], [10, 15], [2, 11]]
    assert call.get(f"{base}/8/").status_code == 404
    assert call.get(f"{base}/{2**64 - 1}/").status_code == 404
    assert call.get(f"{base}/{2**64}/").status_code == 400
    assert call.get(f"{base}/7/?type=exact").status_code == 400
    assert call.get("/v1/boundingbox/d/e/uint8/0/7/").status_code == 400


def test_a_bounding_box_crosses_the_seams_of_what_is_read_at_once(
    service_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """A volume of several parts is searched in all of them."""
    voxels = np.zeros((130, 530, 520), "uint8")
    voxels[63:66, 510:514, 511:513] = 3
    voxels[129, 0, 519] = 4
    make_builder(service_store).layer("d/e/image", "zyx", np.zeros((1, 1, 1), "uint8"))
    make_builder(service_store).layer("d/e/ids", "zyx", voxels, labels_of="image", chunk=64)
    call = connect(service_store)
    found = call.get("/v1/boundingbox/d/e--ids/ids/0/3/?type=tight").json()
    assert [found[f"{a}_range"] for a in "xyz"] == [[511, 513], [510, 514], [63, 66]]
    loose = call.get("/v1/boundingbox/d/e--ids/ids/0/4/").json()
    assert [loose[f"{a}_range"] for a in "xyz"] == [[512, 520], [0, 512], [128, 130]]
    assert call.get("/v1/ids/d/e--ids/ids/0/0:520/0:530/0:130").json() == {"ids": ["3", "4"]}


def test_a_negative_id_is_refused_where_it_lies(call: Any) -> None:  # noqa: ANN401
    """BossDB has no word for it: never another id instead. Elsewhere the channel is read."""
    answer = call.get("/v1/cutout/d/e/negative/0/0:41/0:33/0:12/")
    assert (answer.status_code, answer.json()["code"]) == (400, 2001)
    assert "negative" in answer.json()["message"]
    assert call.get("/v1/cutout/d/e/negative/0/0:41/0:33/0:5/").status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "code", "words"),
    [
        ("uint8/0/-1:0/0:1/0:1/", 400, 1000, "valid is x=0:41"),
        ("uint8/0/0:42/0:1/0:1/", 400, 1000, "valid is x=0:41"),
        ("uint8/0/0:12/0:33/0:41/", 400, 1000, "valid is z=0:12"),
        ("uint8/0/5:5/0:1/0:1/", 400, 1000, "empty"),
        ("uint8/0/5:3/0:1/0:1/", 400, 1000, "empty"),
        ("uint8/0/a:b/0:1/0:1/", 400, 1000, "x="),
        ("uint8/0/0:1/0:1/0:1/1:2/", 400, 1000, "valid is t=0:1"),
        ("times--c0/0/0:1/0:1/0:1/2:9/", 400, 1000, "valid is t=0:4"),
        ("times--c3/0/0:1/0:1/0:1/", 400, 1000, "--c0 to --c2"),
        ("uint8/9/0:1/0:1/0:1/", 404, 4000, "valid is 0 to 3"),
        ("uint8/-1/0:1/0:1/0:1/", 400, 1000, "resolution"),
        ("uint8/x/0:1/0:1/0:1/", 400, 1000, "resolution"),
        (f"uint8/{'9' * 5000}/0:1/0:1/0:1/", 400, 1000, "resolution"),
        (f"uint8/0/0:{'9' * 5000}/0:1/0:1/", 400, 1000, "valid is x=0:41"),
        ("uint8/0/%D9%A0:%D9%A1/0:1/0:1/", 400, 1000, "valid is x=0:41"),
        ("uint8/0/0:1%00/0:1/0:1/", 400, 1000, "valid is x=0:41"),
        ("uint8/0/0:1/0:1/0:1/?filter=", 400, 1000, "id"),
        ("cells-uint32/0/0:1/0:1/0:1/?filter=1&filter=2", 400, 1000, "more than once"),
        ("cells-uint32/0/0:1/0:1/0:1/?filter=-1", 400, 1000, "id"),
        ("uint8/0/0:1/0:1/0:1/?access-mode=fast", 400, 1000, "no-cache"),
        ("uint8/0/0:1/0:1/0:1/?iso=True", 400, 1000, "isotropic"),
        ("uint8/0/0:1/0:1/0:1/?fltr=1", 400, 1000, "unknown"),
        ("none/0/0:1/0:1/0:1/", 404, 4000, "no channel"),
    ],
)
def test_what_cannot_be_is_refused_in_bossdbs_words(
    call: Any,  # noqa: ANN401 - the folder's own class
    path: str,
    status: int,
    code: int,
    words: str,
) -> None:
    """Each fault has its status and code, and the message names what would be valid."""
    answer = call.get(f"/v1/cutout/d/e/{path}")
    assert answer.json().keys() == {"status", "code", "message"}
    found = (answer.status_code, answer.json()["status"], answer.json()["code"])
    assert found == (status, status, code)
    assert words in answer.json()["message"]
    assert len(answer.content) < 1200


@pytest.mark.parametrize("accept", ["application/blosc-python", "text/html", "image/tiff"])
def test_pickles_and_unknown_types_are_not_sent(call: Any, accept: str) -> None:  # noqa: ANN401
    """The types that there are, are named."""
    answer = call.get("/v1/cutout/d/e/uint8/0/0:1/0:1/0:1/", headers={"Accept": accept})
    assert answer.status_code == 406
    assert "application/npygz" in answer.json()["message"]


@pytest.mark.parametrize(
    "path",
    ["cutout/d/e/uint8/0/0:41/0:33/0:12/", "cutout/d/e/uint8/2/0:10/0:8/0:12/",
     "ids/d/e/cells-uint8/0/0:41/0:33/0:12/", "boundingbox/d/e/cells-uint8/0/7/",
     "image/d/e/uint8/xy/0/0:41/0:33/3/"],
)  # fmt: skip
def test_what_costs_too_much_is_413_before_anything_is_read(
    layers: tuple[Store, Any], connect: Callable[..., Any], path: str
) -> None:
    """By chunks, and by the bytes that they decode to."""
    for changes in ({"max_chunks": 3}, {"max_decoded_bytes": 1000}):
        answer = connect(layers[0], **changes).get(f"/v1/{path}")
        assert (answer.status_code, answer.json()["code"]) == (413, 2000)
        assert "the limit is" in answer.json()["message"]


def test_an_answer_larger_than_the_limit_is_413(layers: tuple[Store, Any], connect: Any) -> None:  # noqa: ANN401
    """Its own bytes count, after the cast: uint32 goes out as uint64."""
    call = connect(layers[0], max_cutout_bytes=5000)
    assert call.get("/v1/cutout/d/e/uint8/0/0:41/0:33/0:3/").status_code == 200
    assert call.get("/v1/cutout/d/e/uint8/0/0:41/0:33/0:4/").status_code == 413
    assert call.get("/v1/cutout/d/e/uint32/0/0:20/0:31/0:1/").status_code == 200
    assert call.get("/v1/cutout/d/e/uint32/0/0:21/0:31/0:1/").status_code == 413


def test_pictures_are_planes_of_the_cutout(
    call: Any,  # noqa: ANN401 - the folder's own class
    layers: tuple[Store, dict[str, NDArray[Any]]],
) -> None:
    """Xy has rows y, xz rows z and yz rows z; PNG is exact for 8 and 16 bits."""

    def picture(path: str) -> NDArray[Any]:
        answer = call.get(f"/v1/{path}", headers={"Accept": "image/png"})
        assert answer.status_code == 200, answer.text
        return np.asarray(Image.open(io.BytesIO(answer.content)))

    voxels = layers[1]["uint16"]
    image = "image/d/e/uint16"
    np.testing.assert_array_equal(picture(f"{image}/xy/0/2:9/0:33/4/"), voxels[4, :, 2:9])
    np.testing.assert_array_equal(picture(f"{image}/xz/0/2:9/5/1:12/"), voxels[1:12, 5, 2:9])
    np.testing.assert_array_equal(picture(f"{image}/yz/0/9/1:33/1:12"), voxels[1:12, 1:33, 9])
    np.testing.assert_array_equal(
        picture("image/d/e/times--c2/xy/0/0:41/0:33/4/3/"), layers[1]["times"][3, 2, 4]
    )
    tile = "tile/d/e/uint16"
    np.testing.assert_array_equal(picture(f"{tile}/xy/16/0/1/0/4/"), voxels[4, :16, 16:32])
    np.testing.assert_array_equal(picture(f"{tile}/xy/16/0/2/2/4/"), voxels[4, 32:33, 32:41])
    np.testing.assert_array_equal(picture(f"{tile}/xz/8/0/0/5/1/"), voxels[8:12, 5, :8])
    jpeg = call.get(
        f"/v1/{tile.replace('16', '8')}/xy/16/0/0/0/4/", headers={"Accept": "image/jpeg"}
    )
    assert jpeg.headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize(
    "path",
    ["image/d/e/uint8/zz/0/0:1/0:1/0", "image/d/e/uint8/xy/0/0:1/0:1/0:1",
     "image/d/e/uint8/xy/0/0:1/0:1/12", "image/d/e/uint8/xy/0/0/0:1/0",
     "tile/d/e/uint8/xy/0/0/0/0/0",
     "tile/d/e/uint8/xy/9999/0/0/0/0", "tile/d/e/uint8/xy/16/0/3/0/0",
     "image/d/e/uint64/xy/0/0:1/0:1/0",
     "image/d/e/times--c0/xy/0/0:1/0:1/0/0:2", "image/d/e/uint8/xy/0/0:1/0:1/0/7"],
)  # fmt: skip
def test_pictures_that_cannot_be_are_refused(call: Any, path: str) -> None:  # noqa: ANN401
    """Planes, tiles, times and types that are none."""
    answer = call.get(f"/v1/{path}")
    assert answer.status_code == 400
    assert answer.json().keys() == {"status", "code", "message"}
