"""What checkers of others say of deploy: checkov, promtool, and the schemas of operators."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from microtome_cli.main import main
from tests.deploy.manifests import DEPLOY, folders, only, render

# An environment of its own: see .ci/packages-deploy.
APART = DEPLOY.parent / ".venv-deploy"
SCHEMAS = "lib/python3*/site-packages/dask_kubernetes/operator/deployment/helm/*/crds"
pytestmark = pytest.mark.slow


def needed(path: str | None, name: str) -> str:
    """Return where a program is, or skip by name."""
    if path is None or not Path(path).exists():
        pytest.skip(f"{name}: not installed, see .ci/packages-deploy")
    return path


def checkov(*words: str) -> dict[str, Any]:
    """Return the report of one framework."""
    program = needed(str(APART / "bin/checkov"), "checkov")
    command = [program, "--skip-download", "--compact", "--output", "json", *words]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=280
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_checkov_finds_nothing_in_manifests(tmp_path: Path) -> None:
    """No check fails in any folder, and each that is left out is so for a reason that is given."""
    for folder in folders():
        text = yaml.safe_dump_all(render(folder))
        (tmp_path / f"{folder.replace('/', '-')}.yaml").write_text(text)
    report = checkov("--directory", str(tmp_path), "--framework", "kubernetes")
    results = report["results"]
    assert results["passed_checks"]
    failed = [(c["check_id"], c["resource"], c["file_path"]) for c in results["failed_checks"]]
    assert not failed
    for check in results["skipped_checks"]:
        assert len(check["check_result"]["suppress_comment"]) > 30, check


def test_checkov_finds_nothing_in_the_dockerfile() -> None:
    """Likewise for the images."""
    report = checkov("--file", str(DEPLOY / "Dockerfile"), "--framework", "dockerfile")
    assert report["results"]["passed_checks"]
    assert not report["results"]["failed_checks"]
    for check in report["results"]["skipped_checks"]:
        assert len(check["check_result"]["suppress_comment"]) > 30, check


def test_checkov_would_find_something(tmp_path: Path) -> None:
    """The judge of the tests above refuses a container that is privileged."""
    deployment = only(render("base"), "Deployment")
    spec = deployment["spec"]["template"]["spec"]["containers"][0]
    spec["securityContext"]["privileged"] = True
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(deployment))
    report = checkov("--file", str(tmp_path / "bad.yaml"), "--framework", "kubernetes")
    assert "CKV_K8S_16" in {check["check_id"] for check in report["results"]["failed_checks"]}


def promtool(*words: str) -> None:
    """Let Prometheus' own tool judge."""
    program = needed(shutil.which("promtool"), "promtool")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_knows_every_rule(tmp_path: Path) -> None:
    """Rules of both forms are such as Prometheus loads."""
    promtool("check", "rules", str(DEPLOY / "prometheus/alerts.yaml"))
    promtool("check", "rules", str(operators_rules(tmp_path)))


@pytest.mark.parametrize("cases", ["alerts.test.yaml", "kubernetes.test.yaml"])
def test_alerts_are_heard_when_they_should_be(tmp_path: Path, cases: str) -> None:
    """Each case makes the alerts that it names, and no other."""
    shutil.copy(DEPLOY / "prometheus/alerts.yaml", tmp_path)
    operators_rules(tmp_path)
    shutil.copy(Path(__file__).parent / cases, tmp_path)
    promtool("test", "rules", str(tmp_path / cases))


def operators_rules(folder: Path) -> Path:
    """Write what Prometheus' operator is given as Prometheus itself reads it."""
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(only(render("overlays/prod"), "PrometheusRule")["spec"]))
    return path


def schema(kind: str) -> dict[str, Any]:
    """Return what Dask's operator says of one of its kinds, without room for unknown words."""
    folder = next(iter(APART.glob(SCHEMAS)), None)
    path = needed(str(folder / f"{kind.lower()}.yaml") if folder else None, "dask-kubernetes")
    text = Path(path).read_text()
    found = next(d for d in yaml.safe_load_all(text) if d["spec"]["names"]["kind"] == kind)
    form: dict[str, Any] = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return closed(form)


def closed(form: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a schema that refuses what it does not name, unless it says that it keeps it."""
    if isinstance(form, list):
        return [closed(each) for each in form]
    if not isinstance(form, dict):
        return form
    made = {key: closed(value) for key, value in form.items()}
    open_end = form.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in form
    if isinstance(form.get("properties"), dict) and form.get("type") == "object" and not open_end:
        made["additionalProperties"] = False
    if form.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made


def judged(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Check the one object of a kind, and return it."""
    found = only(objects, kind)
    head = {key: found[key] for key in ("apiVersion", "kind", "metadata")}
    form = schema(kind)
    jsonschema.validate(
        {key: found[key] for key in found.keys() - head.keys()},
        form | {"properties": {k: v for k, v in form["properties"].items() if k not in head}},
    )
    return found


def test_the_operator_of_dask_knows_every_word(tmp_path: Path) -> None:
    """Our cluster, and what ``microtome submit`` makes, are of the form that its operator has."""
    cluster = judged(render("environments/eks"), "DaskCluster")
    assert cluster["apiVersion"] == "kubernetes.dask.org/v1"
    out = tmp_path / "job.yaml"
    words = ["submit", "synthetic://neurons?shape=64,64,64", "s3://a/root", "--as", "a/b/c"]
    assert main([*words, "--engine", "dask", "--out", str(out)]) == 0
    judged(list(yaml.safe_load_all(out.read_text())), "DaskJob")


def test_the_operator_of_dask_would_find_something() -> None:
    """The judge of the test above refuses a word that it does not know."""
    objects = render("environments/eks")
    only(objects, "DaskCluster")["spec"]["worker"]["replicaz"] = 3
    with pytest.raises(jsonschema.ValidationError, match="replicaz"):
        judged(objects, "DaskCluster")
