"""What the kustomizations make is valid, of this version, and sized by the settings in it."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
CUSTOM = ("DaskCluster", "HTTPRoute", "PrometheusRule", "ServiceMonitor")
ENVIRONMENTS = [folder for folder in folders() if folder.startswith("environments/")]
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
        ["Namespace", "ServiceAccount", "ServiceAccount", "ConfigMap", "ConfigMap",
         "Deployment", "Service",
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


@pytest.mark.parametrize("folder", ["ingest/parts", "ingest/commit"])
def test_an_ingest_finds_the_storage_of_the_service(folder: str) -> None:
    """By the service's own ConfigMap, if it is there, and by what it is told itself before that."""
    ((_, spec),) = pod_specs(render(folder))
    shared, own = (one["configMapRef"] for one in spec["containers"][0]["envFrom"])
    assert (shared["name"], shared["optional"]) == ("microtome-storage", True)
    told = only(render(folder), "ConfigMap")
    assert own == {"name": told["metadata"]["name"]}
    # What is said there would hide what the service is told.
    assert (
        not told["data"].keys() & only(render("base"), "ConfigMap", shared["name"])["data"].keys()
    )


def test_the_ingress_knows_the_limits() -> None:
    """Bodies that the service takes pass the ingress, and it waits as long as answers may."""
    objects = render("environments/eks")
    settings = Settings.from_environment(settings_of(objects))
    said = only(objects, "Ingress")["metadata"]["annotations"]
    told = {key.rpartition("/")[2]: value for key, value in said.items()}
    assert int(told["proxy-body-size"]) == settings.max_cutout_bytes
    assert int(told["proxy-read-timeout"]) > settings.wait_seconds + settings.read_seconds
    assert told["proxy-buffering"] == told["proxy-request-buffering"] == "off"


def test_the_route_ends_no_answer() -> None:
    """However long it is taken; numbers lead nowhere, all else to the service by a port it has."""
    objects = render("environments/bare-metal")
    numbers, rest = only(objects, "HTTPRoute")["spec"]["rules"]
    assert rest["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    assert numbers["matches"] == [{"path": {"type": "Exact", "value": "/metrics"}}]
    deployment = only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    for rule, leads in ((numbers, False), (rest, True)):
        (backend,) = rule["backendRefs"]
        service = only(objects, "Service", backend["name"])["spec"]
        assert backend["port"] in {port["port"] for port in service["ports"]}
        assert (service["selector"].items() <= deployment.items()) is leads


def test_what_is_private_has_its_database() -> None:
    """Where everything is private, a service without the Secret of its database does not start."""
    objects = render("environments/eks")
    assert Settings.from_environment(settings_of(objects)).default_visibility == "private"
    (variable,) = service_container(objects)["env"]
    assert variable["valueFrom"]["secretKeyRef"]["name"] == "microtome-database"
    assert not variable["valueFrom"]["secretKeyRef"].get("optional")


@pytest.mark.parametrize("folder", ENVIRONMENTS)
def test_what_an_environment_says_is_so(folder: str) -> None:
    """No overlay and no component says otherwise, of settings and of storage."""
    objects = render(folder)
    for name in ("settings", "storage"):
        said = (DEPLOY / folder / f"{name}.env").read_text().split()
        data = only(objects, "ConfigMap", f"microtome-{name}")["data"]
        assert said
        assert dict(line.split("=", 1) for line in said).items() <= data.items()


@pytest.mark.parametrize("folder", SERVICES)
def test_the_way_in_has_the_name_that_pages_print(folder: str) -> None:
    """Whoever follows a link reaches the service, by a certificate of that name."""
    objects = render(folder)
    url = Settings.from_environment(settings_of(objects)).public_url
    host = urlsplit(url).hostname
    ways = [o for o in objects if o["kind"] in ("Ingress", "HTTPRoute")]
    assert len(ways) == bool(url) == (folder in ENVIRONMENTS)
    for way in ways:
        if way["kind"] == "HTTPRoute":
            assert way["spec"]["hostnames"] == [host]
        else:
            assert [rule["host"] for rule in way["spec"]["rules"]] == [host]
            assert [entry["hosts"] for entry in way["spec"]["tls"]] == [[host]]


@pytest.mark.parametrize("folder", folders())
def test_who_ingests_has_an_account_of_its_own(folder: str) -> None:
    """So that the service's need not be able to write; both accounts are made with the base."""
    made = {o["metadata"]["name"] for o in render("base") if o["kind"] == "ServiceAccount"}
    for name, spec in pod_specs(render(folder)):
        ingests = {"ingest", "worker", "scheduler"} & {c["name"] for c in spec["containers"]}
        assert spec["serviceAccountName"] == ("microtome-ingest" if ingests else "microtome"), name
        assert spec["serviceAccountName"] in made


def test_each_account_has_its_role() -> None:
    """On EKS, from one place, and by the cluster's own region."""
    objects = render("environments/eks")
    accounts = [o["metadata"] for o in objects if o["kind"] == "ServiceAccount"]
    roles = {a["name"]: a["annotations"]["eks.amazonaws.com/role-arn"] for a in accounts}
    assert {name: role.rpartition("/")[2] for name, role in roles.items()} == {
        name: name for name in ("microtome", "microtome-ingest")
    }
    assert all(a["annotations"]["eks.amazonaws.com/sts-regional-endpoints"] for a in accounts)


def test_keys_reach_the_workers_of_dask(tmp_path: Path) -> None:
    """Where both components are taken, as the first says: the second after it."""
    away = os.path.relpath(DEPLOY, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{away}/overlays/prod]\n"
        f"components: [{away}/components/dask, {away}/components/s3-keys]\n"
    )
    cluster = only(render(str(tmp_path)), "DaskCluster")["spec"]
    (worker,) = cluster["worker"]["spec"]["containers"]
    assert {"secretRef": {"name": "microtome-s3"}} in worker["envFrom"]


