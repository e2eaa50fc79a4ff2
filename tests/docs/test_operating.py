"""The pages for operators name what there is: alerts, commands, options, files, settings."""

import argparse
import re
from pathlib import Path

import pytest
import yaml

from microtome_cli.main import _COMMANDS, _load, _parser
from microtome_service.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs/operating").glob("*.md"))
TEXT = "\n".join(page.read_text() for page in PAGES)


def test_every_alert_has_its_page() -> None:
    """The runbook has a heading for each, those for Prometheus' operator too, and no other."""
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())
    more = yaml.safe_load((ROOT / "deploy/components/monitoring/rules.yaml").read_text())
    groups = [*rules["groups"], *more["spec"]["groups"]]
    alerts = dict.fromkeys(rule["alert"] for group in groups for rule in group["rules"])
    runbook = (ROOT / "docs/operating/runbook.md").read_text()
    assert re.findall(r"^## (Microtome\w+)$", runbook, re.MULTILINE) == list(alerts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    """Pages and files that a page names are there."""
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(r"\b(?:deploy|tests)/[\w./-]*\w", text)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_settings_exist() -> None:
    """Every variable that is named is one of the service."""
    named = set(re.findall(r"\bMICROTOME_[A-Z_]+\b", TEXT))
    known = {f"MICROTOME_{name.upper()}" for name in Settings.__dataclass_fields__}
    assert named - known == {"MICROTOME_SETTINGS"}


def test_commands_and_their_options_exist() -> None:
    """Each ``microtome COMMAND --option`` is one that the program knows."""
    lines = re.findall(
        r"(?:^|`)microtome ([a-z-]+)((?: [^`\n]*)?)", re.sub(r"\n\s+--", " --", TEXT), re.MULTILINE
    )
    found = [(name, words) for name, words in lines if name in _COMMANDS]
    assert {"submit", "verify", "database", "access", "token", "serve"} <= {n for n, _ in found}
    for name, words in found:
        known = _options(name)
        assert set(re.findall(r"(?<!\S)--[a-z-]+", words)) <= known, (name, words)


def _options(name: str) -> set[str]:
    """Return the options of a command and of its actions."""
    parser = _parser(name, _load(name))
    found, parsers = set[str](), [parser]
    while parsers:
        for action in parsers.pop()._actions:
            found |= set(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                parsers += list(action.choices.values())
    return found
