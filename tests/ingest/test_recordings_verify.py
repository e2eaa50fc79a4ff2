"""Recordings that are damaged: verify names what is, and export refuses to return it."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from microtome_core.errors import Conflict
from microtome_core.store.location import Store
from microtome_core.store.recording import Recording
from microtome_core.store.recordings import read_recording
from microtome_ingest.export.sensorium import export_sensorium
from microtome_ingest.files import Files
from microtome_ingest.recordings.survey import survey
from microtome_ingest.recordings.verify import check_recording, compare_source
from tests.ingest.test_recordings import LAYER, MOUSE, files_in, made
from tests.sensorium_folders import write_folder


@pytest.fixture(scope="module")
def mouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write one folder that no test changes."""
    return write_folder(tmp_path_factory.mktemp("mouse") / "mouse", MOUSE)


@pytest.fixture(scope="module")
def recording(mouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Ingest it once."""
    return made(mouse, Store(str(tmp_path_factory.mktemp("root")))).recording


DAMAGE: Mapping[str, tuple[str, str]] = {
    "a shard is lost": ("data/videos/c/0/0/0", "missing"),
    "a shard is cut": ("rows/responses/c/0/0", "truncated"),
    "a bit is turned": ("data/behavior/c/0/0", "changed"),
    "a kept file is another": ("files/config.json", "changed"),
    "a statistic is another": ("computed/videos/mean.npy", "changed"),
    "a column is another": ("neurons/unit_ids/c/0", "changed"),
    "metadata of an array": ("data/responses/zarr.json", "changed"),
    "something is there besides": ("data/videos/c/0/0/7", "extra"),
    "the ledger is lost": ("0/ledger/objects.json", "unreadable"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_verify_finds_damage(tmp_path: Path, recording: Recording, damage: str) -> None:
    """Whatever object is lost, cut or changed, verify names it."""
    name, fault = DAMAGE[damage]
    shutil.copytree(str(recording.store.local("")), tmp_path, dirs_exist_ok=True)
    store = Store(str(tmp_path))
    path = tmp_path / str(LAYER) / name
    if fault in ("missing", "unreadable"):
        path.unlink()
    elif fault == "extra":
        path.write_bytes(b"x")
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content[:-3] if fault == "truncated" else content)
    found = list(check_recording(store, LAYER, 2, lambda _: None))
    assert [(one.key, one.fault) for one in found] == [(name, fault)]


def test_verify_compares_the_document_and_the_source(tmp_path: Path) -> None:
    """A changed offset is found without the source; a changed source is found with it."""
    folder, store = write_folder(tmp_path / "mouse", MOUSE), Store(str(tmp_path / "root"))
    made(folder, store)
    assert list(compare_source(store, LAYER, survey(str(folder), Files()), 2, print)) == []
    content = bytearray((folder / "data/behavior/6.npy").read_bytes())
    content[200] ^= 1
    (folder / "data/behavior/6.npy").write_bytes(content)
    found = list(compare_source(store, LAYER, survey(str(folder), Files()), 2, print))
    assert [one.key for one in found] == ["data/behavior/6.npy"]
    path = tmp_path / "root" / str(LAYER) / "zarr.json"
    document = json.loads(path.read_text())
    document["attributes"]["recording"]["variables"]["videos"]["pieces"]["offset"][2] += 1
    path.write_text(json.dumps(document))
    found = list(check_recording(store, LAYER, 2, lambda _: None))
    assert [one.key for one in found] == ["zarr.json#recording"]


def test_export_checks_each_file_and_leaves_nothing_half(tmp_path: Path, mouse: Path) -> None:
    """Where the store is damaged, export fails, and nothing lies under the name asked for."""
    store = Store(str(tmp_path / "root"))
    made(mouse, store)
    path = tmp_path / "root" / str(LAYER) / "zarr.json"
    document = json.loads(path.read_text())
    document["attributes"]["recording"]["variables"]["videos"]["pieces"]["offset"][2] += 1
    path.write_text(json.dumps(document))
    with pytest.raises(OSError, match="videos of trial 2 is not what its source was"):
        export_sensorium(read_recording(store, LAYER), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_export_replaces_no_other_folder(tmp_path: Path, mouse: Path) -> None:
    """Only an empty folder, or with --overwrite one of the same trials, is taken; none is lost."""
    recording = made(mouse, Store(str(tmp_path / "root"))).recording
    aside, other = tmp_path / "out.partial", tmp_path / "other"
    for folder in (aside, other):
        folder.mkdir()
        (folder / "thesis.txt").write_text("years of work")
    (tmp_path / "out").mkdir()
    export_sensorium(recording, tmp_path / "out")
    with pytest.raises(Conflict, match="there already"):
        export_sensorium(recording, tmp_path / "out")
    export_sensorium(recording, tmp_path / "out", overwrite=True)
    assert files_in(tmp_path / "out") == files_in(mouse)
    with pytest.raises(Conflict, match="none that may be overwritten"):
        export_sensorium(recording, other, overwrite=True)
    assert [(folder / "thesis.txt").read_text() for folder in (aside, other)] == [
        "years of work"
    ] * 2
