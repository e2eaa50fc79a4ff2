"""``microtome metadata`` and ``ingest --metadata``: said by a file, checked, noted."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microtome_cli.main import main
from microtome_core.names import LayerId
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store
from microtome_core.store.recordings import Document, read_document
from tests.sensorium_folders import Mouse, write_folder

BRAIN = "lab/mouse/brain"
TRIALS = "lab/mouse/recording"
MOUSE = Mouse(trials=6, neurons=3)
SAID = """
lab: North
license: cc-by-4.0
subject: {subject_id: 007, species: Mus musculus, sex: F, age: P90D}
channels: [{name: channel-0, indicator: EGFP}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a volume, and what is said of it."""
    np.save(tmp_path / "a.npy", np.arange(60, dtype="uint16").reshape(3, 4, 5))
    (tmp_path / "brain.yaml").write_text(SAID)
    return tmp_path


def _ingest(folder: Path, *words: str, layer: str = BRAIN) -> int:
    where = [str(folder / "a.npy"), str(folder / "root"), "--as", layer, "--axes", "zyx"]
    return main(["ingest", *where, "--voxel-size", "2,0.5,0.25", "--grace", "0", *words])


def _metadata(folder: Path, action: str, *words: str, place: str = BRAIN) -> int:
    options = [word for word in words if word.startswith("--")]
    rest = [word for word in words if not word.startswith("--")]
    return main(["metadata", action, *options, str(folder / "root"), place, *rest])


def _record(folder: Path, layer: str = BRAIN) -> dict[str, Any]:
    return read_layer(Store(str(folder / "root")), LayerId.parse(layer)).info.attrs


def _said(folder: Path, text: str) -> str:
    path = folder / "more.yaml"
    path.write_text(text)
    return str(path)


def test_what_is_said_with_an_ingest_stands_in_the_record(folder: Path) -> None:
    """Beside what the ingest itself knows, sizes being x, y, z."""
    assert _ingest(folder, "--metadata", str(folder / "brain.yaml")) == 0
    record = _record(folder)
    assert record["subject"]["subject_id"] == "007"
    assert record["license"] == "CC-BY-4.0"
    assert record["indicators"][0]["name"] == "EGFP"
    assert record["imaging_space"]["voxel_size_in_um"] == [0.25, 0.5, 2.0]
    assert record["imaging_space"]["dimensions_in_voxels"] == [5, 4, 3]


@pytest.mark.parametrize(
    "text",
    ["subject: {age: 90 days}", "channels: [{name: GFP}]", "a: &a [*a]", "speces: mouse"],
)
def test_what_cannot_be_said_is_refused_before_anything_is_written(folder: Path, text: str) -> None:
    """Exit code 2, and no root."""
    assert _ingest(folder, "--metadata", _said(folder, text)) == 2
    assert not (folder / "root").exists()


def test_a_layer_that_is_there_gets_the_record_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same ingest with other metadata writes no shard again."""
    assert _ingest(folder) == 0
    shards = {p: p.stat().st_mtime_ns for p in (folder / "root").rglob("c/*/*/*")}
    assert shards
    assert _ingest(folder, "--metadata", str(folder / "brain.yaml")) == 0
    assert "its record has changed" in capsys.readouterr().err
    assert _record(folder)["lab"] == "North"
    assert {p: p.stat().st_mtime_ns for p in (folder / "root").rglob("c/*/*/*")} == shards


def test_a_template_changes_nothing_and_passes_when_filled_in(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is, and with every # taken away."""
    _ingest(folder, "--metadata", str(folder / "brain.yaml"))
    capsys.readouterr()
    assert _metadata(folder, "template") == 0
    text = capsys.readouterr().out
    assert "registrations" not in text
    before = _record(folder)
    assert _metadata(folder, "set", _said(folder, text)) == 0
    assert _record(folder) == before
    lines = (line for line in text.splitlines() if not line.startswith("##"))
    filled = _said(folder, "\n".join(line.removeprefix("#") for line in lines))
    assert _metadata(folder, "check", filled) == 0
    assert "is missing" not in capsys.readouterr().out
    assert _metadata(folder, "set", filled) == 0
    after = _record(folder)
    assert after["contributors"][0]["orcid"] == "0000-0002-1825-0097"
    assert after["microscopy_rig"]["objective_lens"]["numerical_aperture"] == 0.8
    assert after["subject"]["species"] == "Mus musculus"


def test_set_says_what_it_changed_and_history_who(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old and new of each field; a version that the layer has not is refused."""
    monkeypatch.setenv("LOGNAME", "cajal")
    _ingest(folder, "--metadata", str(folder / "brain.yaml"))
    version = read_layer(Store(str(folder / "root")), LayerId.parse(BRAIN)).info.record_version
    more = _said(folder, "lab: South\nsubject: {age: null}")
    capsys.readouterr()
    assert _metadata(folder, "set", f"--version={version}", more) == 0
    told = capsys.readouterr().out
    assert f'{BRAIN}: lab: "North" -> "South"' in told
    assert f'{BRAIN}: subject.age: "P90D" -> nothing' in told
    assert _metadata(folder, "set", f"--version={version}", _said(folder, "lab: West")) == 2
    assert _metadata(folder, "show", "--history") == 0
    (note,) = json.loads(capsys.readouterr().out)
    assert note["who"] == "cajal"
    assert note["changes"] == {"lab": ["North", "South"], "subject.age": ["P90D", None]}
    assert main(["verify", str(folder / "root"), BRAIN, "--source", str(folder / "a.npy")]) == 0


def test_what_is_said_of_a_dataset_reaches_layers_that_come(folder: Path) -> None:
    """Over what their sources say, and under what is said of them alone."""
    _ingest(folder)
    told = _said(folder, "lab: South\nlicense: CC0-1.0\nsubject: {species: Rattus norvegicus}")
    assert _metadata(folder, "set", told, place="lab/mouse") == 0
    assert _record(folder)["lab"] == "South"
    _ingest(folder, "--metadata", str(folder / "brain.yaml"), layer="lab/mouse/second")
    second = _record(folder, "lab/mouse/second")
    assert (second["lab"], second["license"]) == ("North", "CC-BY-4.0")
    _ingest(folder, layer="lab/mouse/third")
    assert _record(folder, "lab/mouse/third")["subject"]["species"] == "Rattus norvegicus"
    create = ["create", str(folder / "root"), "--as", "lab/mouse/cells", "--like", BRAIN]
    assert main(create) == 0
    assert _record(folder, "lab/mouse/cells")["license"] == "CC0-1.0"
    assert _metadata(folder, "set", _said(folder, "channels: []"), place="lab/mouse") == 2
    assert _metadata(folder, "check", str(folder / "brain.yaml"), place="lab/mouse") == 2


def test_a_dataset_lacks_what_its_layers_lack(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What one of them has is asked for of the others; what is of one layer, of that layer."""
    _ingest(folder, "--metadata", str(folder / "brain.yaml"))
    assert _metadata(folder, "check", place="lab/mouse") == 0
    told = capsys.readouterr().out
    assert "lab/mouse: institution is missing" in told
    assert "license" not in told
    assert f"{BRAIN}: imaging_space.anatomical_target is missing" in told
    _ingest(folder, layer="lab/mouse/second")
    capsys.readouterr()
    assert _metadata(folder, "check", place="lab/mouse") == 0
    told = capsys.readouterr().out
    assert "lab/mouse: institution is missing" in told
    assert "lab/mouse/second: license is missing" in told
    worm = "subject: {species: Caenorhabditis elegans, sex: XO}"
    assert _metadata(folder, "check", _said(folder, worm), place="lab/mouse") == 0


def test_lost_metadata_come_back_with_what_was_set(folder: Path) -> None:
    """A repair does the noted changes again."""
    _ingest(folder, "--metadata", str(folder / "brain.yaml"))
    _metadata(folder, "set", _said(folder, "lab: South"))
    document = folder / "root" / BRAIN / "zarr.json"
    before = document.read_bytes()
    document.write_bytes(b"{")
    source = ["--source", str(folder / "a.npy")]
    assert main(["verify", str(folder / "root"), BRAIN, "--repair", *source]) == 0
    assert document.read_bytes() == before


def test_a_layer_ingested_again_hands_its_record_on(folder: Path) -> None:
    """Whoever copies a layer copies what is known of it."""
    _ingest(folder, "--metadata", str(folder / "brain.yaml"))
    source, root = str(folder / "root" / BRAIN), str(folder / "other")
    assert main(["ingest", source, root, "--as", BRAIN]) == 0
    copied = read_layer(Store(root), LayerId.parse(BRAIN)).info.attrs
    for name in ("subject", "license", "lab", "indicators", "channels", "imaging_space"):
        assert copied[name] == _record(folder)[name], name


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a mouse, and a root with its recording."""
    folder = tmp_path_factory.mktemp("made")
    write_folder(folder / "mouse", MOUSE)
    (folder / "mouse.yaml").write_text("lab: North\nsubject: {species: Mus musculus, sex: F}")
    assert _record_trials(folder, "--metadata", str(folder / "mouse.yaml")) == 0
    return folder


@pytest.fixture
def mouse(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


def _record_trials(folder: Path, *words: str, layer: str = "lab/mouse") -> int:
    return main(["ingest", str(folder / "mouse"), str(folder / "root"), "--as", layer, *words])


def _document(folder: Path) -> Document:
    return read_document(Store(str(folder / "root")), LayerId.parse(TRIALS))


def test_a_recording_has_a_record_like_a_layer(
    mouse: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said by the ingest, shown, changed under a new version, noted; its values stay."""
    before = _document(mouse)
    assert before.record["lab"] == "North"
    more = _said(mouse, "imaging_plane: {location: V1, imaging_rate: 8}\nsubject: {age: P90D}")
    capsys.readouterr()
    assert _metadata(mouse, "check", more, place=TRIALS) == 0
    assert "subject.subject_id is missing" in capsys.readouterr().out
    assert _metadata(mouse, "set", more, place=TRIALS) == 0
    assert f'{TRIALS}: subject.age: nothing -> "P90D"' in capsys.readouterr().out
    assert _metadata(mouse, "show", place=TRIALS) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["imaging_plane"]["location"] == "V1"
    assert shown["subject"] == {**shown["subject"], "age": "P90D", "species": "Mus musculus"}
    assert _metadata(mouse, "show", "--history", place=TRIALS) == 0
    (note,) = json.loads(capsys.readouterr().out)
    assert note["changes"]["subject.age"] == [None, "P90D"]
    after = _document(mouse)
    assert after.content != before.content
    assert (after.facts, after.record["kind"]) == (before.facts, "recording")
    assert main(["verify", str(mouse / "root"), TRIALS, "--source", str(mouse / "mouse")]) == 0


def test_a_recording_that_is_there_gets_the_record_alone(
    mouse: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same ingest with other metadata changes what is said, and nothing else."""
    assert _record_trials(mouse, "--metadata", _said(mouse, "lab: South")) == 0
    assert "its record has changed: lab" in capsys.readouterr().err
    assert _document(mouse).record["lab"] == "South"


@pytest.mark.parametrize(("text", "fault"), [
    ("channels: [{name: EGFP}]", "channels: is of voxels"),
    ("imaging_space: {anatomical_target: V1}", "imaging_space: is of voxels"),
    ("significant_bits: 12", "significant_bits: is of voxels"),
    ("registrations: []", "registrations: is of voxels"),
    ("kind: image", "kind: is known from the ingest alone"),
    ("subject: {sex: female}", "write F"),
    ("licence: CC0-1.0", "write license"),
])  # fmt: skip
def test_what_a_recording_cannot_say_is_refused_by_name(
    mouse: Path, capsys: pytest.CaptureFixture[str], text: str, fault: str
) -> None:
    """By set and by an ingest, before anything is written."""
    before, said = _document(mouse).content, _said(mouse, text)
    assert _metadata(mouse, "set", said, place=TRIALS) == 2
    assert fault in capsys.readouterr().err
    assert _document(mouse).content == before
    assert _record_trials(mouse, "--metadata", said, layer="lab/other") == 2
    assert fault in capsys.readouterr().err
    assert not (mouse / "root/lab/other").exists()


def test_what_is_said_of_a_dataset_reaches_its_recordings(mouse: Path) -> None:
    """Those that are there and those that come, as layers."""
    assert _metadata(mouse, "set", _said(mouse, "license: CC0-1.0"), place="lab/mouse") == 0
    assert _document(mouse).record["license"] == "CC0-1.0"
    assert _record_trials(mouse, layer="lab/mouse/second") == 0
    second = read_document(Store(str(mouse / "root")), LayerId.parse("lab/mouse/second"))
    assert second.record["license"] == "CC0-1.0"


def test_a_template_of_a_recording_passes_when_filled_in(
    mouse: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It asks for nothing that is of voxels; as it is, it changes nothing."""
    capsys.readouterr()
    assert _metadata(mouse, "template", place=TRIALS) == 0
    text = capsys.readouterr().out
    assert "channels:" not in text
    assert "imaging_space:" not in text
    before = _document(mouse).content
    assert _metadata(mouse, "set", _said(mouse, text), place=TRIALS) == 0
    assert _document(mouse).content == before
    lines = (line for line in text.splitlines() if not line.startswith("##"))
    filled = _said(mouse, "\n".join(line.removeprefix("#") for line in lines))
    assert _metadata(mouse, "check", filled, place=TRIALS) == 0
    assert "is missing" not in capsys.readouterr().out


def test_rate_and_bits_that_the_arrays_deny_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name, by check, set and ingest; a region told of the plane is not missing."""
    np.save(tmp_path / "a.npy", np.zeros((6, 4, 5), "uint16"))
    words = [str(tmp_path / "a.npy"), str(tmp_path / "root"), "--axes", "tyx",
             "--voxel-size", "1,1", "--time-step", "0.2", "--grace", "0"]  # fmt: skip
    assert main(["ingest", *words, "--as", BRAIN]) == 0
    wrong = _said(tmp_path, "significant_bits: 17\nimaging_plane: {imaging_rate: 30}\n")
    capsys.readouterr()
    for action in ("check", "set"):
        assert _metadata(tmp_path, action, wrong) == 2
        told = "".join(capsys.readouterr())
        assert "significant_bits: 17 is more than uint16 has; write at most 16" in told
        assert "imaging_plane.imaging_rate: 30 frames a second" in told
    assert main(["ingest", *words, "--as", "lab/mouse/other", "--metadata", wrong]) != 0
    assert "imaging_rate: 30" in capsys.readouterr().err
    right = "significant_bits: 16\nimaging_plane: {imaging_rate: 5, location: V1}\n"
    assert _metadata(tmp_path, "set", _said(tmp_path, right)) == 0
    assert _metadata(tmp_path, "check") == 0
    assert "anatomical_target" not in capsys.readouterr().out
