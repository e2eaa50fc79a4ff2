"""The policies of deploy/policies: manifests keep them, and each refuses what it is there for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from regopy import Interpreter

from microtome_cli.main import main
from tests.deploy.manifests import DEPLOY, Manifest, folders, only, render

POLICIES = sorted(path.stem for path in (DEPLOY / "policies").glob("*.rego"))
POLICIES.remove("objects")


def service(objects: list[Manifest]) -> dict[str, Any]:
    """Return the pod of the service."""
    pod: dict[str, Any] = only(objects, "Deployment")["spec"]["template"]["spec"]
    return pod


def container(objects: list[Manifest]) -> dict[str, Any]:
    """Return the container of the service."""
    found: dict[str, Any] = service(objects)["containers"][0]
    return found


def migration(objects: list[Manifest]) -> dict[str, Any]:
    """Return what the migration is."""
    spec: dict[str, Any] = only(objects, "Job", "microtome-migrate")["spec"]
    return spec


def reaches(objects: list[Manifest]) -> list[dict[str, Any]]:
    """Return what pods may reach."""
    rules: list[dict[str, Any]] = only(objects, "NetworkPolicy", "microtome-reaches")["spec"][
        "egress"
    ]
    return rules


def without(objects: list[Manifest], kind: str, name: str = "") -> None:
    """Remove one object."""
    objects.remove(only(objects, kind, name))


def settings(objects: list[Manifest]) -> dict[str, str]:
    """Return the settings of the service."""
    data: dict[str, str] = only(objects, "ConfigMap", "microtome-settings")["data"]
    return data


Planting = Callable[[list[Manifest]], object]
PLANTED: dict[str, dict[str, Planting]] = {
    "users": {
        "runAsNonRoot": lambda o: container(o)["securityContext"].update(runAsNonRoot=False),
        "runAsUser": lambda o: container(o)["securityContext"].update(runAsUser=0),
    },
    "privileges": {
        "privileged": lambda o: container(o)["securityContext"].update(privileged=True),
        "allowPrivilegeEscalation": lambda o: container(o)["securityContext"].pop(
            "allowPrivilegeEscalation"
        ),
        "capabilities are not dropped": lambda o: container(o)["securityContext"].pop(
            "capabilities"
        ),
        "capabilities are added": lambda o: container(o)["securityContext"]["capabilities"].update(
            add=["NET_ADMIN"]
        ),
        "can be written": lambda o: container(o)["securityContext"].update(
            readOnlyRootFilesystem=False
        ),
        "no seccomp profile": lambda o: service(o)["securityContext"].pop("seccompProfile"),
        "hostNetwork": lambda o: service(o).update(hostNetwork=True),
        "a folder of the node": lambda o: service(o)["volumes"].append(
            {"name": "node", "hostPath": {"path": "/"}}
        ),
        "a token of the cluster": lambda o: service(o).pop("automountServiceAccountToken"),
    },
    "limits": {
        "no limits of memory": lambda o: container(o)["resources"]["limits"].pop("memory"),
        "no requests of cpu": lambda o: container(o)["resources"]["requests"].pop("cpu"),
        "less memory is reserved": lambda o: container(o)["resources"]["requests"].update(
            memory="1Gi"
        ),
    },
    "probes": {
        "no readinessProbe": lambda o: container(o).pop("readinessProbe"),
        "only not ready": lambda o: container(o)["livenessProbe"].update(
            httpGet=container(o)["readinessProbe"]["httpGet"]
        ),
        "no preStop": lambda o: container(o).pop("lifecycle"),
    },
    "disruption": {
        "no PodDisruptionBudget": lambda o: without(o, "PodDisruptionBudget"),
        "it lets no pod go": lambda o: only(o, "PodDisruptionBudget")["spec"].update(
            maxUnavailable=0
        ),
    },
    "network": {
        "no NetworkPolicy of Ingress": lambda o: only(o, "NetworkPolicy", "microtome-nothing")[
            "spec"
        ].update(podSelector={"matchLabels": {"app.kubernetes.io/component": "service"}}),
        "169.254.169.254": lambda o: reaches(o)[1]["to"][0]["ipBlock"].pop("except"),
        "it reaches everything": lambda o: reaches(o)[1].pop("to"),
    },
    "labels": {
        "Service microtome: no label": lambda o: only(o, "Service")["metadata"]["labels"].pop(
            "app.kubernetes.io/version"
        ),
        "Deployment microtome: no label": lambda o: only(o, "Deployment")["spec"]["template"][
            "metadata"
        ]["labels"].pop("app.kubernetes.io/component"),
    },
    "images": {
        "is of no version": lambda o: container(o).update(image="microtome:latest"),
    },
    "jobs": {
        "counts as a failure": lambda o: migration(o)["podFailurePolicy"]["rules"].pop(0),
        "exit code 2 is tried again": lambda o: migration(o)["podFailurePolicy"]["rules"].pop(1),
    },
    "secrets": {
        "the value of AWS_SECRET_ACCESS_KEY": lambda o: container(o).update(
            env=[{"name": "AWS_SECRET_ACCESS_KEY", "value": "hunter2"}]
        ),
        "the value of MICROTOME_DATABASE_URL": lambda o: settings(o).update(
            MICROTOME_DATABASE_URL="sqlite:////a"
        ),
    },
}


def some_or_all(folder: str) -> Any:  # noqa: ANN401 - pytest's own
    """Leave folders that are made of others to the slow tests."""
    of_others = folder.startswith("environments/") or folder == "overlays/prod"
    return pytest.param(folder, marks=[pytest.mark.slow] if of_others else [])


@pytest.fixture(scope="module")
def judge() -> Interpreter:
    """Return an interpreter that knows all policies."""
    interpreter = Interpreter()
    for path in sorted((DEPLOY / "policies").glob("*.rego")):
        interpreter.add_module(path.name, path.read_text())
    return interpreter


def denials(judge: Interpreter, policy: str, objects: list[Manifest]) -> list[str]:
    """Return what a policy says against objects."""
    judge.set_input(objects)
    (said,) = judge.query(f"data.microtome.{policy}.deny").results[0].expressions
    return list(said)


@pytest.mark.parametrize("folder", [some_or_all(folder) for folder in folders()])
def test_manifests_keep_every_policy(folder: str, judge: Interpreter) -> None:
    """No policy says anything against what can be applied; an ingest is applied to a base."""
    objects = render(folder)
    if folder.startswith("ingest/"):
        objects += [o for o in render("base") if o["kind"] == "NetworkPolicy"]
    said = {policy: denials(judge, policy, objects) for policy in POLICIES}
    assert not any(said.values()), said


@pytest.mark.parametrize(
    ("policy", "words"), [(policy, words) for policy in PLANTED for words in PLANTED[policy]]
)
def test_each_policy_refuses_what_it_is_there_for(
    policy: str, words: str, judge: Interpreter
) -> None:
    """What is planted in manifests that are right is refused, in words that say what it is."""
    objects = render("base")
    PLANTED[policy][words](objects)
    said = denials(judge, policy, objects)
    assert any(words in each for each in said), said


@pytest.mark.parametrize("engine", ["job", "dask"])
def test_what_is_submitted_keeps_every_policy(
    engine: str, judge: Interpreter, tmp_path: Path
) -> None:
    """An ingest of ``microtome submit`` keeps the policies of the cluster to which it is handed."""
    words = ["submit", "synthetic://neurons?shape=64,64,64", "s3://a/root", "--as", "a/b/c"]
    out = tmp_path / "job.yaml"
    assert main([*words, "--engine", engine, "--out", str(out)]) == 0
    objects = [each for each in yaml.safe_load_all(out.read_text()) if each]
    assert objects
    objects += [o for o in render("environments/eks") if o["kind"] == "NetworkPolicy"]
    said = {policy: denials(judge, policy, objects) for policy in POLICIES}
    assert not any(said.values()), said


def test_every_policy_is_tried() -> None:
    """There is no policy that no planted fault tries."""
    assert sorted(PLANTED) == POLICIES
    assert all(Path(DEPLOY / "policies" / f"{policy}.rego").exists() for policy in PLANTED)
