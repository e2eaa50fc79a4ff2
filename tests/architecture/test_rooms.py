"""The rules between rooms, and what the thin client needs."""

import subprocess
import sys
import tomllib
import venv
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("zarr", "dask", "tensorstore", "fastapi", "pydantic", "fsspec", "s3fs", "tifffile", "rich")


def test_rooms_import_only_what_lies_below() -> None:
    """The contracts in pyproject.toml hold: rooms do not know each other, the core knows none."""
    linter = str(Path(sys.executable).with_name("lint-imports"))
    result = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("module", ["microtome", "microtome_cli.main"])
def test_importing_the_client_loads_nothing_heavy(module: str) -> None:
    """Importing the client, or the command line alone, loads numpy and urllib3 only."""
    code = f"import sys, {module}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    assert not set(HEAVY) & set(_run(sys.executable, "-c", code).split())


def test_no_module_is_long() -> None:
    """Modules stay within about 400 lines."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for room in ("core", "ingest", "service", "clients", "tests")
        for path in (ROOT / room).rglob("*.py")
        if "node_modules" not in path.parts
    }
    assert {name: n for name, n in lengths.items() if n > 430} == {}


@pytest.mark.slow
def test_the_wheel_without_extras_is_a_client(tmp_path: Path) -> None:
    """In a clean environment the wheel brings numpy and urllib3, opens volumes, and says which
    extra the other commands need.
    """
    wheels = tmp_path / "wheels"
    _run(sys.executable, "-m", "build", "--wheel", "--outdir", str(wheels), str(ROOT))
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env/bin/python")
    constraints = str(ROOT / "constraints.txt")
    wheel = str(next(wheels.glob("*.whl")))
    _run(python, "-m", "pip", "install", "--quiet", "-c", constraints, wheel)
    listed = _run(python, "-m", "pip", "list", "--format=freeze").lower()
    installed = {line.partition("==")[0] for line in listed.split()}
    assert installed - {"pip", "setuptools", "wheel"} == {"microtome", "numpy", "urllib3"}
    assert "microtome 0." in _run(str(tmp_path / "env/bin/microtome"), "--version")
    _run(python, "-c", "import microtome; microtome.open")
    ingest = subprocess.run(
        [str(tmp_path / "env/bin/microtome"), "ingest"], capture_output=True, text=True, check=False
    )
    assert ingest.returncode == 2
    assert "install the extra 'ingest' of microtome" in ingest.stderr


def test_pins_name_no_host() -> None:
    """The constraints are exact versions and nothing else; every dependency in use is pinned."""
    lines = (ROOT / "constraints.txt").read_text().split()
    assert all("==" in line and "/" not in line for line in lines)
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {d.partition("[")[0].partition(">")[0].strip().lower() for d in asked}
    # Where torch comes from decides for which processor it is: .ci/run chooses.
    assert names - {"microtome", "torch"} <= pinned


def _run(*words: str) -> str:
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr or result.stdout
    return result.stdout
