"""Volumes in Neuroglancer's precomputed format: what ``info`` says, and which chunks there are."""

import itertools
from collections.abc import Callable
from math import prod
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.errors import InputError, NotFound
from microtome_core.store.location import Store
from microtome_core.wire import LayerInfo, LevelInfo
from microtome_service.precomputed.variant import ENCODINGS, Variant
from microtome_service.precomputed.volume import Volume

URL = "/precomputed/demo/brain"


def describe(
    axes: str = "zyx",
    shape: tuple[int, ...] = (10, 20, 30),
    *,
    dtype: str = "uint8",
    kind: str = "image",
    chunk: tuple[int, ...] | None = None,
    unit: str | None = "micrometer",
    scales: tuple[tuple[float, ...], ...] | None = None,
    origin: tuple[float, ...] | None = None,
) -> LayerInfo:
    """Return a layer without voxels."""
    levels = tuple(
        LevelInfo(shape, chunk or shape, chunk or shape, scale, origin or (0.0,) * len(axes))
        for scale in scales or ((1.0,) * len(axes),)
    )
    units = tuple(unit if axis in "zyx" else None for axis in axes)
    return LayerInfo("a/b/c", kind, axes, units, dtype, levels, (), "1")


def names(scale: dict[str, Any]) -> list[tuple[str, tuple[slice, ...]]]:
    """Return every chunk of a scale, by the published rule, and its voxels in z y x."""
    ranges = [
        [(low, min(low + width, size)) for low in range(0, size, width)]
        for size, width in zip(scale["size"], scale["chunk_sizes"][0], strict=True)
    ]
    return [
        ("_".join(f"{low}-{high}" for low, high in box), tuple(slice(*r) for r in box[::-1]))
        for box in itertools.product(*ranges)
    ]


def test_info_describes_every_level(volume: tuple[Any, NDArray[Any]]) -> None:
    """Sizes, chunks and resolution are x, y, z; chunks are those of the store; nothing is
    sharded, and what is not known is left out.
    """
    answer = volume[0].get(f"{URL}/neurons/info")
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    common = {"voxel_offset": [0, 0, 0], "encoding": "raw"}
    assert told == {
        "@type": "neuroglancer_multiscale_volume",
        "type": "image",
        "data_type": "uint16",
        "num_channels": 1,
        "scales": [
            {"key": "0", "size": [30, 20, 10], "chunk_sizes": [[8, 8, 8]],
             "resolution": [500, 500, 2000], **common},
            {"key": "1", "size": [15, 10, 5], "chunk_sizes": [[8, 8, 5]],
             "resolution": [1000, 1000, 4000], **common},
        ],
    }  # fmt: skip


def test_the_link_of_a_layer_leads_to_its_volume(volume: tuple[Any, NDArray[Any]]) -> None:
    """What stands in the layer's links, with /info after it, is the volume."""
    link = volume[0].get("/api/datasets/demo/brain/neurons").json()["links"]["precomputed"]
    assert volume[0].get(f"{link}/info").json()["@type"] == "neuroglancer_multiscale_volume"


def test_chunks_together_are_the_volume(volume: tuple[Any, NDArray[Any]]) -> None:
    """Every chunk that follows from ``info`` holds its voxels, x fastest, and no voxel is left."""
    app, voxels = volume
    for level, scale in enumerate(app.get(f"{URL}/neurons/info").json()["scales"]):
        stored = voxels[:: 2**level, :: 2**level, :: 2**level]
        put = np.zeros_like(stored)
        for name, box in names(scale):
            body = app.get(f"{URL}/neurons/{scale['key']}/{name}").content
            put[box] = np.frombuffer(body, "<u2").reshape(stored[box].shape)
        assert np.array_equal(put, stored)


@settings(deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 12)] * 3),
    chunk=st.tuples(*[st.integers(3, 13)] * 3),
    low=st.tuples(*[st.integers(-3, 12)] * 3),
    width=st.tuples(*[st.integers(-2, 13)] * 3),
)
def test_any_other_box_is_no_chunk(
    size: tuple[int, ...], chunk: tuple[int, ...], low: tuple[int, ...], width: tuple[int, ...]
) -> None:
    """Of all boxes those on the grid, clipped at the end, are chunks and no others."""
    described = Volume.of(describe("zyx", size[::-1], chunk=chunk[::-1]), Variant())
    scale = described.scale(0)
    real = dict(names({"size": size, "chunk_sizes": [scale.chunk]}))
    high = [a + b for a, b in zip(low, width, strict=True)]
    name = "_".join(f"{a}-{b}" for a, b in zip(low, high, strict=True))
    if name in real:
        assert described.region(0, name).slices == real[name]
    else:
        with pytest.raises(NotFound, match="expected x0-x1_y0-y1_z0-z1 on the grid"):
            described.region(0, name)
    for name, box in real.items():
        assert described.region(0, name).slices == box


