"""The Dockerfile, before anything is built of it."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from microtome_core import __version__
from tests.deploy.manifests import DEPLOY

DOCKERFILE = DEPLOY / "Dockerfile"
TEXT = DOCKERFILE.read_text()


def hadolint(path: Path) -> "subprocess.CompletedProcess[str]":
    """Run the linter of Dockerfiles."""
    program = Path(sys.executable).parent / "hadolint"
    words = [str(program), "--failure-threshold", "style", str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_the_linter_finds_nothing() -> None:
    """Hadolint has nothing to say; where it is told to be silent, the line above says why."""
    done = hadolint(DOCKERFILE)
    assert done.returncode == 0, done.stdout
    lines = TEXT.splitlines()
    for before, line in pairwise(lines):
        if "hadolint ignore" in line:
            assert before.startswith("# "), line


def test_the_linter_would_find_something(tmp_path: Path) -> None:
    """The judge of the test above refuses an image without a version."""
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN apt-get install gcc\n")
    done = hadolint(tmp_path / "Dockerfile")
    assert done.returncode != 0
    assert "DL3006" in done.stdout


def test_it_is_of_this_version() -> None:
    """Every stage that says a version says this one."""
    assert set(re.findall(r"^ARG VERSION=(.+)$", TEXT, re.MULTILINE)) == {__version__}
    assert set(re.findall(r"microtome[a-z-]*:(\S+)", TEXT)) == {__version__}


def test_what_is_copied_is_sent_to_the_builder() -> None:
    """Every path that is copied is there, and the list of what is left out lets it pass."""
    root = DEPLOY.parent
    passed = re.findall(r"^!(\S+)$", (root / ".dockerignore").read_text(), re.MULTILINE)
    copied = [
        word
        for words in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE)
        for word in words.split()[:-1]
    ]
    assert copied
    for path in copied:
        assert (root / path).exists(), path
        assert path in passed or path.split("/")[0] in passed, path


def test_the_last_stages_build_nothing() -> None:
    """What serves and what ingests is copied from where it was built; neither installs anything."""
    final = TEXT[TEXT.index(" AS runtime") :]
    assert "install" not in final.replace("uninstall", "")
    assert re.findall(r"^ENTRYPOINT (.+)$", final, re.MULTILINE) == [
        '["/opt/microtome/bin/microtome"]'
    ]
    assert re.findall(r"^USER (.+)$", final, re.MULTILINE) == ["10001:10001"]
