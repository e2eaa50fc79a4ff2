"""A synthetic volume is the same however it is read, looks like a confocal one, and is labelled."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import Blosc
from numpy.typing import NDArray

from microtome_core.errors import InputError, RegionError
from microtome_core.region import Region
from microtome_ingest.sources.neuron_tiles import TILE, Cache
from microtome_ingest.sources.neurons import REACH, grow
from microtome_ingest.sources.synthetic import SyntheticSource, open_synthetic

# A little more than one tile along every axis, so that every kind of edge is crossed.
SHAPE = (3, TILE[0] + 8, TILE[1] + 12, TILE[2] + 22)
IMAGE = f"synthetic://neurons?shape={','.join(map(str, SHAPE))}&seed=3"
LABELS = f"synthetic://neurons?shape={','.join(map(str, SHAPE[1:]))}&seed=3&kind=labels"


def whole(source: SyntheticSource) -> NDArray[Any]:
    """Read all of a source."""
    made = source.description
    return source.read(Region.whole(made.axes, made.shape))


@pytest.fixture(scope="module")
def image() -> SyntheticSource:
    """Return a volume of three channels."""
    return open_synthetic(IMAGE)


@pytest.fixture(scope="module")
def voxels(image: SyntheticSource) -> NDArray[Any]:
    """Return all of its voxels."""
    return whole(image)


@pytest.fixture(scope="module")
def label_source() -> SyntheticSource:
    """Return the label volume that belongs to it."""
    return open_synthetic(LABELS)


@pytest.fixture(scope="module")
def labels(label_source: SyntheticSource) -> NDArray[Any]:
    """Return all of its voxels."""
    return whole(label_source)


@st.composite
def regions(draw: st.DrawFn, axes: str = "czyx", shape: tuple[int, ...] = SHAPE) -> Region:
    """Draw a box within the volume, often one that ends at a tile's edge."""
    starts, stops = [], []
    for extent, tile in zip(shape, ((1, *TILE))[-len(shape) :], strict=True):
        edge = st.sampled_from([0, min(tile, extent), extent])
        ends = st.tuples(st.integers(0, extent) | edge, st.integers(0, extent) | edge)
        low, high = sorted(draw(ends.filter(lambda pair: pair[0] != pair[1])))
        starts.append(low)
        stops.append(high)
    return Region(axes, tuple(starts), tuple(stops))


@given(region=regions())
@settings(max_examples=60, deadline=None)
def test_any_region_is_a_slice_of_the_whole(
    image: SyntheticSource, voxels: NDArray[Any], region: Region
) -> None:
    """A voxel does not depend on the region that it is read by."""
    np.testing.assert_array_equal(image.read(region), voxels[region.slices])


@given(region=regions("zyx", SHAPE[1:]))
@settings(max_examples=30, deadline=None)
def test_any_region_of_labels_is_a_slice_of_the_whole(
    label_source: SyntheticSource, labels: NDArray[Any], region: Region
) -> None:
    """Ids are the same in every region."""
    np.testing.assert_array_equal(label_source.read(region), labels[region.slices])


def test_threads_read_the_same_voxels(voxels: NDArray[Any]) -> None:
    """Several threads may ask a fresh source at once, for the same tiles too."""
    source = open_synthetic(IMAGE)
    parts = list(Region.whole("czyx", SHAPE).split((1, 16, 64, 64)))
    with ThreadPoolExecutor(4) as threads:
        for part, block in zip(parts, threads.map(source.read, parts), strict=True):
            np.testing.assert_array_equal(block, voxels[part.slices])


def test_a_source_reads_the_same_after_it_is_closed(voxels: NDArray[Any]) -> None:
    """Closing, twice even, only forgets what can be worked out again."""
    source = open_synthetic(IMAGE)
    source.close()
    source.close()
    box = Region("czyx", (0, 0, 0, 0), (1, 4, 40, 40))
    np.testing.assert_array_equal(source.read(box), voxels[box.slices])


def test_a_larger_shape_holds_the_smaller_one(voxels: NDArray[Any]) -> None:
    """The shape only cuts the world; it does not change it."""
    larger = open_synthetic("synthetic://neurons?shape=3,4000,50000,1000000&seed=3")
    region = Region("czyx", (1, 20, 100, 100), (2, 40, 140, 150))
    np.testing.assert_array_equal(larger.read(region), voxels[region.slices])