@pytest.mark.parametrize(
    ("unit", "size", "expected"),
    [
        ("micrometer", 0.4, 400),
        ("micrometer", 0.1625, 162.5),
        ("nanometer", 4.6, 4.6),
        ("millimeter", 0.025, 25000),
        ("angstrom", 3.0, 0.3),
        ("µm", 0.3, 300),
        ("meter", 1e-6, 1000),
        (None, 1.0, 1),
        (None, 0.75, 0.75),
        ("pixel", 2.0, 2),
    ],
)
def test_sizes_are_exact_in_nm(unit: str | None, size: float, expected: float) -> None:
    """Each unit is converted without the dust of binary fractions; an unknown one counts as nm."""
    info = describe(unit=unit, scales=((size, size, size),))
    told = Volume.of(info, Variant()).to_json(properties=False)["scales"][0]["resolution"]
    assert told == [expected] * 3
    assert all(isinstance(n, type(expected)) for n in told)


def test_a_plane_is_one_voxel_deep() -> None:
    """Without z there is one slice, as thick at every level as a pixel of the finest is wide."""
    info = describe("yx", (20, 30), scales=((0.5, 0.25), (1.0, 0.5)))
    for scale in Volume.of(info, Variant()).scales:
        assert (scale.size, scale.resolution[2]) == ((30, 20, 1), 250)
    assert str(Volume.of(info, Variant()).region(0, "0-30_0-20_0-1")) == "y=0:20,x=0:30"


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ((0.0, 0.0, 0.0), [[0, 0, 0], [0, 0, 0]]),
        ((8.0, 1.0, -2.0), [[-4, 2, 4], [-2, 1, 2]]),
        ((8.0, 1.0, 0.5), [[0, 0, 0], [0, 0, 0]]),
        ((8.0, 1.1, 0.0), [[0, 0, 0], [0, 0, 0]]),
        ((8.0, 1e300, 0.0), [[0, 0, 0], [0, 0, 0]]),
    ],
)
def test_a_volume_begins_where_its_layer_says_in_whole_voxels(
    origin: tuple[float, ...], expected: list[list[int]]
) -> None:
    """The offset is that of the layer if it is whole at every level, else 0; chunks count from it,
    and hold the same voxels.
    """
    info = describe(scales=((2.0, 0.5, 0.5), (4.0, 1.0, 1.0)), origin=origin, chunk=(8, 8, 8))
    described = Volume.of(info, Variant())
    assert [list(scale.offset) for scale in described.scales] == expected
    for scale in described.scales:
        x, y, z = scale.offset
        name = f"{x + 8}-{x + 16}_{y + 16}-{y + 20}_{z}-{z + 8}"
        assert str(described.region(scale.level, name)) == "z=0:8,y=16:20,x=8:16"


@pytest.mark.parametrize(
    ("chunk", "dtype", "expected"),
    [
        ((64, 64, 64), "uint64", (64, 64, 64)),
        ((256, 256, 256), "uint16", (256, 256, 128)),
        ((1, 5000, 5000), "uint8", (1250, 1250, 1)),
        ((4, 3, 9000), "uint8", (1125, 3, 4)),
    ],
)
def test_chunks_fit_a_viewer(chunk: tuple[int, ...], dtype: str, expected: tuple[int, ...]) -> None:
    """A stored chunk of more than 16 MiB or 2048 voxels a side is halved until it fits."""
    info = describe(shape=(512, 9000, 9000), chunk=chunk, dtype=dtype)
    given = Volume.of(info, Variant()).scale(0).chunk
    assert sorted(given) == sorted(expected)
    assert prod(given) * np.dtype(dtype).itemsize <= 16 << 20


