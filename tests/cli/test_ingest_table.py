"""``microtome ingest-table``: whole collections, gone on with, and one report of them."""

import csv
import json
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from microtome_cli.main import main
from microtome_core.names import LayerId
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_core.store.recordings import is_recording
from microtome_ingest.claim import Claim, Part
from tests.http_server import serving
from tests.sensorium_folders import Mouse, write_folder
from tests.trees import tree

HEADER = "source,layer,axes,voxel size,unit,channels,kind,labels-of\n"
TABLE = HEADER + (
    'ids.npy,lab/mouse/cells,zyx,"1,1,1",,,labels,brain\n'
    'brain.npy,lab/mouse/brain,zyx,"1,1,1",,GFP,,\n'
    "\n"
    'sub/other.npy,lab/fish/brain,zyx,"z=2,y=0.5,x=0.5",nm,,,\n'
)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three arrays and a table of them; the year is always the same."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    (tmp_path / "sub").mkdir()
    rng = np.random.default_rng(1)
    np.save(tmp_path / "brain.npy", rng.integers(0, 900, (8, 20, 30)).astype("uint16"))
    np.save(tmp_path / "ids.npy", rng.integers(0, 9, (8, 20, 30)).astype("uint32"))
    np.save(tmp_path / "sub/other.npy", rng.integers(0, 99, (4, 20, 30)).astype("uint8"))
    (tmp_path / "table.csv").write_text(TABLE)
    return tmp_path


def run(lab: Path, *more: str) -> int:
    """Run the command on the lab's table."""
    return main(["ingest-table", str(lab / "table.csv"), str(lab / "root"), *more])


def report(lab: Path) -> list[dict[str, Any]]:
    """Return the rows of the report."""
    return list(json.loads((lab / "report.json").read_text())["rows"])


