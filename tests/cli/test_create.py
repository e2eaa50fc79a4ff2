"""``microtome create``, and ``verify`` of what it makes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microtome_cli.main import main
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.layer import Layer, read_layer
from microtome_core.store.location import Store
from microtome_core.store.writing import write_region

SEG = LayerId("demo", "brain", "seg")
SIZE = ("--axes", "zyx", "--shape", "20,40,40", "--voxel-size", "z=2,y=0.5,x=0.5")
SMALL = ("--chunk", "4,8,8", "--shard", "8,16,16")


def create(root: Path, layer: str, *options: str) -> int:
    """Run the command."""
    return main(["create", str(root), "--as", layer, *options])


@pytest.fixture
def seg(tmp_path: Path) -> Layer:
    """A created layer with noise in some of its shards."""
    assert create(tmp_path, str(SEG), *SIZE, *SMALL) == 0
    layer = read_layer(Store(str(tmp_path)), SEG)
    region = Region("zyx", (0, 0, 0), (16, 16, 40))
    block = np.random.default_rng(1).integers(0, 9, region.shape).astype("uint64")
    write_region(layer, region, block)
    return layer


def test_a_layer_is_created_by_its_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels of uint64 unless said otherwise; it says what was made."""
    assert create(tmp_path, str(SEG), *SIZE, "--unit", "nm") == 0
    assert "labels, zyx 20×40×40, uint64, 1 level;" in capsys.readouterr().out
    info = read_layer(Store(str(tmp_path)), SEG).info
    assert info.levels[0].scale == (2.0, 0.5, 0.5)
    assert set(info.units) == {"nanometer"}


def test_axes_that_are_not_of_space_have_no_voxel_size(tmp_path: Path) -> None:
    """A step in time is given by itself."""
    shape = ("--axes", "tcyx", "--shape", "t=5,c=2,y=40,x=40", "--voxel-size", "0.5,0.5")
    words = (*shape, "--kind", "image", "--dtype", "uint8", "--channels", "a,b", "--time-step", "3")
    assert create(tmp_path, str(SEG), *words) == 0
    info = read_layer(Store(str(tmp_path)), SEG).info
    assert info.units == ("second", None, "micrometer", "micrometer")
    assert info.levels[0].scale == (3.0, 1.0, 0.5, 0.5)
    assert [channel.name for channel in info.channels] == ["a", "b"]


def test_a_layer_is_created_like_another(tmp_path: Path) -> None:
    """Of its size and levels; labels of an image lie in its folder."""
    assert create(tmp_path, "demo/brain/raw", *SIZE, "--kind", "image", "--dtype", "uint16") == 0
    assert create(tmp_path, "other/brain/seg", "--like", "demo/brain/raw") == 0
    assert create(tmp_path, str(SEG), "--labels-of", "raw", "--dtype", "uint32") == 0
    assert (tmp_path / "demo/brain/raw/labels/seg/zarr.json").exists()
    store = Store(str(tmp_path))
    raw = read_layer(store, LayerId("demo", "brain", "raw")).info
    for layer_id in (SEG, LayerId("other", "brain", "seg")):
        info = read_layer(store, layer_id).info
        assert info.kind == "labels"
        assert [level.shape for level in info.levels] == [level.shape for level in raw.levels]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--axes, --shape and --voxel-size are needed"),
        (("--labels-of", "a", "--like", "a/b/c"), "one of the two"),
        (("--labels-of", "none"), "no layer demo/brain/none"),
        (("--like", "a/b/c", "--shape", "1,2,3"), "leave it out"),
        ((*SIZE[:3], "20,40", *SIZE[4:]), "one number for each axis"),
        ((*SIZE[:5], "z=2,y=1"), "x is missing"),
        ((*SIZE, "--dtype", "float32"), "labels are one of"),
        ((*SIZE, "--dtype", "rubbish"), "dtype"),
        ((*SIZE, "--chunk", "3,8,8"), "even number"),
        ((*SIZE, "--codec", "zip"), "codec"),
    ],
)
def test_what_cannot_be_created_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    """Exit code 2, one line, and nothing is there."""
    assert create(tmp_path, str(SEG), *options) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "demo/brain/seg").exists()


def verify(layer: Layer, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Return the exit code and what was printed."""
    capsys.readouterr()
    assert layer.live is not None
    code = main(["verify", layer.live.store.url.removeprefix("file://"), str(SEG)])
    return code, capsys.readouterr().out


def test_a_layer_that_is_written_is_verified(
    seg: Layer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shards that change and shards that are empty are no damage."""
    assert verify(seg, capsys)[0] == 0
    write_region(seg, Region("zyx", (0, 0, 0), (20, 40, 40)), np.ones((20, 40, 40), "uint64"))
    code, out = verify(seg, capsys)
    assert (code, "27 shards" in out, "all right" in out) == (0, True, True)


@pytest.mark.parametrize("fault", ["missing", "changed", "cut", "emptied", "extra", "list"])
def test_damage_of_a_layer_that_is_written_is_found(
    seg: Layer, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    """A lost shard is told from an empty one, a changed one by its checksums; exit code 3."""
    folder = tmp_path / "demo/brain/seg/0"
    shard: Any = folder / "c/1/0/1"
    data = shard.read_bytes()
    if fault == "missing":
        shard.unlink()
    elif fault == "changed":
        shard.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    elif fault in {"cut", "emptied"}:
        shard.write_bytes(data[:-50] if fault == "cut" else b"")
    elif fault == "extra":
        (folder / "c/9/9").mkdir(parents=True)
        (folder / "c/9/9/9").write_bytes(b"1")
    else:
        (folder / "ledger/empty.json").write_bytes(b"{}")
    code, out = verify(seg, capsys)
    assert code == 3
    word = {"cut": "changed", "emptied": "changed", "list": "unreadable"}.get(fault, fault)
    assert word in out
    assert {"extra": "0/c/9/9/9", "list": "zarr.json"}.get(fault, "0/c/1/0/1") in out


def test_what_a_writer_that_died_left_is_no_damage(
    seg: Layer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shard that is listed as empty still is one that was not answered for."""
    place = tmp_path / "demo/brain/seg/0/c/0/1/1"
    place.parent.mkdir(parents=True)
    place.write_bytes((tmp_path / "demo/brain/seg/0/c/0/0/0").read_bytes())
    assert verify(seg, capsys)[0] == 0


def test_a_created_layer_has_no_source(seg: Layer, tmp_path: Path) -> None:
    """There is nothing to compare it with, or to mend it from."""
    assert seg.info.writable
    for option in (("--source", "x.tif"), ("--repair",)):
        assert main(["verify", str(tmp_path), str(SEG), *option]) == 2
