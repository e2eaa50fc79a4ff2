"""The examples in docstrings hold."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

# Folders of packages.
ROOMS = ("core", "ingest", "service", "clients/python", "clients/cli", ".")
PACKAGES = "[mt]*"  # microtome… and tests
HERE = Path(__file__).parents[2]


def modules() -> list[str]:
    """Return the modules with examples."""
    return [
        ".".join(path.relative_to(HERE / room).with_suffix("").parts)
        for room in ROOMS
        for path in sorted((HERE / room).glob(f"{PACKAGES}/**/*.py"))
        if ">>> " in path.read_text() and path != Path(__file__)
    ]


@pytest.mark.parametrize("name", modules())
def test_examples_of_docstrings_hold(name: str) -> None:
    """What follows an expression is what it gives."""
    module = import_module(name.removesuffix(".__init__"))
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed
