"""The stack for one machine: its parts refer to each other, and our own are sized by settings."""

import json
import re
from typing import Any

import pytest
import yaml

from microtome_core import __version__
from microtome_service.settings import Settings
from tests.deploy.manifests import DEPLOY

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MIB = 1 << 20
OURS = [name for name, each in SERVICES.items() if "build" in each]


def test_the_stack_has_its_parts() -> None:
    """A service, a database, object storage, Dask, and what watches it."""
    parts = {"service", "postgres", "storage", "dask-scheduler", "dask-worker", "prometheus"}
    assert parts | {"grafana", "migrate", "bucket", "ingest"} == set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_parts_refer_to_what_there_is(name: str) -> None:
    """What a part waits for can be waited for, images are of a version, memory has an end."""
    each = SERVICES[name]
    waits = each.get("depends_on", {})
    for other in waits:
        assert other in SERVICES
        condition = waits[other]["condition"] if isinstance(waits, dict) else ""
        if condition == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        if condition == "service_completed_successfully":
            assert SERVICES[other]["restart"].startswith("on-failure")
    assert re.search(r":v?[\w.-]*\d[\w.-]*$", each["image"]), each["image"]
    assert each["mem_limit"]
    for volume in each.get("volumes", ()):
        source = volume.partition(":")[0]
        if source.startswith("./"):
            assert (DEPLOY / source).is_file(), source
        elif not source.startswith("$"):
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", OURS)
def test_our_images_are_confined(name: str) -> None:
    """Our own parts are of this version, cannot write their files, and have no capabilities."""
    each = SERVICES[name]
    assert each["image"].endswith(f":{__version__}")
    assert (each["read_only"], each["cap_drop"]) == (True, ["ALL"])
    assert each["security_opt"] == ["no-new-privileges:true"]
    stages = (DEPLOY / "Dockerfile").read_text()
    assert f" AS {each['build']['target']}\n" in stages


def test_only_this_machine_is_served() -> None:
    """No port is open to the network, as the passwords are known to all."""
    for each in SERVICES.values():
        for port in each.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_the_service_is_sized_by_its_settings() -> None:
    """Its settings exist, and its memory is what they may take."""
    told = {k: str(v) for k, v in SERVICES["service"]["environment"].items()}
    names = {name for name in told if name.startswith("MICROTOME_")}
    assert names <= set(Settings(root="a").to_environment())
    settings = Settings.from_environment({**told, "MICROTOME_HOST": "0.0.0.0"})
    needed = settings.cache_bytes + settings.max_flying_bytes + 768 * MIB
    assert SERVICES["service"]["mem_limit"] == f"{needed // MIB}m"
    assert 2 * settings.max_cutout_bytes + 128 * MIB <= settings.max_flying_bytes
    grace = float(SERVICES["service"]["stop_grace_period"].removesuffix("s"))
    assert grace >= settings.drain_seconds + settings.grace_seconds + 5


def test_what_watches_finds_what_it_watches() -> None:
    """Prometheus scrapes parts of the stack, as the job that alerts know, and Grafana asks it."""
    watched = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())
    jobs = {
        job["job_name"]: job["static_configs"][0]["targets"] for job in watched["scrape_configs"]
    }
    assert jobs["microtome"] == ["service:8000"]
    assert all(t.partition(":")[0] in SERVICES for targets in jobs.values() for t in targets)
    sources = yaml.safe_load((DEPLOY / "grafana/datasources.yaml").read_text())["datasources"]
    assert sources[0]["url"] == "http://prometheus:9090"
    chosen = json.loads((DEPLOY / "grafana/microtome.json").read_text())["templating"]["list"][0]
    assert chosen["current"]["value"] == sources[0]["uid"]