def test_workers_of_any_dask_cluster_may_talk() -> None:
    """To their scheduler and to each other, by the base alone: ``microtome submit --engine dask``
    brings a cluster, but no policy.
    """
    objects = render("base")
    of_dask = {"matchExpressions": [{"key": "dask.org/cluster-name", "operator": "Exists"}]}
    policy = only(objects, "NetworkPolicy", "microtome-dask")["spec"]
    assert policy["podSelector"] == of_dask
    for direction, who in (("ingress", "from"), ("egress", "to")):
        assert {"podSelector": of_dask} in [p for r in policy[direction] for p in r[who]], direction
    assert "DaskCluster" not in {o["kind"] for o in objects}


def reached(objects: list[Manifest], labels: Mapping[str, str]) -> dict[int, list[Manifest]]:
    """Return the peers that pods of these labels may reach, by port."""
    found: dict[int, list[Manifest]] = {}
    for each in objects:
        if each["kind"] != "NetworkPolicy":
            continue
        wanted = each["spec"]["podSelector"].get("matchLabels", {})
        if wanted and wanted.items() <= labels.items():
            for rule in each["spec"].get("egress", ()):
                for port in rule.get("ports", ()):
                    found.setdefault(port["port"], []).extend(rule["to"])
    return found


@pytest.mark.parametrize(
    ("component", "ports"),
    [
        ("service", {53, 443, 5432, 4318}),
        ("migrate", {53, 443, 5432}),
        ("verify", {53, 443}),
        ("ingest", {53, 443, 8786}),
    ],
)
def test_pods_reach_what_they_need(component: str, ports: set[int]) -> None:
    """Names and storage all of them, the database and a collector of traces not all; whether it is
    in the cluster or outside.
    """
    labels = {"app.kubernetes.io/name": "microtome", "app.kubernetes.io/part-of": "microtome"}
    found = reached(render("base"), labels | {"app.kubernetes.io/component": component})
    assert set(found) == ports
    for port in ports - {53, 8786}:
        assert {"namespaceSelector": {}} in found[port]
        assert {"0.0.0.0/0", "::/0"} == {
            p["ipBlock"]["cidr"] for p in found[port] if "ipBlock" in p
        }


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
