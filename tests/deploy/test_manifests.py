"""What the kustomizations make is valid, of this version, and sized by the settings in it."""

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pytest
import yaml

from microtome_cli import main as cli
from microtome_core import __version__
from microtome_service.app import create_app
from microtome_service.server import open_store
from microtome_service.settings import Settings
from tests.deploy.manifests import (
    DEPLOY,
    Manifest,
    components,
    folders,
    only,
    pod_specs,
    quantity,
    render,
    settings_of,
)
from tests.later import Later

kubernetes_validate = Later("kubernetes_validate")

# The oldest that knows all that is used here, the newest, and one between.
VERSIONS = ("1.30", "1.34", "1.37")
# Their forms are not Kubernetes' own: see test_operators.
CUSTOM = ("DaskCluster", "PrometheusRule", "ServiceMonitor")
SERVICES = [folder for folder in folders() if not folder.startswith("ingest/")]
MIB = 1 << 20
HEADROOM = 768 * MIB
DECODED_AT_ONCE = 128 * MIB


@pytest.mark.parametrize("version", VERSIONS[:1])
def test_manifests_are_valid(version: str) -> None:
    """A cluster knows every word of what the base and an ingest are made of."""
    check_valid(("base", "ingest/parts"), version)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_every_folder_is_valid(version: str) -> None:
    """Every folder renders, and clusters of each version know every word in it."""
    check_valid(folders(), version)


def check_valid(names: Sequence[str], version: str) -> None:
    """Validate each object once, in however many folders it is."""
    found = {json.dumps(each) for name in names for each in render(name)}
    for each in map(json.loads, sorted(found)):
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, version, strict=True)


