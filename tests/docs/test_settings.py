"""The table of settings is complete and says what is true."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

from microtome_service.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs/http.md").read_text()


def test_every_setting_is_documented_and_no_other() -> None:
    """The page names each MICROTOME_ variable that the service reads, and only those."""
    named = set(re.findall(r"MICROTOME_[A-Z_]+", PAGE))
    assert named == {f"MICROTOME_{f.name.upper()}" for f in fields(Settings)}


def test_documented_defaults_are_the_real_ones() -> None:
    """Each row's numbers are the fields' defaults."""
    units = {"GiB": 2**30, "MiB": 2**20}
    for names, shown in re.findall(r"^\| (`MICROTOME[^|]*) \| ([^|]*) \|", PAGE, re.MULTILINE):
        fields_named = [n.strip("` ").removeprefix("MICROTOME_").lower() for n in names.split(",")]
        for name, text in zip(fields_named, shown.split(","), strict=False):
            number, _, unit = text.strip("` ").partition(" ")
            default = next(f.default for f in fields(Settings) if f.name == name)
            if isinstance(default, int | float) and not isinstance(default, bool):
                assert float(number) * units.get(unit, 1) == default, name
            elif default is not MISSING and default:
                assert number in str(default)