def test_channels_lie_one_behind_the_other_in_a_viewer() -> None:
    """Depth times channels is at most 2048, too, as long as there is depth to be halved."""
    many = describe("czyx", (100, 64, 64, 64), chunk=(1, 64, 64, 64))
    assert Volume.of(many, Variant()).scale(0).chunk == (64, 64, 16)
    assert Volume.of(many, Variant(c=3)).scale(0).chunk == (64, 64, 64)
    most = describe("czyx", (5000, 4, 4, 4))
    assert Volume.of(most, Variant()).scale(0).chunk == (4, 4, 1)


@pytest.mark.parametrize(
    ("kind", "dtype", "sent", "encoding"),
    [
        ("image", "uint64", "uint64", "raw"),
        ("image", "int8", "int8", "raw"),
        ("image", "int64", "float32", "raw"),
        ("image", "float64", "float32", "raw"),
        ("labels", "uint8", "uint8", "raw"),
        ("labels", "int16", "uint16", "raw"),
        ("labels", "int32", "uint32", "compressed_segmentation"),
        ("labels", "uint32", "uint32", "compressed_segmentation"),
        ("labels", "int64", "uint64", "compressed_segmentation"),
    ],
)
def test_types_that_the_format_lacks_become_others(
    kind: str, dtype: str, sent: str, encoding: str
) -> None:
    """What is named in ``info`` is in the format's list, and labels are never signed."""
    described = Volume.of(describe(kind=kind, dtype=dtype), Variant())
    assert (described.dtype, described.encoding) == (sent, encoding)


@pytest.mark.parametrize(
    ("kind", "dtype", "channels", "variant", "reason"),
    [
        ("labels", "uint8", 1, "jpeg", "cannot hold labels"),
        ("image", "uint8", 1, "compressed_segmentation", "holds labels"),
        ("image", "uint8", 2, "jpeg", "1 or 3 channels of uint8, this is 2 of uint8"),
        ("image", "uint8", 5, "png", "this is 5 of uint8"),
        ("image", "uint16", 1, "jpeg", "this is 1 of uint16"),
        ("image", "uint16", 3, "png", "this is 3 of uint16"),
        ("image", "float32", 1, "png", "this is 1 of float32"),
        ("labels", "uint32", 1, "png", "this is 1 of uint32"),
    ],
)
def test_an_encoding_that_cannot_hold_a_layer_is_refused(
    kind: str, dtype: str, channels: int, variant: str, reason: str
) -> None:
    """The message says why; nothing lossy or wrong is sent instead."""
    info = describe("czyx", (channels, 4, 4, 4), dtype=dtype, kind=kind)
    with pytest.raises(InputError, match=reason):
        Volume.of(info, Variant.parse(variant))


@given(
    st.integers(0, 10**18 - 1),
    st.none() | st.integers(0, 10**18 - 1),
    st.none() | st.sampled_from(ENCODINGS),
)
def test_a_view_is_read_as_it_is_written(t: int, c: int | None, encoding: str | None) -> None:
    """Every view has one spelling."""
    view = Variant(t, c, encoding)
    assert Variant.parse(str(view)) == view


@pytest.mark.parametrize(
    "text",
    ["x", "t", "t-1", "t1c1", "t01", "jpeg-t1", "c1-t1", "JPEG", "t1-", "-t1", "t1--c1", "t٣",
     "t1\n", "jpeg-png", "t" + "9" * 30, "tiff"],
)  # fmt: skip
def test_other_words_are_no_view(text: str) -> None:
    """They are answered with what is expected."""
    with pytest.raises(NotFound, match="expected words such as t0, c0 and one of raw, jpeg"):
        Variant.parse(text)


def test_views_outside_of_a_layer_are_absent() -> None:
    """The message names the valid range."""
    info = describe("tczyx", (3, 2, 4, 4, 4))
    with pytest.raises(NotFound, match="no time point 3: valid is 0 to 2"):
        Volume.of(info, Variant(t=3))
    with pytest.raises(NotFound, match="no channel 2: valid is 0 to 1"):
        Volume.of(info, Variant(c=2))


