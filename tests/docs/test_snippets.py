"""Every snippet of README and docs is run as a reader would run it."""

import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from microtome_cli.main import main
from microtome_ingest.sample import write_sample
from tests.bossdb_server import be_nobody
from tests.sensorium_folders import Mouse, write_folder

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
HOST = "127.0.0.1:8000"
# Long enough for the windows of the page, with responses in the trials that it reads.
MOUSE = Mouse(neurons=16, trials=20, shortest=100, longest=110, seed=10)


def blocks(language: str) -> list[object]:
    """Return the fenced blocks of a language on every page, named by page and number."""
    found = []
    for page in PAGES:
        texts = [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]
        # Pages that follow the README take minutes together.
        marks = [pytest.mark.slow] if language == "console" and page.stem != "README" else []
        found += [
            pytest.param(text, id=f"{page.stem}-{n}", marks=marks) for n, text in enumerate(texts)
        ]
    return found


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory, unused_port: Callable[[], int]
) -> Iterator[tuple[Path, str]]:
    """Return a folder with the files that snippets speak of, and the address of a running demo."""
    folder = tmp_path_factory.mktemp("desk")
    files = write_sample(folder, (128, 256, 256))
    np.save(folder / "stack.npy", np.ones((20, 64, 64), "uint16"))
    for kind, text in BLOCK.findall((ROOT / "docs/metadata.md").read_text()):
        if kind == "yaml":
            (folder / text.split()[1]).write_text(text)
    (folder / "to_ccf.txt").write_text(_only(ROOT / "docs/registration.md", "text"))
    for root, brain in (("demo-root", "demo/brainbow"), ("store", "mylab/mouse7")):
        _ingest(folder, files.image, root, f"{brain}/brain")
        options = ("--kind", "labels", "--labels-of", "brain")
        _ingest(folder, files.labels, root, f"{brain}/neurons", *options)
    ccf = ["--space", "ccf", "--affine", str(folder / "to_ccf.txt")]
    assert main(["register", str(folder / "demo-root"), "demo/brainbow/brain", *ccf]) == 0
    mouse = write_folder(folder / "mouse", MOUSE)
    for root in ("demo-root", "store"):
        _ingest(folder, mouse, root, "sensorium/mouse-a")
    port = unused_port()
    with _serve(folder / "demo-root", port) as server:
        try:
            _wait(f"http://127.0.0.1:{port}/health/ready")
            yield folder, f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _only(page: Path, language: str) -> str:
    """Return the one block of a language on a page."""
    (text,) = (text for kind, text in BLOCK.findall(page.read_text()) if kind == language)
    return text


def _ingest(folder: Path, source: Path, root: str, layer: str, *options: str) -> None:
    assert main(["ingest", str(source), str(folder / root), "--as", layer, *options]) == 0


def _serve(root: Path, port: int) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "microtome_cli", "serve", str(root), "--port", str(port)]
    # What one command changes the next one sees.
    environment = {**os.environ, "MICROTOME_RECHECK_SECONDS": "0"}
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment)


def _wait(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(url)


# intern says so of every address, whether CloudVolume is there or not.
@pytest.mark.filterwarnings("ignore:CloudVolume is not installed:ImportWarning")
@pytest.mark.long
@pytest.mark.parametrize("text", blocks("python"))
def test_python_snippets_run(
    text: str, desk: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each Python block runs as it stands, against a live service."""
    folder, url = desk
    monkeypatch.chdir(folder)
    be_nobody(tmp_path / "home", monkeypatch)
    snippet = compile(text.replace(HOST, url.removeprefix("http://")), "snippet", "exec")
    with patch.dict(os.environ):
        exec(snippet, {})


@pytest.mark.long
@pytest.mark.parametrize("text", blocks("console"))
def test_commands_run_and_say_what_is_shown(
    text: str, desk: tuple[Path, str], unused_port: Callable[[], int]
) -> None:
    """Each command runs in a shell; what the page shows below it is what it prints."""
    for part in text.split("\n$ "):
        command, _, shown = part.strip().removeprefix("$ ").partition("\n")
        command = command.split(" #")[0].strip().replace(HOST, desk[1].removeprefix("http://"))
        if command.startswith("make "):
            subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, check=True)
        elif command.startswith("microtome serve"):
            _check_serve(command, desk[0], unused_port())
        else:
            assert shown.strip() in _run(command, desk[0], expect_failure=bool(shown.strip()))


def _run(command: str, folder: Path, *, expect_failure: bool) -> str:
    result = subprocess.run(
        ["bash", "-c", command.replace("curl ", "curl --fail ")],
        cwd=folder, capture_output=True, text=True, check=False, env=_environment(),
    )  # fmt: skip
    assert (result.returncode != 0) == expect_failure, result.stderr
    return result.stdout + result.stderr


def _check_serve(command: str, folder: Path, port: int) -> None:
    words = [*shlex.split(command), "--port", str(port)]
    with subprocess.Popen(
        words, cwd=folder, stdout=subprocess.DEVNULL, env=_environment()
    ) as server:
        try:
            _wait(f"http://127.0.0.1:{port}/")
        finally:
            server.terminate()


def _environment() -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    """Each relative link of a page is a file or a folder."""
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    broken = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert broken == []
