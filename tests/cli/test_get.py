"""`microtome get`, `ls` and `info` of a service: for those without Python projects."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nrrd
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st

from microtome.indexing import Cut
from microtome.order import in_order
from microtome_cli import get
from microtome_cli.blocks import Block, placed, planes
from microtome_cli.main import main
from tests.client.served import Served, serving
from tests.later import Later


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A service with an image and labels."""
    with serving("get") as running:
        yield running


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetch in many parts."""
    monkeypatch.setattr(get, "_PART", 3000)


def fetch(served: Served, out: Path, *words: str, layer: str = "em") -> int:
    """Run the command."""
    return main(["get", f"{served.url}/demo/brain/{layer}", *words, "--out", str(out)])


def test_every_format_holds_the_region(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As independent readers see it, with voxel sizes and channel names; the size is said first."""
    expected = served.brain[:, 3:20, 5:40]
    for ending in ("npy", "nrrd", "tif", "zarr"):
        assert fetch(served, tmp_path / f"a.{ending}", "z=3:20,y=5:40", "level=0") == 0
    assert "czyx 2×17×35×40 uint16, 95.2 kB → " in capsys.readouterr().err
    assert np.array_equal(np.load(tmp_path / "a.npy"), expected)
    voxels, header = nrrd.read(str(tmp_path / "a.nrrd"))
    assert np.array_equal(voxels.T, expected)
    assert header["labels"] == ["x", "y", "z", "c"]
    assert header["space directions"][:3].tolist() == [[0.5, 0, 0], [0, 0.5, 0], [0, 0, 2.0]]
    assert header["space units"] == ["microns"] * 3
    assert header["space origin"].tolist() == [0.0, 2.5, 6.0]
    assert [c["name"] for c in json.loads(header["microtome_channels"])] == [
        "channel 0", "channel 1",
    ]  # fmt: skip
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.series[0].axes == "CZYX"
        assert np.array_equal(file.asarray(), expected)
        assert 'PhysicalSizeZ="2.0"' in (file.ome_metadata or "")
        assert 'Name="channel 1"' in (file.ome_metadata or "")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    Later("ome_zarr_models").open_ome_zarr(group)
    assert np.array_equal(group["0"][...], expected)  # type: ignore[index]
    told = group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]  # type: ignore
    assert told[1]["translation"] == [0.0, 6.0, 2.5, 0.0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.npy", "a.nrrd", "a.tif", "a.zarr",
    ]  # fmt: skip


