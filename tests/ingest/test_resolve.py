"""Resolving: what the file says and what the user says, and nothing that neither says."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from microtome_core.errors import InputError, MissingMetadata, RegionError, SourceError
from microtome_core.region import Region
from microtome_ingest.answers import parse_voxel_size
from microtome_ingest.canonical import canonical_source
from microtome_ingest.options import SourceOptions
from microtome_ingest.resolve import missing, overruled, resolve
from microtome_ingest.source import Description, SourceChannel

SIZES = {"z": 2.0, "y": 0.5, "x": 0.5}
PLANE = {"y": 0.5, "x": 0.5}
EXTENTS = {"t": 3, "c": 2, "z": 4, "y": 5, "x": 6, "s": 3, "q": 7}


def described(axes: str, **changes: object) -> Description:
    """Return a description of an image with `axes`, measured in micrometers."""
    shape = tuple(EXTENTS[axis] for axis in axes)
    words: dict[str, Any] = {
        "format": "test", "axes": axes, "shape": shape, "dtype": "uint16", "block": shape,
        "files": ("brain.tif",), "voxel_size": SIZES, "unit": "micrometer", **changes,
    }  # fmt: skip
    return Description(**words)


class ArraySource:
    """A source over an array in memory."""

    def __init__(self, description: Description) -> None:
        self.description = description
        self.voxels = np.arange(np.prod(description.shape), dtype="uint16").reshape(
            description.shape
        )

    def read(self, region: Region) -> NDArray[Any]:
        """Return part of the array."""
        return self.voxels[region.slices]

    def close(self) -> None:
        """Hold nothing."""


@given(
    axes=st.sampled_from(["yx", "zyx", "tzcyx", "czyx", "yxs", "zyxs", "tczyx", "syx"]).flatmap(
        st.permutations
    ),
    data=st.data(),
)
def test_any_order_of_axes_becomes_the_canonical_one(axes: list[str], data: st.DataObject) -> None:
    """Every voxel is found under its own index whatever order the file has."""
    source = ArraySource(described("".join(axes)))
    resolution = resolve(source.description, SourceOptions())
    canonical = canonical_source(source, resolution)
    spec = canonical.spec
    stored = "".join(axes).replace("s", "c")
    assert spec.axes == "".join(a for a in "tczyx" if a in stored)
    expected = source.voxels.transpose([stored.index(a) for a in spec.axes])
    edges = [
        sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in spec.shape
    ]
    region = Region(spec.axes, tuple(e[0] for e in edges), tuple(e[1] for e in edges))
    voxels = canonical.read(region)
    np.testing.assert_array_equal(voxels, expected[region.slices], strict=True)
    assert voxels.flags.c_contiguous


def test_a_region_of_other_axes_is_refused() -> None:
    """The canonical source takes its own axes only."""
    source = ArraySource(described("xyz"))
    canonical = canonical_source(source, resolve(source.description, SourceOptions()))
    with pytest.raises(RegionError, match="expected axes 'zyx'"):
        canonical.read(Region.whole("xyz", (6, 5, 4)))


def test_open_axes_are_asked_for() -> None:
    """An axis whose meaning is open is never guessed; the error names the option and an example."""
    with pytest.raises(MissingMetadata, match=r"brain\.tif.*axis q .*--axes zyx"):
        resolve(described("qyx"), SourceOptions())
    resolution = resolve(described("qyx"), SourceOptions(axes="tyx", time_step=0.1))
    assert (resolution.spec.axes, resolution.spec.scale) == ("tyx", (0.1, 0.5, 0.5))
    assert resolution.spec.units == ("second", "micrometer", "micrometer")


def test_open_axes_of_one_are_dropped() -> None:
    """An axis of one element needs no name, and voxels come without it."""
    source = ArraySource(described("qyx", shape=(1, 5, 6)))
    resolution = resolve(source.description, SourceOptions())
    assert (resolution.spec.axes, resolution.spec.shape) == ("yx", (5, 6))
    voxels = canonical_source(source, resolution).read(Region.whole("yx", (5, 6)))
    np.testing.assert_array_equal(voxels, source.voxels[0])


def test_a_single_plane_that_nobody_measured_needs_no_depth() -> None:
    """One slice without spacing is a plane; with spacing, or asked for, it keeps its axis."""
    flat = described("zyx", shape=(1, 5, 6), voxel_size={"y": 1.0, "x": 1.0})
    assert resolve(flat, SourceOptions()).spec.axes == "yx"
    thick = SourceOptions(voxel_size={"z": 3.0})
    assert resolve(flat, thick).spec.scale == (3.0, 1.0, 1.0)
    with pytest.raises(MissingMetadata, match=r"along z"):
        resolve(flat, SourceOptions(axes="zyx"))


@pytest.mark.parametrize("axes", ["zy", "zyxx", "zzx", "zya", "tcz", "zyxt", ""])
def test_letters_that_do_not_fit_are_refused(axes: str) -> None:
    """Unknown, doubled, too many or too few letters, and no y and x, name what was given."""
    with pytest.raises(InputError, match=f"--axes {axes}.*expected"):
        resolve(described("zyx"), SourceOptions(axes=axes))


def test_colour_samples_become_channels() -> None:
    """RGB is three channels of those names and colours."""
    resolution = resolve(described("yxs"), SourceOptions())
    assert resolution.spec.axes == "cyx"
    named = [(channel.name, channel.color) for channel in resolution.channels]
    assert named == [("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF")]
    # Ranges of their own would change the hue.
    assert {channel.window for channel in resolution.channels} == {None}
    for count in (3, 4):
        photo = described("yxs", shape=(5, 6, count), dtype="uint8")
        windows = [channel.window for channel in resolve(photo, SourceOptions()).channels]
        assert windows == [*[(0.0, 255.0)] * 3, None][:count]
    with pytest.raises(InputError, match="2 channels of 3 colour samples"):
        resolve(described("cyxs"), SourceOptions())


def test_channels_are_the_users_then_the_files_then_fixed_ones() -> None:
    """Each name and colour comes from the nearest that has one."""
    found = described("cyx", channels=(SourceChannel("GFP", None, (0.0, 9.0)), SourceChannel()))
    plain = resolve(found, SourceOptions()).channels
    assert [(c.name, c.color) for c in plain] == [("GFP", "00FF00"), ("channel-1", "FF00FF")]
    assert plain[0].window == (0.0, 9.0)
    told = resolve(found, SourceOptions(channels=("a", "b"), colors=("#ff8000", "00ffff"))).channels
    assert [(c.name, c.color) for c in told] == [("a", "FF8000"), ("b", "00FFFF")]
    (grey,) = resolve(described("yx"), SourceOptions()).channels
    assert (grey.name, grey.color) == ("channel-0", "FFFFFF")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (SourceOptions(channels=("a",)), "1 given, but the image has 2 channels"),
        (SourceOptions(colors=("FF0000",) * 3), "3 given, but the image has 2 channels"),
        (SourceOptions(channels=("a", "a")), "expected each once"),
        (SourceOptions(colors=("red", "00FF00")), "'red'.*six hexadecimal digits"),
        (SourceOptions(voxel_size=(1.0, 1.0, 1.0)), "of 3 numbers: the image has 2: yx"),
        (SourceOptions(voxel_size={"z": 1.0}), "along 'z'.*are 'yx'"),
        (SourceOptions(voxel_size={"y": 0.0}), "'0.0': expected a positive number"),
        (SourceOptions(unit="second"), "'second'.*expected a length"),
        (SourceOptions(unit="parsec"), "'parsec'"),
        (SourceOptions(time_step=1.0), "no axis t"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: SourceOptions, reason: str) -> None:
    """The error names the value and what was expected."""
    with pytest.raises(InputError, match=reason) as caught:
        resolve(described("cyx"), options)
    assert not isinstance(caught.value, MissingMetadata)


def test_a_time_step_is_positive() -> None:
    """Time does not stand still."""
    with pytest.raises(InputError, match=r"time step '0\.0'"):
        resolve(described("tyx"), SourceOptions(time_step=0.0))
    assert resolve(described("tyx"), SourceOptions()).spec.units[0] is None


NUMBERS = (3.0, 2.0, 1.0)
DEEP = SourceOptions(voxel_size={"z": 4.0})


@pytest.mark.parametrize(
    ("found", "unit", "options", "scale", "result"),
    [
        (SIZES, "micrometer", SourceOptions(), (2.0, 0.5, 0.5), "micrometer"),
        (SIZES, "nanometer", SourceOptions(), (2.0, 0.5, 0.5), "nanometer"),
        (SIZES, None, SourceOptions(unit="nm"), (2.0, 0.5, 0.5), "nanometer"),
        (SIZES, "centimeter", SourceOptions(unit="µm"), (2.0, 0.5, 0.5), "micrometer"),
        ({}, None, SourceOptions(voxel_size=NUMBERS), NUMBERS, "micrometer"),
        ({}, None, SourceOptions(voxel_size=NUMBERS, unit="nm"), NUMBERS, "nanometer"),
        (PLANE, "micrometer", DEEP, (4.0, 0.5, 0.5), "micrometer"),
        (PLANE, "millimeter", DEEP, (0.004, 0.5, 0.5), "millimeter"),
        (PLANE, "meter", replace(DEEP, unit="cm"), (0.04, 0.5, 0.5), "meter"),
    ],
)
def test_voxel_sizes_come_from_the_user_or_the_file(
    found: dict[str, float],
    unit: str | None,
    options: SourceOptions,
    scale: tuple[float, ...],
    result: str,
) -> None:
    """The user's numbers are micrometers unless told otherwise; they end in the file's unit."""
    spec = resolve(described("zyx", voxel_size=found, unit=unit), options).spec
    assert spec.scale == pytest.approx(scale)
    assert spec.units == (result,) * 3


@pytest.mark.parametrize(
    ("found", "unit", "reason"),
    [
        ({}, None, "along z, y, x: pass --voxel-size z=2,y=0.5,x=0.5"),
        ({"y": 1.0, "x": 1.0}, "micrometer", r"along z: pass --voxel-size z=2 \("),
        (SIZES, None, "without a unit .*: pass --unit micrometer"),
        ({**SIZES, "z": float("inf")}, "micrometer", "along z"),
        ({**SIZES, "z": float("nan")}, "micrometer", "along z"),
        ({**SIZES, "z": 0.0}, "micrometer", "along z"),
        ({**SIZES, "z": 1e-19}, "meter", "along z"),
    ],
)
def test_sizes_that_nobody_says_are_asked_for(
    found: dict[str, float], unit: str | None, reason: str
) -> None:
    """What is missing is named together with the option; `missing` says the same."""
    description = described("zyx", voxel_size=found, unit=unit)
    with pytest.raises(MissingMetadata, match=reason):
        resolve(description, SourceOptions())
    assert any(reason.split()[1] in text for text in missing(description))


def test_numbers_without_a_unit_beside_given_ones_are_asked_for() -> None:
    """A unit is never carried over from the user's numbers to the file's in silence."""
    description = described("zyx", voxel_size={"y": 1.0, "x": 1.0}, unit=None)
    with pytest.raises(MissingMetadata, match="--unit"):
        resolve(description, SourceOptions(voxel_size={"z": 1.0}))


@pytest.mark.parametrize("dtype", ["bool", "float16", "complex64"])
def test_types_that_are_not_stored_are_refused(dtype: str) -> None:
    """The error names the file and the type."""
    with pytest.raises(SourceError, match=rf"\S+: has dtype {dtype}: expected one of uint8"):
        resolve(described("zyx", dtype=dtype), SourceOptions())
    assert dtype in missing(described("zyx", dtype=dtype))[0]


def test_all_that_is_missing_is_asked_for_at_once() -> None:
    """Whoever is asked for axes is not asked for voxel sizes by the next try."""
    description = described("qyx", voxel_size={}, unit=None)
    told = r"--axes zyx.*; it does not say how large a voxel is along z, y, x: pass --voxel-size"
    with pytest.raises(MissingMetadata, match=told):
        resolve(description, SourceOptions())
    with pytest.raises(MissingMetadata, match=r"an axis$"):
        resolve(description, SourceOptions(unit="pixel"))
    assert "--voxel-size" in missing(description)[0]


def test_nothing_is_missing_where_the_file_says_all() -> None:
    """A complete file raises no question."""
    assert missing(described("tczyx")) == ()


@given(sizes=st.dictionaries(st.sampled_from("zyx"), st.floats(1e-3, 1e3), min_size=1))
def test_voxel_sizes_read_back(sizes: dict[str, float]) -> None:
    """What is written as z=…,y=… reads back, with or without names."""
    named = ",".join(f"{axis} = {size}" for axis, size in sizes.items())
    assert parse_voxel_size(named) == sizes
    assert parse_voxel_size(",".join(map(str, sizes.values()))) == tuple(sizes.values())


@pytest.mark.parametrize(
    "text", ["", "z=", "z=1,z=2", "t=1", "z=1,2", "-1", "inf", "nan", "1,,2", "a"]
)
def test_words_that_are_no_voxel_size(text: str) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(InputError, match=r"z=2,y=0\.5,x=0\.5"):
        parse_voxel_size(text)


def test_numbers_alone_are_in_the_order_of_the_given_axes() -> None:
    """With --axes xyz the first number is that of x, wherever x is stored."""
    found = Description("NPY", "qij", (3, 4, 5), "uint8", (1, 4, 5), ("a.npy",))
    spec = resolve(found, SourceOptions(axes="xyz", voxel_size=(1.0, 2.0, 3.0))).spec
    assert (spec.axes, spec.shape, spec.scale) == ("zyx", (5, 4, 3), (3.0, 2.0, 1.0))


def test_a_user_may_say_that_nobody_knows_the_voxel_size() -> None:
    """The unit pixel gives sizes of 1, or of the ratio given, and no unit: no false micrometer."""
    found = Description("NPY", "zyx", (3, 4, 5), "uint8", (1, 4, 5), ("a.npy",))
    spec = resolve(found, SourceOptions(unit="pixel")).spec
    assert (spec.scale, spec.units) == ((1.0, 1.0, 1.0), (None, None, None))
    ratio = resolve(found, SourceOptions(unit="pixel", voxel_size=(5.0, 1.0, 1.0))).spec
    assert (ratio.scale, ratio.units) == ((5.0, 1.0, 1.0), (None, None, None))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (SourceOptions(), ""),
        (SourceOptions(voxel_size={"y": 0.25}), ""),
        (SourceOptions(voxel_size={"y": 0.5}), "y=0.25 micrometer, stored is 0.5 micrometer"),
        (SourceOptions(unit="pixel"), "x=0.25 micrometer, stored is 1 of unknown unit"),
    ],
)
def test_sizes_of_the_file_that_are_not_stored_are_told(options: SourceOptions, words: str) -> None:
    """What the user asks for wins, and is no secret."""
    found = described("zyx", voxel_size={"z": 1.0, "y": 0.25, "x": 0.25}, unit="micrometer")
    told = overruled(found, resolve(found, options).spec)
    assert bool(told) == bool(words)
    assert words in "".join(told)