def test_a_table_makes_what_its_rows_would_make_alone(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the byte, each with its own options, by paths from the table's folder; labels that stand
    before their image come after it.
    """
    assert run(lab, "--report", str(lab / "report.json")) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[-1] == "3 rows: 3 wrote"
    assert [(row["line"], row["state"], row["layer"]) for row in report(lab)] == [
        (2, "wrote", "lab/mouse/cells"),
        (3, "wrote", "lab/mouse/brain"),
        (5, "wrote", "lab/fish/brain"),
    ]
    alone = str(lab / "alone")
    for words in (
        ("brain.npy", "lab/mouse/brain", "1,1,1", "--channels", "GFP"),
        ("ids.npy", "lab/mouse/cells", "1,1,1", "--kind", "labels", "--labels-of", "brain"),
        ("sub/other.npy", "lab/fish/brain", "z=2,y=0.5,x=0.5", "--unit", "nm"),
    ):
        name, layer, size, *more = words
        given = [str(lab / name), alone, "--as", layer, "--axes", "zyx", "--voxel-size", size]
        assert main(["ingest", *given, *more]) == 0
    assert tree(Store(str(lab / "root"))) == tree(Store(alone))


def test_the_same_table_again_has_nothing_to_do(lab: Path) -> None:
    """Every row is the same, and no byte of the store is another."""
    assert run(lab) == 0
    before = tree(Store(str(lab / "root")))
    assert run(lab, "--report", str(lab / "report.json")) == 0
    assert {row["state"] for row in report(lab)} == {"same"}
    assert tree(Store(str(lab / "root"))) == before


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_begun(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each bad row by its line, with what `ingest` would say of it; with good rows beside."""
    lines = (
        "absent.npy,lab/a/absent,zyx,\"1,1,1\",,,,\n"
        ",lab/a/nothing,,,,,,\n"
        "brain.npy,lab/a/open,,,,,,\n"
        'brain.npy,lab/Upper/case,zyx,"1,1,1",,,,\n'
        'brain.npy,lab/mouse/brain,zyx,"1,1,1",,,,\n'
        'brain.npy,lab/a/kind,zyx,"1,1,1",,,pictures,\n'
        'brain.npy,lab/a/loose,zyx,"1,1,1",,,labels,nowhere\n'
        'brain.npy,lab/a/float,zyx,"0,1,1",,,,\n'
    )  # fmt: skip
    (lab / "table.csv").write_text(TABLE + lines)
    assert run(lab) == 2
    captured = capsys.readouterr()
    assert "8 of 11 rows cannot be ingested" in captured.err
    expected = {
        6: "absent.npy", 7: "no source", 8: "--axes", 9: "'Upper'",
        10: "layer lab/mouse/brain stands in line 3, too",
        11: "--kind: invalid choice: 'pictures'", 12: "nowhere", 13: "expected a positive number",
    }  # fmt: skip
    told = captured.err.splitlines()[1:]
    for line, text in zip(told, expected.items(), strict=True):
        assert line.startswith(f"  line {text[0]}: ")
        assert text[1] in line
    assert not (lab / "root").exists()


def test_every_cell_that_is_wrong_is_told(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And what the source is found to lack by the others; but not what such a cell was to say. The
    labels of an image whose row is wrong are not.
    """
    (lab / "table.csv").write_text(
        "source,layer,axes,voxel_size,kind,chunk,codec,scene,metadata,labels_of\n"
        'absent.npy,lab/Upper/case,zyx,"0,1,1",pictures,many,zip,one,absent.yaml,\n'
        'brain.npy,lab/a/brain,zyx,"1,1",image,,zip,,,\n'
        "brain.npy,lab/a/brain,,none,image,,,,,\n"
        'ids.npy,lab/a/cells,zyx,"1,1,1",labels,,,,,brain\n'
    )
    assert run(lab) == 2
    told = capsys.readouterr().err.splitlines()
    assert "3 of 4 rows cannot be ingested" in told[0]
    expected = [
        (2, "'Upper'"), (2, "positive number"), (2, "'pictures'"), (2, "many"), (2, "'zip'"),
        (2, "--scene"), (2, "absent.yaml"), (2, "absent.npy"),
        (3, "'zip'"), (3, "2 numbers: the image has 3"),
        (4, "'none'"), (4, "stands in line 3, too"),
    ]  # fmt: skip
    lines = [next(t for t in told if f"line {n}: " in t and text in t) for n, text in expected]
    assert sorted(lines) == sorted(told[1:])
    assert not (lab / "root").exists()


def test_a_table_at_an_address_names_no_files_of_this_machine(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless the user says so: whoever wrote it might have anything published. What lies beside it
    is read from there.
    """
    text = 'source,layer,axes,voxel_size,metadata\n{0},a/b/c,zyx,"1,1,1",{1}\n'
    own = str(lab / "brain.npy")
    (lab / "facts.yaml").write_text("subject: {species: Mus musculus}\n")
    with serving() as site:
        site.put("near.npy", (lab / "brain.npy").read_bytes())
        site.put("near.yaml", (lab / "facts.yaml").read_bytes())
        words = [str(lab / "root"), "--check", "--allow-host", "127.0.0.1"]

        def look(source: str, metadata: str, *more: str) -> int:
            url = site.put("table.csv", text.format(source, metadata).encode())
            return main(["ingest-table", url, *words, *more])

        assert look("near.npy", "near.yaml") == 0
        assert look("near.npy", "none.yaml") == 2
        assert f"line 2: {site.url}/none.yaml: " in capsys.readouterr().err
        for source in (own, f"file://{own}", f"FILE://{own}"):
            assert look(source, "") == 2
            assert f"line 2: source {source[:80]!r}: a table at an addr" in capsys.readouterr().err
        assert look("near.npy", str(lab / "facts.yaml")) == 2
        assert "line 2: metadata" in capsys.readouterr().err
        assert look(own, str(lab / "facts.yaml"), "--local-files") == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("source,layer,colour\na,b/c/d,1\n", "column 'colour': expected some of source, layer"),
        ("source,axes\na,zyx\n", "no column 'layer'"),
        ("source,layer,source\na,b/c/d,a\n", "'source' stands there twice"),
        ("source,layer\n", "has no rows"),
        ("", "no column 'source'"),
        ("source,layer,voxel_size\na.npy,b/c/d,2,0.5,0.5\n", "line 2 has 5 cells"),
        ('source,layer\n"a.npy,b/c/d\n', "no table"),
    ],
)
def test_a_table_that_is_none_is_refused(
    lab: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    """The message names the file, and what was expected."""
    (lab / "table.csv").write_text(text)
    assert run(lab) == 2
    captured = capsys.readouterr().err
    assert told in captured
    assert "table.csv" in captured


def damage(path: Path) -> bytes:
    """Write a TIFF of which one strip does not decode; return it whole."""
    voxels = np.random.default_rng(2).integers(0, 900, (4, 32, 32)).astype("uint16")
    tifffile.imwrite(path, voxels, compression="zlib", photometric="minisblack")
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[2].dataoffsets[0], tif.pages[2].databytecounts[0]
    with path.open("r+b") as stream:
        stream.seek(offset + count // 2)
        stream.write(zlib.compress(b"\0")[::-1] * 20)
    return whole


def test_a_row_that_fails_stops_no_other(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its error is in the report and the exit code; once it is mended, only it is done."""
    whole = damage(lab / "bad.tif")
    row = 'bad.tif,lab/a/bad,zyx,"1,1,1",,,,\n'
    (lab / "table.csv").write_text(HEADER + row + TABLE.removeprefix(HEADER))
    assert run(lab, "--report", str(lab / "report.csv")) == 2
    captured = capsys.readouterr()
    assert "4 rows: 1 failed, 3 wrote" in captured.out
    assert "line 2: " in captured.err
    assert "bad.tif" in captured.err
    with (lab / "report.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(one["line"], one["state"], one["code"]) for one in rows] == [
        ("2", "failed", "2"), ("3", "wrote", "0"), ("4", "wrote", "0"), ("6", "wrote", "0"),
    ]  # fmt: skip
    assert "bad.tif" in rows[0]["what"]
    (lab / "bad.tif").write_bytes(whole)
    assert run(lab, "--restart", "--grace", "0", "--report", str(lab / "report.json")) == 0
    assert [one["state"] for one in report(lab)] == ["wrote", "same", "same", "same"]


def test_what_may_succeed_later_is_told_from_what_will_not(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """75 while another process writes one of the layers; the others are made, and the same command
    goes on.
    """
    with Claim(Store(str(lab / "root")), "lab/fish/brain", Part()):
        assert run(lab) == 75
        assert "is being written by process" in capsys.readouterr().err
    assert run(lab, "--json") == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["counts"]) == ("table", {"same": 2, "wrote": 1})


def test_parts_of_a_table_are_all_of_it(lab: Path) -> None:
    """Each row in one part alone, labels in that of their image."""
    layers = []
    for index in range(2):
        part = ("--array-index", f"{index}/2", "--report", str(lab / "report.json"))
        assert run(lab, *part) == 0
        layers.append({row["layer"] for row in report(lab)})
    assert layers == [{"lab/mouse/cells", "lab/mouse/brain"}, {"lab/fish/brain"}]


def test_tables_of_other_programs_are_read(lab: Path) -> None:
    """A byte order mark, line ends of Windows, tabs; a cell of several lines counts as such."""
    text = "source\tlayer\taxes\tvoxel size\r\nbrain.npy\ta/b/c\tzyx\t1,1,1\r\n"
    (lab / "table.tsv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    root = str(lab / "root")
    assert main(["ingest-table", str(lab / "table.tsv"), root, "--check"]) == 0
    assert not Path(root).exists()
    assert main(["ingest-table", str(lab / "table.tsv"), root]) == 0
    assert read_layer(Store(root), LayerId("a", "b", "c")).info.shape == (8, 20, 30)


def test_rows_are_whatever_ingest_takes(lab: Path) -> None:
    """Skeletons, recordings of trials and every image of a file are rows beside volumes."""
    (lab / "tree.swc").write_text("1 1 0 0 0 1 -1\n2 3 1 0 0 1 1\n")
    write_folder(lab / "mouse", Mouse(neurons=4, trials=4, seed=1))
    np.savez(lab / "two.npz", a=np.ones((4, 8, 8), "uint8"), b=np.ones((4, 8, 9), "uint8"))
    (lab / "table.csv").write_text(
        "source,layer,unit,axes,voxel_size,scene\n"
        "tree.swc,a/b/tree,micrometer,,,\n"
        "mouse,a/mouse,,,,\n"
        'two.npz,a/b/two,,zyx,"1,1,1",all\n'
    )
    assert run(lab, "--report", str(lab / "report.json")) == 0
    assert [row["what"].split(" (")[0] for row in report(lab)] == [
        "skeleton", "4 trials", "2 layers",
    ]  # fmt: skip
    store = Store(str(lab / "root"))
    assert is_recording(store, LayerId("a", "mouse", "recording"))
    assert read_layer(store, LayerId("a", "b", "two-1")).info.shape == (4, 8, 9)


@pytest.mark.slow
def test_a_table_that_was_killed_is_gone_on_with(lab: Path, tmp_path: Path) -> None:
    """After SIGKILL in its midst the same command does the rest, and the store is the same."""
    rows = [f'brain.npy,lab/many/layer-{n},zyx,"1,1,1",,,,\n' for n in range(12)]
    (lab / "table.csv").write_text(HEADER + "".join(rows))
    words = ["ingest-table", str(lab / "table.csv")]
    killed = lab / "root"
    command = [sys.executable, "-m", "microtome_cli", *words, str(killed)]
    told = ["--report", str(lab / "report.json")]
    with subprocess.Popen([*command, *told], stdout=subprocess.DEVNULL) as process:
        while not (killed / "lab/many/layer-2/zarr.json").exists():
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
    assert [row["state"] for row in report(lab)][:2] == ["wrote", "wrote"]
    assert report(lab)[-1]["state"] == "waits"
    again = subprocess.run([*command, *told], env=os.environ, check=False, timeout=120)
    assert again.returncode == 0
    assert [row["state"] for row in report(lab)][:3] == ["same"] * 3
    assert main([*words, str(lab / "whole")]) == 0
    assert tree(Store(str(killed))) == tree(Store(str(lab / "whole")))