def test_the_far_end_of_a_huge_volume_is_like_its_beginning() -> None:
    """An exabyte is as good as a megabyte: neurons are there, at full strength."""
    source = open_synthetic(
        "synthetic://neurons?shape=1000000,1000000,1000000&kind=labels&dtype=uint64"
    )
    block = source.read(Region("zyx", (999_936, 999_800, 999_800), (1_000_000,) * 3))
    assert 0.001 < np.count_nonzero(block) / block.size < 0.05


def test_seeds_make_different_volumes(image: SyntheticSource) -> None:
    """Neither noise nor neurons of two seeds are alike."""
    other = open_synthetic(IMAGE.replace("seed=3", "seed=4"))
    region = Region("czyx", (0, 0, 0, 0), (1, 8, 64, 64))
    first, second = image.read(region).astype(float), other.read(region).astype(float)
    assert np.count_nonzero(first != second) > 0.9 * first.size
    near = (0, 0, 0)
    assert not np.allclose(grow(3, near).points[:, 0], grow(4, near).points[:, 0])


def test_channels_and_planes_have_noise_of_their_own(voxels: NDArray[Any]) -> None:
    """Noise of two channels or planes is uncorrelated, and its variance is that of photons."""
    first, second = voxels[0, 0, :64, :64].astype(float), voxels[1, 0, :64, :64].astype(float)
    third = voxels[0, 1, :64, :64].astype(float)
    dark = (np.maximum(np.maximum(first, second), third) < 300).ravel()
    kept = [plane.ravel()[dark] for plane in (first, second, third)]
    correlation = np.corrcoef(kept)
    assert abs(correlation[0, 1]) < 0.1
    assert abs(correlation[0, 2]) < 0.1
    # offset 100, gain 4: variance = gain * (mean - offset)
    assert kept[0].var() == pytest.approx(4 * (kept[0].mean() - 100), rel=0.2)


def test_labelled_voxels_are_bright(voxels: NDArray[Any], labels: NDArray[Any]) -> None:
    """The image shines where there is a label, for every neuron, and is dim away from them."""
    strongest = voxels.max(axis=0)
    dim = np.median(strongest[labels == 0])
    ids, counts = np.unique(labels[labels != 0], return_counts=True)
    assert len(ids) > 10
    for label in ids[counts > 20]:
        assert np.median(strongest[labels == label]) > 2 * dim
    assert np.mean(strongest[labels == 0] < 2 * dim) > 0.97


def test_each_neuron_has_one_colour(voxels: NDArray[Any], labels: NDArray[Any]) -> None:
    """The mix over the channels is the same all over a neuron, and differs between neurons."""
    ids, counts = np.unique(labels[labels != 0], return_counts=True)
    hues = []
    for label in ids[np.argsort(counts)[-5:]]:
        place = np.argwhere(labels == label)
        halves = np.array_split(place, 2)
        mixes = [voxels[:, z, y, x].mean(axis=1) - 180 for z, y, x in (h.T for h in halves)]
        mixes = [mix / np.linalg.norm(mix) for mix in mixes]
        assert mixes[0] @ mixes[1] > 0.97
        hues.append(mixes[0])
    angles = np.array(hues) @ np.array(hues).T
    assert angles.min() < 0.9


def test_labels_of_32_bits_do_not_fit_16(labels: NDArray[Any]) -> None:
    """Ids use the width of their type, so that a reader which narrows them is found out."""
    assert labels.dtype == np.uint32
    assert labels.max() > 65535


@pytest.mark.parametrize(
    "dtype", ["uint8", *(pytest.param(d, marks=pytest.mark.slow) for d in ("uint16", "uint64"))]
)
def test_ids_are_as_many_in_any_width(dtype: str) -> None:
    """Each neuron has an id of its own however narrow the type, or the volume is refused."""
    url = "synthetic://neurons?shape=64,64,64&kind=labels&seed=3"
    wide, other = whole(open_synthetic(url)), whole(open_synthetic(f"{url}&dtype={dtype}"))
    assert other.dtype == dtype
    pairs = np.unique(
        np.stack([wide.ravel().astype(np.uint64), other.ravel().astype(np.uint64)]), axis=1
    )
    assert pairs.shape[1] == len(np.unique(wide)) == len(np.unique(other)) > 5