def test_names_units_and_levels_choose_voxels(served: Served, tmp_path: Path) -> None:
    """A channel by its name, positions in micrometers, a coarser level, single planes."""
    out = tmp_path / "b.npy"
    assert fetch(served, out, "c=channel 1", "z=4:20", "--unit", "um") == 0
    assert np.array_equal(np.load(out), served.brain[1, 2:10])
    assert fetch(served, out, "z=3", "c=0", "level=1", "--overwrite") == 0
    assert np.array_equal(np.load(out), served.brain[0, 6, ::2, ::2])
    assert fetch(served, tmp_path / "one.npy", "c=0,z=1,y=2,x=3") == 0
    assert np.load(tmp_path / "one.npy") == served.brain[0, 1, 2, 3]
    assert fetch(served, tmp_path / "plane.tif", "c=0", "z=1", "y=2") == 0
    assert np.array_equal(tifffile.imread(tmp_path / "plane.tif"), served.brain[0, 1, 2:3])
    assert fetch(served, tmp_path / "ids.tif", layer="cells") == 0
    assert np.array_equal(tifffile.imread(tmp_path / "ids.tif"), served.cells)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["z=4:50"], "z=4:50 is out of bounds: valid is z=0:20"),
        (["q=4"], "axis 'q' is unknown: the axes are 'czyx'"),
        (["z=a"], "z=a: expected a whole number"),
        (["z"], "expected such as z=0:10"),
        (["z=1", "z=2"], "z is given twice"),
        (["c=GFP"], "'channel 0', 'channel 1'"),
        (["level=9"], "levels 0 to 2"),
        (["z=4:9", "--unit", "parsec"], "parsec"),
    ],
)
def test_what_cannot_be_is_exit_code_2(
    served: Served,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    """The message names the word and what is valid; nothing is written."""
    assert fetch(served, tmp_path / "c.npy", *words) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_stays(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless it may be replaced; and a name that ends in anything else is refused."""
    (tmp_path / "d.npy").write_text("mine")
    assert fetch(served, tmp_path / "d.npy") == 2
    assert fetch(served, tmp_path / "d.doc") == 2
    assert ".npy, .nrrd, .tif, .tiff, .zarr" in capsys.readouterr().err
    assert (tmp_path / "d.npy").read_text() == "mine"


@pytest.mark.parametrize("ending", ["npy", "nrrd", "tif", "zarr"])
def test_a_fault_leaves_nothing(
    served: Served, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What breaks off in the middle is an error, and neither a file nor a part of one is left."""
    monkeypatch.setattr(get, "ahead", lambda *_: _failing(served))
    assert fetch(served, tmp_path / f"e.{ending}") == 75
    assert list(tmp_path.iterdir()) == []


def _failing(served: Served) -> Iterator[object]:
    from microtome.errors import StorageError

    yield served.brain[:1]
    raise StorageError("the service is gone")


def test_a_service_is_listed(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Datasets, a collection, layers, levels, and JSON; what is absent is said."""
    assert main(["ls", served.url]) == 0
    assert capsys.readouterr().out == "demo/brain  em cells\n"
    assert main(["ls", f"{served.url}/demo/"]) == 0
    assert main(["ls", f"{served.url}/demo/brain"]) == 0
    assert "demo/brain/cells  labels  zyx 20×48×40 uint64, voxel 2×0.5×0.5 micrometer" in (
        capsys.readouterr().out
    )
    assert main(["ls", served.em]) == 0
    assert "1  czyx 2×10×24×20 uint16, voxel 4×1×1 micrometer" in capsys.readouterr().out
    assert main(["ls", f"{served.url}/api/datasets/demo/brain", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "demo/brain"
    for absent in ("nothing", "demo/nothing", "demo/brain/nothing"):
        assert main(["ls", f"{served.url}/{absent}"]) == 2
        assert "nothing" in capsys.readouterr().err


def test_a_layer_tells_of_itself(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its address; files still do by their path."""
    assert main(["info", served.em]) == 0
    out = capsys.readouterr().out
    assert "demo/brain/em" in out
    assert "level 2: 2×5×12×10, z 8 micrometer" in out
    assert "channel 1: channel 1, FF00FF, 0 to 200" in out
    assert main(["info", f"{served.url}/demo/brain"]) == 2
    np.save(tmp_path / "f.npy", np.zeros((3, 4), "uint8"))
    assert main(["info", str(tmp_path / "f.npy"), "--json"]) == 0


BLOCK = Block(
    "demo", "zyx", (), np.dtype("int64"), (), (), (), (), "image", (), Cut((), ())
)  # fmt: skip


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    start=st.integers(0, 5),
    chunk=st.integers(1, 6),
    most=st.integers(1, 600),
)
def test_parts_follow_one_another(shape: list[int], start: int, chunk: int, most: int) -> None:
    """In C order, whatever their size; planes and slabs of them are those of the whole."""
    array = np.arange(np.prod([n + start for n in shape])).reshape([n + start for n in shape])
    cut = Cut(tuple(range(start, start + n) for n in shape), (False,) * len(shape))
    whole = array[tuple(slice(start, None) for _ in shape)]

    def parts() -> Iterator[np.ndarray]:
        for part in in_order(cut, (chunk,) * len(shape), 8, most):
            yield array[np.ix_(*part.ranges)]

    assert np.array_equal(np.concatenate([p.reshape(-1) for p in parts()]), whole.reshape(-1))
    assert all(p.nbytes <= max(most, 8) for p in parts())
    assert np.array_equal(np.stack(list(planes(parts(), tuple(shape[1:])))), whole)
    block = replace(BLOCK, shape=tuple(shape), cut=cut)
    laid = np.full(shape, -1)
    for where, part in placed(parts(), block):
        laid[where] = part
    assert np.array_equal(laid, whole)


def test_a_region_may_follow_options(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its words stand before options, between and after them; what is unknown is refused."""
    url, out = f"{served.url}/demo/brain/em", str(tmp_path / "a.npy")
    assert main(["get", url, "z=3", "--level", "0", "y=5:40", "--out", out, "c=0"]) == 0
    assert np.array_equal(np.load(out), served.brain[0, 3, 5:40])
    with pytest.raises(SystemExit):
        main(["get", url, "--out", out, "z=3", "--lvl", "1"])
    assert "unrecognized arguments: " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["ls", served.url, "z=3"])


def test_what_a_service_lacks_is_named_with_what_it_has(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    """By ls and info, with the word that what is private needs a key."""
    for words, told in (
        (["ls", "demo/brian"], "no dataset demo/brian; there is demo/brain"),
        (["ls", "dmeo"], "no collection dmeo; there is demo"),
        (["ls", "demo/brain/me"], "no layer demo/brain/me; there is demo/brain/em"),
        (["info", "demo/brain/me"], "no layer demo/brain/me; there is demo/brain/em"),
    ):
        assert main([words[0], f"{served.url}/{words[1]}"]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert "MICROTOME_TOKEN" in error
        assert "limit=" not in error
