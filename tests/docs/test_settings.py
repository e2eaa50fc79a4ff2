"""The table of settings is complete and says what is true."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

from microtome_service.metrics import Metrics
from microtome_service.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs/settings.md").read_text()


def test_every_setting_is_documented_and_no_other() -> None:
    """The page names each MICROTOME_ variable that the service reads, and only those."""
    named = set(re.findall(r"MICROTOME_[A-Z_]+", PAGE))
    read = {f"MICROTOME_{f.name.upper()}" for f in fields(Settings)}
    # The file that holds the others, and a prefix.
    assert named - {"MICROTOME_SETTINGS", "MICROTOME_"} == read


def test_documented_defaults_are_the_real_ones() -> None:
    """Each row gives its field's default, in units that people read."""
    units = {"": 1, "GiB": 2**30, "MiB": 2**20}
    rows = re.findall(r"^\| `MICROTOME_(\w+)` \|([^|]*)\|", PAGE, re.MULTILINE)
    assert len(rows) == len(fields(Settings))
    defaults = {f.name: f.default for f in fields(Settings)}
    for name, shown in rows:
        default, text = defaults[name.lower()], shown.strip("` ")
        number, _, unit = text.partition(" ")
        if default is MISSING or default == "":
            assert text == "", name
        elif isinstance(default, int | float) and not isinstance(default, bool):
            assert float(number) * units[unit] == default, name
        elif isinstance(default, tuple):
            assert text == ",".join(default), name
        else:
            assert text == str(default).lower(), name


def test_every_metric_is_documented() -> None:
    """The page names each metric that the service counts, and no other."""
    counted = {metric.name for metric in Metrics().collect()}
    named = {n.removesuffix("_total") for n in re.findall(r"`(microtome_[a-z_]+)", PAGE)}
    assert named == counted