@pytest.mark.parametrize("voxel", [(1.0, 0.4, 0.4), (0.25, 0.4, 0.4), (0.5, 0.8, 0.25)])
def test_neurons_have_their_size_in_micrometers(voxel: tuple[float, float, float]) -> None:
    """A soma is a ball of its radius in micrometers whatever the voxel's proportions."""
    sizes = ",".join(f"{axis}={size}" for axis, size in zip("zyx", voxel, strict=True))
    url = f"synthetic://neurons?shape=2000,2000,2000&kind=labels&seed=5&voxel-size={sizes}"
    neuron = grow(5, (0, 0, 0))
    soma, radius = neuron.points[:, 0], neuron.radius[0]
    box = [(int((s - 6) / v), int((s + 6) / v) + 2) for s, v in zip(soma, voxel, strict=True)]
    block = open_synthetic(url).read(Region("zyx", *zip(*box, strict=True)))
    places = np.stack(np.meshgrid(*(np.arange(*ends) for ends in box), indexing="ij"), axis=-1)
    away = np.sqrt(((places * voxel - soma) ** 2).sum(axis=-1))
    body = block[away < radius - 0.1]
    assert body.size > 500
    assert len(np.unique(body)) == 1
    assert body[0] != 0
    # Dendrites leave through the shell around the soma; the most of it is empty.
    shell = block[(away > radius + 0.1) & (away < radius + 0.6)]
    assert np.mean(shell == 0) > 0.5


@given(cell=st.tuples(*(st.integers(-(10**6), 10**6),) * 3))
@settings(max_examples=20, deadline=None)
def test_a_neuron_stays_within_its_reach(cell: tuple[int, int, int]) -> None:
    """What lies farther than the reach from a soma need not know of that neuron."""
    neuron = grow(1, cell)
    soma = neuron.points[:, :1]
    assert np.sqrt(((neuron.points - soma) ** 2).sum(axis=0)).max() < REACH
    assert np.ptp(neuron.points, axis=1).max() > 80


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_every_dtype_shows_the_same_picture(dtype: str, voxels: NDArray[Any]) -> None:
    """Values are 12 bits' worth of counts; 8 bits hold a sixteenth of them, floats do not round."""
    block = open_synthetic(f"{IMAGE}&dtype={dtype}").read(
        Region("czyx", (0, 0, 0, 0), (1, 8, 64, 64))
    )
    scale = 16 if dtype == "uint8" else 1
    assert block.dtype == dtype
    expected = voxels[:1, :8, :64, :64].astype(float)
    np.testing.assert_allclose(block.astype(float) * scale, expected, atol=0.51 * scale)


@pytest.mark.parametrize(
    ("query", "axes", "shape"),
    [
        ("shape=40,50", "yx", (40, 50)),
        ("shape=5,40,50", "zyx", (5, 40, 50)),
        ("shape=2,5,40,50", "czyx", (2, 5, 40, 50)),
        ("shape=3,2,5,40,50", "tczyx", (3, 2, 5, 40, 50)),
        ("shape=3,40,50&axes=tyx", "tyx", (3, 40, 50)),
        ("shape=3,40,50&axes=cyx&kind=labels", "cyx", (3, 40, 50)),
    ],
)
def test_axes_follow_the_shape_unless_they_are_given(
    query: str, axes: str, shape: tuple[int, ...]
) -> None:
    """The description has the axes asked for and the array that is read has them too."""
    source = open_synthetic(f"synthetic://neurons?{query}")
    made = source.description
    assert (made.axes, made.shape) == (axes, shape)
    assert len(made.block) == len(axes)
    assert set(made.voxel_size) == set(axes) & set("zyx")
    assert (made.time_step is None) == ("t" not in axes)
    assert whole(source).shape == shape


def test_time_changes_brightness_and_noise() -> None:
    """Neurons flash: two time points differ by more than noise, their labels do not differ."""
    shape = "40,1,1,96,96"
    series = whole(open_synthetic(f"synthetic://neurons?shape={shape}&seed=3")).astype(float)
    labels = whole(open_synthetic(f"synthetic://neurons?shape={shape}&seed=3&kind=labels"))
    assert (labels == labels[0]).all()
    ids, counts = np.unique(labels[0][labels[0] != 0], return_counts=True)
    trace = series[:, labels[0] == ids[counts.argmax()]].mean(axis=1)
    assert np.ptp(trace) > 0.2 * trace.mean()


def test_the_description_says_how_to_make_it_again(image: SyntheticSource) -> None:
    """Its URL, with every default spelt out, opens the same volume."""
    made = image.description
    again = open_synthetic(made.metadata["synthetic"]["url"]).description
    assert again == made
    assert made.voxel_size == {"z": 1.0, "y": 0.4, "x": 0.4}
    assert made.unit == "micrometer"
    assert [channel.name for channel in made.channels] == ["mTFP", "EYFP", "tdTomato"]


