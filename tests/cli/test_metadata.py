"""``microtome metadata`` and ``ingest --metadata``: said by a file, checked, noted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microtome_cli.main import main
from microtome_core.names import LayerId
from microtome_core.store.layer import read_layer
from microtome_core.store.location import Store

BRAIN = "lab/mouse/brain"
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
    version = read_layer(Store(str(folder / "root")), LayerId.parse(BRAIN)).info.version
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