HOSTILE = [
    "0/0-8_0-8", "0/0-8_0-8_0-8_0-8", "0/0-8,0-8,0-8", "0/8-0_0-8_0-8", "0/0-8_0-8_0-9",
    "0/1-8_0-8_0-8", "0/-8-0_0-8_0-8", "0/0-0_0-8_0-8", "0/00-8_0-8_0-8", "0/+0-8_0-8_0-8",
    "0/0-8_0-8_0-8%0A", "0/0-8_0-8_0-8%00", "0/%D9%A0-8_0-8_0-8", "0/0-8_0-8_0-8.gz",
    "0/0--8_0-8_0-8", "0/0-8_0-8_0x0-8", f"0/0-{'9' * 18}_0-8_0-8", f"0/0-{'9' * 5000}_0-8_0-8",
    "0/1e3-8_0-8_0-8", "0/ 0-8_0-8_0-8", "0/0-8_0-8_0-8/x", "0/info", "0", "0/",
    "2/0-8_0-8_0-8", "99/0-8_0-8_0-8", "-1/0-8_0-8_0-8", "00/0-8_0-8_0-8", "%D9%A0/0-8_0-8_0-8",
    f"{'9' * 5000}/0-8_0-8_0-8", "../brain/neurons/0/0-8", "..%2F..%2Finfo",
    "%2e%2e/%2e%2e/etc/passwd", "%00/info", "t1/info", f"t{'9' * 18}/info", f"t{'9' * 5000}/info",
    "c1/info", "c-1/info", "jpeg/info", "webp/info", "t0-jpeg/0/0-8_0-8_0-8", "info/info",
    "segment_properties/info", "raw/segment_properties/info", "segment_properties/1", "provenance",
    "raw/raw/0/0-8_0-8_0-8", "info?x=1", "0/0-8_0-8_0-8?level=0", "mesh/info", "skeletons/1",
]  # fmt: skip


def test_what_is_no_file_of_the_volume_is_4xx(volume: tuple[Any, NDArray[Any]]) -> None:
    """Whatever follows the layer's address, the answer is a short problem."""
    for path, method in itertools.product(HOSTILE, ("GET", "HEAD")):
        answer = volume[0](method, f"{URL}/neurons/{path}")
        expected = 400 if "?" in path or "jpeg/" in path else 404
        assert (path, answer.status_code) == (path, expected)
        assert len(answer.content) < 1000


@pytest.mark.parametrize(
    "address",
    ["absent/brain/neurons", "demo/absent/neurons", "demo/brain/absent", "Demo/brain/neurons",
     "demo/brain/..", "demo/brain/%00", "demo/brain/-", f"demo/brain/{'a' * 65}"],
)  # fmt: skip
def test_an_absent_layer_is_4xx(volume: tuple[Any, NDArray[Any]], address: str) -> None:
    """``info`` and chunks of it alike."""
    for path in ("info", "raw/info", "0/0-8_0-8_0-8", "segment_properties/info"):
        answer = volume[0].get(f"/precomputed/{address}/{path}")
        assert answer.status_code in (404, 422)