def test_images_compress_as_confocal_ones_do() -> None:
    """Blosc with zstd and bitshuffle makes a uint16 chunk 1.6 to 2.5 times as small."""
    source = open_synthetic("synthetic://neurons?shape=64,256,256&seed=7")
    codec = Blosc("zstd", 3, Blosc.BITSHUFFLE)
    parts = [source.read(part) for part in Region.whole("zyx", (64, 256, 256)).split((64, 64, 64))]
    ratio = sum(p.nbytes for p in parts) / sum(len(codec.encode(p)) for p in parts)
    assert 1.6 < ratio < 2.5


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("synthetic://cats?shape=8,8", ["cats", "synthetic://neurons"]),
        ("http://neurons?shape=8,8", ["http", "synthetic://neurons"]),
        ("synthetic://neurons/more?shape=8,8", ["more", "synthetic://neurons"]),
        ("synthetic://[neurons?shape=8,8", ["synthetic://neurons"]),
        ("synthetic://neurons", ["shape", "256,512,512"]),
        ("synthetic://neurons?shape", ["shape", "key=value"]),
        ("synthetic://neurons?shape=8", ["shape=8", "2 to 5"]),
        ("synthetic://neurons?shape=1,1,1,1,8,8", ["shape=1,1,1,1,8,8", "2 to 5"]),
        ("synthetic://neurons?shape=0,8", ["shape=0", "from 1"]),
        ("synthetic://neurons?shape=8,-8", ["shape=-8", "from 1"]),
        ("synthetic://neurons?shape=8,8.5", ["shape=8.5", "whole number"]),
        (f"synthetic://neurons?shape=8,{'9' * 26}", ["shape=999", "18 digits"]),
        (f"synthetic://neurons?shape=8,{'9' * 18}", ["shape=8,999", "at most 4294967296"]),
        (f"synthetic://neurons?shape={','.join(['4000000000'] * 3)}", ["shape=4", "2**63"]),
        ("synthetic://neurons?shape=8,8&color=red", ["color=red", "voxel-size"]),
        ("synthetic://neurons?shape=8,8&seed=1&seed=2", ["seed=1&seed=2", "once"]),
        ("synthetic://neurons?shape=8,8&seed=-1", ["seed=-1", "from 0"]),
        ("synthetic://neurons?shape=8,8&seed=", ["seed=", "whole number"]),
        ("synthetic://neurons?shape=8,8&dtype=float64", ["dtype=float64", "float32"]),
        ("synthetic://neurons?shape=8,8&dtype=float32&kind=labels", ["dtype=float32", "uint64"]),
        ("synthetic://neurons?shape=8,8&kind=mesh", ["kind=mesh", "image, labels"]),
        ("synthetic://neurons?shape=8,8&axes=xy", ["axes=xy", "in that order"]),
        ("synthetic://neurons?shape=8,8&axes=zyx", ["axes=zyx", "2 letters"]),
        ("synthetic://neurons?shape=8,8&voxel-size=z=1", ["voxel-size=z=1", "y=0.4,x=0.4"]),
        ("synthetic://neurons?shape=8,8&voxel-size=y=1e3", ["voxel-size=y=1e3", "y=0.4"]),
        ("synthetic://neurons?shape=8,8&voxel-size=y=0", ["voxel-size=y=0", "0.05 to 10.0"]),
        ("synthetic://neurons?shape=8,8&voxel-size=y=nan", ["voxel-size=y=nan", "y=0.4"]),
        ("synthetic://neurons?shape=900,900,900&kind=labels&dtype=uint8", ["dtype=uint8", "wider"]),
    ],
)
def test_a_bad_address_is_refused_by_name(url: str, words: list[str]) -> None:
    """The error names the parameter, its value and what was expected."""
    with pytest.raises(InputError) as caught:
        open_synthetic(url)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (Region("zyx", (0, 0, 0), (1, 1, 1)), "czyx"),
        (Region("czyx", (0, 0, 0, 0), (1, 1, 1, 5000)), "x=0:150"),
    ],
)
def test_a_region_of_another_volume_is_refused(
    image: SyntheticSource, region: Region, words: str
) -> None:
    """Other axes and voxels out of bounds are errors that name what there is."""
    with pytest.raises(RegionError, match=words):
        image.read(region)


def test_a_cache_holds_no_more_than_its_limit() -> None:
    """Memory is bounded by bytes, and a value that was dropped is made again."""
    made: list[int] = []

    def make(n: int) -> bytes:
        made.append(n)
        return bytes(40)

    cache: Cache[int, bytes] = Cache(make, len, 100)
    for n in (1, 2, 3, 3, 1):
        assert len(cache.get(n)) == 40
        assert cache.nbytes <= 100
    assert made == [1, 2, 3, 1]
