"""Alerts, dashboard and autoscaler ask only for what the service really tells."""

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml
from promql_parser import Expr, VectorSelector

from microtome_service.admission import Admission
from microtome_service.metrics import Metrics
from tests.deploy.manifests import DEPLOY, only, render

# Of Prometheus itself, and of kube-state-metrics 2.
FOREIGN = {
    "up",
    "kube_job_failed",
    "kube_cronjob_status_last_successful_time",
    "kube_cronjob_created",
    "kube_pod_container_resource_limits",
    "kube_pod_container_status_restarts_total",
    "kube_horizontalpodautoscaler_status_current_replicas",
    "kube_horizontalpodautoscaler_spec_max_replicas",
}
ALERTS = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())["groups"]
RULES = yaml.safe_load((DEPLOY / "components/monitoring/rules.yaml").read_text())["spec"]["groups"]
DASHBOARD = json.loads((DEPLOY / "grafana/microtome.json").read_text())
# What Grafana puts in before it asks.
FILLED = {"$__rate_interval": "1m", "$job": "microtome"}


def expressions() -> list[Any]:
    """Return every expression that is asked, named by who asks."""
    found = [
        pytest.param(rule["expr"], id=rule["alert"]) for group in RULES for rule in group["rules"]
    ]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            text = target["expr"]
            for name, value in FILLED.items():
                text = text.replace(name, value)
            found.append(pytest.param(text, id=f"{panel['title']}-{target['refId']}"))
    return found


def selectors(expression: Expr) -> Iterator[VectorSelector]:
    """Yield every series that an expression speaks of."""
    found: list[VectorSelector] = []

    def look(node: Expr) -> bool:
        if isinstance(node, VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(expression, look)
    yield from found


@pytest.fixture(scope="module")
def told() -> dict[str, set[str]]:
    """Return the series of a service that has done everything once, and the labels of each."""
    metrics = Metrics()
    metrics.note("/api/datasets", "GET", "200", 10, 0.1)
    metrics.refusals.labels("queue").inc()
    metrics.sample(Admission(1, 1, 1.0), 0)
    samples = [s for metric in metrics.collect() for s in metric.samples]
    return {name: {k for s in samples if s.name == name for k in s.labels}
            for name in {s.name for s in samples}}  # fmt: skip


@pytest.mark.parametrize("text", expressions())
def test_what_is_asked_is_told(text: str, told: dict[str, set[str]]) -> None:
    """Each expression is PromQL, and speaks of series and labels that there are."""
    found = list(selectors(promql_parser.parse(text)))
    assert found
    for each in found:
        assert each.name in told or each.name in FOREIGN, each.name
        if each.name in told:
            asked = {matcher.name for matcher in each.matchers.matchers} - {"job"}
            assert asked <= told[each.name], each.name


def test_a_series_that_is_not_told_is_found(told: dict[str, set[str]]) -> None:
    """The judge of the test above looks into every part of an expression."""
    parsed = promql_parser.parse("sum(rate(microtome_none_total[5m])) / 2 > 1 and absent(other)")
    names = {each.name for each in selectors(parsed)}
    assert names == {"microtome_none_total", "other"}
    assert not names & set(told)


def test_statuses_and_reasons_are_those_of_the_service() -> None:
    """Values that expressions ask for by name are such as the service uses."""
    asked = " ".join(parameter.values[0] for parameter in expressions())
    assert set(re.findall(r'reason=~"([^"]*)"', asked)) == {"queue|wait"}
    source = DEPLOY.parent / "service/microtome_service"
    assert '_refuse("queue")' in (source / "admission.py").read_text()
    assert '"broken"' in (source / "watch.py").read_text()
    assert set(re.findall(r'event="(\w+)"', asked)) <= {"hit", "miss", "evict"}


def test_both_forms_of_the_alerts_are_the_same() -> None:
    """What Prometheus reads from a file is what its operator reads, but for Kubernetes' own."""
    assert RULES[: len(ALERTS)] == ALERTS
    assert [group["name"] for group in RULES] == ["microtome", "microtome-kubernetes"]


def test_alerts_say_what_is_wrong_and_how_bad_it_is() -> None:
    """Whoever is woken reads what it is, why it may be, and how urgent."""
    for rule in (rule for group in RULES for rule in group["rules"]):
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]
        assert len(rule["annotations"]["description"]) > 20
        page, _, part = rule["annotations"]["runbook"].partition("#")
        assert (page, part) == ("docs/operating/runbook.md", rule["alert"].lower())


def test_the_autoscaler_is_served_what_it_asks_for(told: dict[str, set[str]]) -> None:
    """The adapter's series is one that the service tells, under the name that the scaler has."""
    adapter = yaml.safe_load((DEPLOY / "prometheus/adapter.yaml").read_text())
    (rule,) = adapter["rules"]["custom"]
    scaler = only(render("base"), "HorizontalPodAutoscaler")["spec"]
    asked = scaler["metrics"][0]["pods"]["metric"]["name"]
    assert rule["name"]["as"] == asked
    assert rule["seriesQuery"].partition("{")[0] == asked
    assert asked in told


def test_the_monitor_finds_the_service() -> None:
    """What is scraped has the labels, the port and the path that the service has."""
    objects = render("overlays/prod")
    monitor, service = (
        only(objects, "ServiceMonitor")["spec"],
        only(objects, "Service", "microtome"),
    )
    wanted = monitor["selector"]["matchLabels"].items()
    assert wanted <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"


def test_the_dashboard_comes_to_the_cluster() -> None:
    """As a ConfigMap that Grafana's sidecar looks for."""
    found = only(render("overlays/prod"), "ConfigMap", "microtome-dashboard")
    assert json.loads(found["data"]["microtome.json"]) == DASHBOARD
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_panels_stand_side_by_side() -> None:
    """No panel of the dashboard lies on another, and each says in which unit it is."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        assert panel["fieldConfig"]["defaults"]["unit"]
        taken |= cells