def test_voxels_are_cast_as_info_says(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """float64 rounds to float32, and beyond it is infinite; a negative id keeps its bits."""
    made = make_builder(disk_store)
    deep = np.array([0, 0.1, -1e300, 1e300, np.nan, 2**24 + 1, 1e-46, 7]).reshape(2, 2, 2)
    made.layer("demo/brain/deep", "zyx", deep)
    made.layer("demo/brain/long", "zyx", np.full((2, 2, 2), 2**40 + 1, "int64"))
    made.layer("demo/brain/image", "zyx", np.ones((2, 2, 2), "uint8"))
    ids = np.array([0, 1, -1, 127, -128, 5, 6, 7], "int8").reshape(2, 2, 2)
    made.layer("demo/brain/ids", "zyx", ids, labels_of="image")
    app = connect(disk_store)

    def sent(name: str, dtype: str) -> list[Any]:
        body = app.get(f"{URL}/{name}/0/0-2_0-2_0-2").content
        return np.frombuffer(body, dtype).tolist()  # type: ignore[no-any-return]

    with np.errstate(over="ignore"):
        expected = deep.reshape(-1).astype("<f4")
    assert np.array_equal(sent("deep", "<f4"), expected, equal_nan=True)
    assert sent("long", "<f4") == [float(np.float32(2**40 + 1))] * 8
    assert sent("ids", "u1") == [0, 1, 255, 127, 128, 5, 6, 7]


def test_one_channel_of_labels_is_shown(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """A segmentation has one channel: the first, unless another is asked for."""
    made = make_builder(disk_store)
    made.layer("demo/brain/image", "zyx", np.ones((2, 2, 2), "uint8"))
    ids = np.arange(24, dtype="uint8").reshape(3, 2, 2, 2)
    made.layer("demo/brain/ids", "czyx", ids, labels_of="image")
    app = connect(disk_store)
    for view, channel in (("", 0), ("c2/", 2)):
        assert app.get(f"{URL}/ids/{view}info").json()["num_channels"] == 1
        assert app.get(f"{URL}/ids/{view}0/0-2_0-2_0-2").content == ids[channel].tobytes()


@pytest.mark.parametrize("path", ["info", "0/0-8_0-8_0-8", "0/24-30_16-20_8-10", "png/info",
                                  "png/0/0-8_0-8_0-8"])  # fmt: skip
def test_what_the_caller_has_is_not_sent_again(volume: tuple[Any, NDArray[Any]], path: str) -> None:
    """A strong ETag, 304 for it, and HEAD with the same headers and no body."""
    app, url = volume[0], f"{URL}/neurons/{path}"
    whole = app.get(url)
    head = app("HEAD", url)
    again = app.get(url, headers={"If-None-Match": whole.headers["etag"]})
    assert (whole.status_code, head.status_code, again.status_code) == (200, 200, 304)
    assert head.content == again.content == b""
    assert whole.headers["etag"][0] == '"'
    for answer in (head, again):
        for name in ("etag", "cache-control"):
            assert answer.headers[name] == whole.headers[name]
    assert head.headers["content-type"] == whole.headers["content-type"]
    if not path.startswith("png/0"):
        assert head.headers["content-length"] == str(len(whole.content))


def test_every_file_has_a_tag_of_its_own(volume: tuple[Any, NDArray[Any]]) -> None:
    """Files that differ never share an ETag."""
    paths = ["info", "png/info", "c0/info", "0/0-8_0-8_0-8", "png/0/0-8_0-8_0-8",
             "1/0-8_0-8_0-5", "0/8-16_0-8_0-8"]  # fmt: skip
    tags = [volume[0].get(f"{URL}/neurons/{path}").headers["etag"] for path in paths]
    assert len(set(tags)) == len(paths)


def test_a_chunk_that_costs_too_much_is_refused(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Nothing is read for it, and no room in memory stays taken."""
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", np.ones((8, 8, 8), "uint16"))
    for limits in ({"max_cutout_bytes": 1000}, {"max_decoded_bytes": 1000}):
        app = connect(disk_store, **limits)
        answer = app.get(f"{URL}/neurons/0/0-8_0-8_0-8")
        assert (answer.status_code, answer.json()["error"]) == (413, "TooLarge")
        assert app.app.state.service.gate.used == 0


def test_a_failed_read_is_503(
    disk_store: Store,
    make_builder: Callable[..., Any],
    connect: Callable[..., Any],
    damage: Callable[[Store], None],
) -> None:
    """Damaged voxels are never sent, in no encoding, and the room that they held is given back."""
    voxels = np.random.default_rng(0).integers(0, 255, (8, 8, 8), "uint8")
    make_builder(disk_store).layer("demo/brain/neurons", "zyx", voxels)
    damage(disk_store)
    app = connect(disk_store)
    for view in ("", "png/", "jpeg/"):
        answer = app.get(f"{URL}/neurons/{view}0/0-8_0-8_0-8")
        assert (answer.status_code, answer.json()["error"]) == (503, "StorageError")
        assert app.app.state.service.gate.used == 0


def test_room_in_memory_is_given_back(volume: tuple[Any, NDArray[Any]]) -> None:
    """After every answer, however it is encoded."""
    app = volume[0]
    for path in ("0/0-8_0-8_0-8", "png/0/0-8_0-8_0-8", "0/9-8_0-8_0-8"):
        app.get(f"{URL}/neurons/{path}")
        assert app.app.state.service.gate.used == 0


def test_a_layer_may_be_called_annotations(
    disk_store: Store, make_builder: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Its files are not taken for those of the dataset's annotations."""
    voxels = np.arange(8, dtype="uint8").reshape(2, 2, 2)
    make_builder(disk_store).layer("demo/brain/annotations", "zyx", voxels)
    app = connect(disk_store)
    for view in ("", "raw/"):
        assert app.get(f"{URL}/annotations/{view}info").json()["data_type"] == "uint8"
        chunk: httpx.Response = app.get(f"{URL}/annotations/{view}0/0-2_0-2_0-2")
        assert chunk.content == voxels.tobytes()
        assert app.get(f"{URL}/annotations/{view}segment_properties/info").status_code == 404