def test_a_misspelt_word_is_found() -> None:
    """The judge of the test above refuses a key that Kubernetes does not know."""
    deployment = only(render("base"), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_every_component_is_used() -> None:
    """There is no component that no folder has, and so none that is never looked at."""
    used = {
        (path.parent / name).resolve()
        for path in DEPLOY.rglob("kustomization.yaml")
        for name in yaml.safe_load(path.read_text()).get("components", ())
    }
    assert set(components()) == used


@pytest.mark.parametrize("folder", folders())
def test_versions_are_this_one(folder: str) -> None:
    """Labels, the names of Jobs that are made anew, and our own images are of this version."""
    objects = render(folder)
    for each in objects:
        assert each["metadata"]["labels"]["app.kubernetes.io/version"] == __version__
    for name, spec in pod_specs(objects):
        for container in spec["containers"]:
            image = container["image"].rpartition("/")[2]
            assert image in (f"microtome:{__version__}", f"microtome-ingest:{__version__}"), name
    migrations = [o["metadata"]["name"] for o in objects if "migrate" in o["metadata"]["name"]]
    assert set(migrations) <= {f"microtome-migrate-{__version__.replace('.', '-')}"}


def test_the_base_has_its_parts() -> None:
    """What a service needs in a cluster is in the base, each once."""
    kinds = sorted(o["kind"] for o in render("base") if o["kind"] != "NetworkPolicy")
    assert kinds == sorted(
        ["Namespace", "ServiceAccount", "ConfigMap", "ConfigMap", "Deployment", "Service",
         "HorizontalPodAutoscaler", "PodDisruptionBudget", "Job", "CronJob"]
    )  # fmt: skip


@pytest.mark.parametrize("folder", SERVICES)
def test_settings_are_those_that_exist(folder: str) -> None:
    """The ConfigMap has every setting that is not secret, no other, and is valid."""
    settings = settings_of(render(folder))
    shown = {f"MICROTOME_{field.name.upper()}" for field in fields(Settings) if field.repr}
    assert set(settings) == shown
    assert Settings.from_environment(settings).host == "0.0.0.0"


@pytest.mark.parametrize("folder", SERVICES)
def test_memory_follows_from_settings(folder: str) -> None:
    """A pod may take what its workers' cache, answers under way and programs take, and has it."""
    objects = render(folder)
    settings = Settings.from_environment(settings_of(objects))
    resources = service_container(objects)["resources"]
    each = settings.cache_bytes + settings.max_flying_bytes + HEADROOM
    assert quantity(resources["limits"]["memory"]) == settings.workers * each
    assert quantity(resources["requests"]["memory"]) == settings.workers * each


def test_pictures_fit_where_they_are_kept() -> None:
    """What is kept on disk has room there, beside what else is written."""
    objects = render("base")
    settings = Settings.from_environment(settings_of(objects))
    (volume,) = only(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert settings.picture_folder.startswith("/tmp/")
    assert settings.picture_bytes + 128 * MIB <= quantity(volume["emptyDir"]["sizeLimit"])
    storage = service_container(objects)["resources"]["limits"]["ephemeral-storage"]
    assert quantity(volume["emptyDir"]["sizeLimit"]) < quantity(storage)


@pytest.mark.parametrize("folder", SERVICES)
def test_concurrency_follows_from_settings(folder: str) -> None:
    """No answer is larger than the room for answers, and no more wait than 16 for each place."""
    settings = Settings.from_environment(settings_of(render(folder)))
    assert 2 * settings.max_cutout_bytes + DECODED_AT_ONCE <= settings.max_flying_bytes
    places = settings.max_flying_bytes // (2 * settings.slab_bytes + DECODED_AT_ONCE)
    assert 16 * (places - 1) <= settings.max_waiting <= 16 * (places + 1)
    assert settings.max_waiting + places < settings.max_connections


@pytest.mark.parametrize("folder", SERVICES)
def test_replicas_follow_from_settings(folder: str) -> None:
    """Another replica comes when 60 % of the room for answers are taken."""
    objects = render(folder)
    settings = Settings.from_environment(settings_of(objects))
    scalers = [o for o in objects if o["kind"] == "HorizontalPodAutoscaler"]
    if not scalers:
        assert only(objects, "Deployment")["spec"]["replicas"] == 1
        return
    metric = scalers[0]["spec"]["metrics"][0]["pods"]
    assert metric["metric"]["name"] == "microtome_flying_bytes"
    room = settings.workers * settings.max_flying_bytes
    assert quantity(metric["target"]["averageValue"]) == pytest.approx(0.6 * room)
    assert "replicas" not in only(objects, "Deployment")["spec"]


@pytest.mark.parametrize("folder", SERVICES)
def test_there_is_time_to_end(folder: str) -> None:
    """A pod is not killed before what it may wait for at its end has passed."""
    objects = render(folder)
    settings = Settings.from_environment(settings_of(objects))
    spec = only(objects, "Deployment")["spec"]["template"]["spec"]
    before = service_container(objects)["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = before + settings.drain_seconds + settings.grace_seconds
    assert spec["terminationGracePeriodSeconds"] >= needed + 5


def test_probes_ask_what_the_service_answers() -> None:
    """The paths of the probes are routes of the app, on the port on which it listens."""
    objects = render("base")
    container = service_container(objects)
    settings = Settings.from_environment({**settings_of(objects), "MICROTOME_ROOT": "memory://a"})
    routes = {getattr(r, "path", "") for r in create_app(settings, open_store(settings)).routes}
    asked = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]
    assert {probe["path"] for probe in asked} == {"/health/live", "/health/ready"} <= routes
    (port,) = container["ports"]
    assert (port["containerPort"], {p["port"] for p in asked}) == (settings.port, {port["name"]})


@pytest.mark.parametrize("folder", folders())
def test_jobs_know_the_exit_codes(folder: str) -> None:
    """A Job gives up at codes that say so, and is tried again after those that say so."""
    jobs = [o["spec"] for o in render(folder) if o["kind"] == "Job"]
    jobs += [o["spec"]["jobTemplate"]["spec"] for o in render(folder) if o["kind"] == "CronJob"]
    for job in jobs:
        (codes,) = (
            rule["onExitCodes"]["values"]
            for rule in job["podFailurePolicy"]["rules"]
            if rule["action"] == "FailJob"
        )
        assert {cli.BAD_INPUT, cli.NO_PERMISSION} <= set(codes)
        assert not {cli.TRY_AGAIN, cli.TERMINATED, cli.INTERRUPTED} & set(codes)
    assert jobs


def test_commands_are_those_of_the_program() -> None:
    """What containers are told to do is a command, and every option of it is known."""
    for folder in folders():
        for name, spec in pod_specs(render(folder)):
            (container,) = spec["containers"]
            if "command" in container:
                assert container["command"] == ["/opt/microtome/bin/dask"], name
                continue
            words = [str(word) for word in container["args"]]
            words = [w.replace("$(JOB_COMPLETION_INDEX)/$(PARTS)", "0/16") for w in words]
            command = cli._load(words[0])
            parser = cli._parser(words[0], command)
            assert parser.parse_args(words).command is command, name


def test_parts_are_all_of_them() -> None:
    """An ingest has as many indexes as parts, and memory for what it is told to take."""
    objects = render("ingest/parts")
    job, told = only(objects, "Job")["spec"], only(objects, "ConfigMap")["data"]
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"] == int(told["PARTS"])
    for part in ("ingest/parts", "ingest/commit"):
        ((_, spec),) = pod_specs(render(part))
        limit = quantity(spec["containers"][0]["resources"]["limits"]["memory"])
        assert limit == quantity(told["MEMORY"].removesuffix("B")) + (1 << 30)


def test_the_ingress_knows_the_limits() -> None:
    """Bodies that the service takes pass the ingress, and it waits as long as answers may."""
    objects = render("overlays/prod")
    settings = Settings.from_environment(settings_of(objects))
    said = only(objects, "Ingress")["metadata"]["annotations"]
    told = {key.rpartition("/")[2]: value for key, value in said.items()}
    assert int(told["proxy-body-size"]) == settings.max_cutout_bytes
    assert int(told["proxy-read-timeout"]) > settings.wait_seconds + settings.read_seconds
    assert told["proxy-buffering"] == told["proxy-request-buffering"] == "off"


def test_what_is_private_has_its_database() -> None:
    """Where everything is private, a service without the Secret of its database does not start."""
    objects = render("environments/eks")
    assert Settings.from_environment(settings_of(objects)).default_visibility == "private"
    (variable,) = service_container(objects)["env"]
    assert variable["valueFrom"]["secretKeyRef"]["name"] == "microtome-database"
    assert not variable["valueFrom"]["secretKeyRef"].get("optional")


@pytest.mark.parametrize("folder", ["environments/gke", "environments/bare-metal"])
def test_keys_reach_all_who_read_the_store(folder: str) -> None:
    """The keys of storage are a Secret, for the service and for who looks through the store."""
    objects = render(folder)
    for kind in ("Deployment", "CronJob"):
        ((_, spec),) = pod_specs([only(objects, kind)])
        sources = spec["containers"][0]["envFrom"]
        assert {"secretRef": {"name": "microtome-s3"}} in sources


def service_container(objects: list[Manifest]) -> dict[str, Any]:
    """Return the container that serves."""
    (container,) = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(container)
