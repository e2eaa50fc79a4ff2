"""The command line: what it says, and what its exit codes mean."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from microtome_cli.main import main
from microtome_cli.options import parse_bytes
from microtome_core.errors import InputError
from microtome_core.names import LayerId
from microtome_core.region import Region
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_ingest import formats
from microtome_ingest.format import Format
from microtome_ingest.glance import ends

SIZES = ("--axes", "zyx", "--voxel-size", "2,0.5,0.5")


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Return a small NPY file."""
    path = tmp_path / "stack.npy"
    np.save(path, np.arange(5 * 40 * 30, dtype="uint16").reshape(5, 40, 30))
    return path


def test_an_ingest_prints_what_it_made(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line names the layer, its axes, shape and place."""
    root = stack.parent / "root"
    assert main(["ingest", str(stack), str(root), "--as", "a/b/c", *SIZES]) == 0
    out = capsys.readouterr()
    assert out.out.strip() == (
        f"wrote a/b/c: zyx 5×40×30 uint16, voxel z=2,y=0.5,x=0.5 micrometer, 12 kB, 1 level, below file://{root}"
    )
    assert "a/b/c: 100 %, 1 of 1 shards" in out.err


def test_every_option_reaches_the_layer(stack: Path) -> None:
    """Chunk, shard, codec, levels, unit and colours are those asked for."""
    root = str(stack.parent / "root")
    options = ("--chunk", "z=4,y=8,x=8", "--shard", "8,16,16", "--codec", "zstd:5")
    more = ("--levels", "2", "--unit", "nm", "--channels", "GFP", "--colors", "00FF00")
    words = ["ingest", str(stack), root, "--as", "a/b/c", *SIZES, *options, *more]
    assert main([*words, "--memory", "300MiB", "--threads", "1"]) == 0
    layer = read_layer(Store(root), LayerId("a", "b", "c")).info
    assert (layer.levels[0].chunk, layer.levels[0].shard) == ((4, 8, 8), (8, 16, 16))
    assert len(layer.levels) == 2
    assert layer.units == ("nanometer",) * 3
    assert (layer.channels[0].name, layer.channels[0].color) == ("GFP", "00FF00")
    assert layer.attrs["conversion_history"][-1]["parameters"]["codec"] == "zstd:5"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (["--axes", "qq"], "--axes"),
        (["--voxel-size", "1,2"], "voxel size"),
        (["--voxel-size", "z=-1,y=1,x=1"], "positive"),
        (["--unit", "parsec"], "length"),
        (["--as", "A/b"], "collection/dataset/layer"),
        (["--as", "A/b/c"], "'A'"),
        (["--chunk", "1,2"], "one number for each axis"),
        (["--codec", "zip"], "blosc-zstd"),
        (["--memory", "much"], "4GiB"),
    ],
)
def test_words_that_cannot_be_are_exit_code_2(
    stack: Path, capsys: pytest.CaptureFixture[str], change: list[str], expected: str
) -> None:
    """The message names the value and what was expected; nothing is written."""
    root = stack.parent / "root"
    assert main(["ingest", str(stack), str(root), "--as", "a/b/c", *SIZES, *change]) == 2
    assert expected in capsys.readouterr().err
    assert not root.exists()


def test_what_a_file_leaves_open_is_asked_for(
    stack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says which option answers it."""
    words = ["ingest", str(stack), str(stack.parent / "root"), "--as", "a/b/c"]
    assert main(words) == 2
    assert "--axes" in capsys.readouterr().err
    assert main([*words, "--axes", "zyx"]) == 2
    assert "--voxel-size" in capsys.readouterr().err


def test_storage_that_fails_is_exit_code_75(
    stack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A root that cannot be written is worth another try, unlike a bad option."""
    blocked = stack.parent / "file"
    blocked.write_text("no folder")
    assert main(["ingest", str(stack), str(blocked / "root"), "--as", "a/b/c", *SIZES]) == 75
    assert "file" in capsys.readouterr().err


def test_info_tells_what_is_known_and_what_is_missing(
    stack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As text for people and as JSON for programs."""
    assert main(["info", str(stack)]) == 0
    assert "--axes" in capsys.readouterr().out
    assert main(["info", str(stack), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shape"] == [5, 40, 30]


def test_info_refuses_what_is_no_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A text file named .tif is refused by its content."""
    (tmp_path / "a.tif").write_text("hello")
    assert main(["info", str(tmp_path / "a.tif")]) == 2
    assert "its content is not" in capsys.readouterr().err


def test_serving_what_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A root that does not exist is an error before anything is served."""
    assert main(["serve", str(tmp_path / "nowhere"), "--port", "0"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_help_lists_every_command() -> None:
    """Help needs no command, and tells the exit codes."""
    words = [sys.executable, "-m", "microtome_cli", "--help"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert all(name in text for name in ("info", "ingest", "serve", "demo", "exit codes"))


def test_sizes_are_read_as_people_write_them() -> None:
    """Powers of two for K, M, G, T, with or without iB."""
    assert [parse_bytes(t) for t in ("512", "4K", "1.5GiB", "2 mb")] == [
        512, 4096, 3 * 2**29, 2**21,
    ]  # fmt: skip
    with pytest.raises(InputError, match="512MiB"):
        parse_bytes("-1")


def test_every_image_of_a_source_goes_into_its_own_layer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--scene all`` makes NAME-0, NAME-1 and so on; what one of them leaves open is asked for
    before any is written.
    """
    stacks = [np.full((4, 9, 8), n, "uint8") for n in range(2)]
    np.savez(tmp_path / "two.npz", *stacks)
    words = ["ingest", str(tmp_path / "two.npz"), str(tmp_path / "root"), "--as", "a/b/c"]
    assert main([*words, "--scene", "all", "--axes", "zyx"]) == 2
    assert "--voxel-size" in capsys.readouterr().err
    assert not (tmp_path / "root").exists()
    assert main([*words, "--scene", "all", "--axes", "zyx", "--unit", "pixel"]) == 0
    for n, stack in enumerate(stacks):
        layer = read_layer(Store(str(tmp_path / "root")), LayerId("a", "b", f"c-{n}"))
        whole = Region.whole("zyx", stack.shape)
        assert np.array_equal(layer.voxels[0].load(whole), stack)
    assert main(["info", str(tmp_path / "two.npz")]) == 0
    assert "holds 2 images" in capsys.readouterr().out


def test_formats_are_listed_with_reader_and_state(capsys: pytest.CaptureFixture[str]) -> None:
    """``microtome formats`` names each format, its reader and its extra; all are ready here."""
    assert main(["formats"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^CZI +\.czi +pylibCZIrw +czi +ready$", text, re.MULTILINE)
    assert main(["formats", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows} >= {"TIFF", "ND2", "NWB", "Zarr", "BossDB", "video"}
    assert all(row["ready"] for row in rows)


def test_a_format_whose_library_is_missing_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list and the error name the extra that brings the library."""
    row = Format("odd", "odd.reader", ends(".odd"), extra="odd", needs=("no_such_library",))
    monkeypatch.setattr(formats, "all_formats", lambda: (row,))
    (tmp_path / "a.odd").write_bytes(b"odd")
    assert main(["info", str(tmp_path / "a.odd")]) == 2
    words = "odd needs no_such_library, which is not installed: install the extra 'odd' of"
    assert words in capsys.readouterr().err


def test_the_folder_of_annotations_is_no_layer(
    stack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A layer cannot have the name under which a dataset keeps its skeletons."""
    root = stack.parent / "root"
    assert main(["ingest", str(stack), str(root), "--as", "a/b/annotations", *SIZES]) == 2
    assert "that folder is for annotations" in capsys.readouterr().err
    assert not root.exists()
