"""What `kubectl kustomize` makes of the folders of deploy."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
Manifest = dict[str, Any]

_UNITS = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 1e3, "M": 1e6, "G": 1e9}
_QUANTITY = re.compile(r"([0-9.]+)([A-Za-z]*)")


def folders() -> list[str]:
    """Return every folder that can be applied, relative to deploy."""
    found = DEPLOY.rglob("kustomization.yaml")
    kinds = {path.parent: yaml.safe_load(path.read_text())["kind"] for path in found}
    return sorted(
        str(folder.relative_to(DEPLOY)) for folder, kind in kinds.items() if kind != "Component"
    )


def components() -> list[Path]:
    """Return the folders that others are made of."""
    found = DEPLOY.rglob("kustomization.yaml")
    return [p.parent for p in found if yaml.safe_load(p.read_text())["kind"] == "Component"]


def kustomize() -> list[str]:
    """Return the words that render, or none where neither program is there."""
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    return ["kustomize", "build"] if shutil.which("kustomize") else []


def render(folder: str) -> list[Manifest]:
    """Return all objects of a folder, anew for each caller."""
    objects: list[Manifest] = json.loads(_rendered(folder))
    return objects


@cache
def _rendered(folder: str) -> str:
    words = [*kustomize(), str(DEPLOY / folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.dumps([each for each in yaml.load_all(done.stdout, yaml.CSafeLoader) if each])


def only(objects: list[Manifest], kind: str, name: str = "") -> Manifest:
    """Return the one object of a kind that has this name, or whose name begins so."""
    named = [o for o in objects if o["kind"] == kind and o["metadata"]["name"].startswith(name)]
    exact = [o for o in named if o["metadata"]["name"] == name]
    (found,) = exact or named
    return found


def pod_specs(objects: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield the name and specification of all pods that objects lead to."""
    for each in objects:
        name, spec = f"{each['kind']} {each['metadata']['name']}", each.get("spec", {})
        if each["kind"] == "CronJob":
            yield name, spec["jobTemplate"]["spec"]["template"]["spec"]
        elif each["kind"] in ("Deployment", "Job"):
            yield name, spec["template"]["spec"]
        elif each["kind"] == "DaskCluster":
            yield f"{name} worker", spec["worker"]["spec"]
            yield f"{name} scheduler", spec["scheduler"]["spec"]


def settings_of(objects: list[Manifest]) -> dict[str, str]:
    """Return what the ConfigMap of the service says."""
    data: dict[str, str] = only(objects, "ConfigMap", "microtome-settings")["data"]
    return data


def quantity(text: str) -> float:
    """Return what Kubernetes means by a quantity.

    >>> quantity("1536Mi")
    1610612736.0
    """
    match = _QUANTITY.fullmatch(text)
    assert match, text
    return float(match[1]) * _UNITS[match[2]]
