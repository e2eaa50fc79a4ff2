"""``microtome ls`` and ``get`` of a recording, against a live service."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from microtome_cli.main import main
from microtome_core.store.location import Store
from microtome_service.app import create_app
from microtome_service.settings import Settings
from tests.recording_made import make_recording
from tests.service.conftest import running


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with a recording, and with a traced neuron in another dataset."""
    folder = tmp_path_factory.mktemp("ls")
    store = Store(str(folder / "root"))
    make_recording(store, "demo/sensorium/mouse")
    (folder / "a.swc").write_bytes(b"1 1 0 0 0 1 -1\n")
    words = ["ingest", str(folder / "a.swc"), str(folder / "root"), "--as", "demo/traced/cell"]
    assert main([*words, "--unit", "um"]) == 0
    with running(create_app(Settings(root=store.url), store)) as url:
        yield url


def test_recordings_are_listed(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside layers in datasets, with their counts; of one its tiers and variables."""
    assert main(["ls", address]) == 0
    listed = "demo/sensorium  mouse\ndemo/traced  annotations/cell\n"
    assert capsys.readouterr().out == listed
    assert main(["ls", f"{address}/demo/traced"]) == 0
    told = "demo/traced/annotations/cell  annotation  skeleton, points, lines\n"
    assert capsys.readouterr().out == told
    assert main(["ls", f"{address}/demo/sensorium"]) == 0
    assert "mouse  recording  14 trials, 12 neurons: videos" in capsys.readouterr().out
    assert main(["ls", f"{address}/demo/sensorium/mouse"]) == 0
    assert "responses  neuron 12 × time, float32, 30 Hz" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ls", "store"], "microtome serve store"),
        (["ls", "localhost:8000/demo"], "did you mean http://localhost:8000/demo?"),
        (["info", "localhost:8000/a/b/c"], "not found; did you mean http://localhost:8000/a/b/c?"),
        (["get", "localhost:80/a/b/c", "--out", "x.npy"], "did you mean http://localhost:80/a/b/c"),
        (["get", "store/a/b/c", "--out", "x.npy"], "no layer a/b/c in the store"),
        (["ls", "http://me:secret@host"], "pass --token"),
        (["ls", "me:secret@host"], "expected the address"),
    ],
)
def test_mistyped_addresses_are_told_what_was_meant(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By every command that takes one; a password is not repeated."""
    assert main(words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "secret" not in error


def test_a_recording_is_no_file_to_get(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says how to read one."""
    words = ["get", f"{address}/demo/sensorium/mouse", "--out", str(tmp_path / "x.npy")]
    assert main(words) == 2
    assert "/trials/0/" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
