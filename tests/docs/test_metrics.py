"""Check that the page on metrics, the dashboard and the alerts name the served metrics.

`python tests/docs/test_metrics.py` writes the page's table.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import promql_parser
import pytest
import yaml

from scrape_do_celery.metrics.definitions import BY_NAME, METRICS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
DASHBOARD = ROOT / "config" / "grafana" / "scrape-do.json"
ALERTS, PROMETHEUS = ROOT / "config" / "prometheus-alerts.yml", ROOT / "config" / "prometheus.yml"
#: The labels of all metrics. Each has a bounded number of values.
LABELS = {"state", "outcome", "call", "step", "account", "result", "of", "within", "scope", "period", "tag", "host"} | {
    "decision",
    "label",
}
#: Labels that Prometheus adds.
ITS_OWN = {"job", "instance", "le"}

_TABLE = re.compile(r"(<!-- metrics: .*? -->\n).*?(<!-- end of metrics -->)", re.DOTALL)


def page():
    rows = [
        f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.source} "
        f"| {metric.text} |"
        for metric in METRICS
    ]
    table = "\n".join(["| metric | kind | labels | from | what it tells |", "|---|---|---|---|---|", *rows, ""])
    return _TABLE.sub(lambda found: found[1] + table + found[2], PAGE.read_text())


def panels():
    return json.loads(DASHBOARD.read_text())["panels"]


def alerts():
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def expressions():
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [*found, *(rule["expr"] for rule in alerts())]


def selectors(expression):
    """Return (metric, labels that select it) of each selector in a valid expression."""
    shown = promql_parser.parse(expression.replace("$job", ".*")).prettify()
    found = re.findall(r"(scrape_do_\w+)(?:\{(.*?)\})?", shown)
    return [(name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))) for name, labels in found]


def metric_of(name):
    return BY_NAME.get(name) or BY_NAME[re.sub("_(bucket|sum|count)$", "", name)]


def test_the_table_is_that_of_the_code():
    assert page() == PAGE.read_text(), "run: python tests/docs/test_metrics.py"


@pytest.mark.parametrize("expression", expressions())
def test_every_expression_parses_and_names_what_is_served(expression):
    found = selectors(expression)
    assert found
    for name, labels in found:
        assert labels <= {*metric_of(name).labels, *ITS_OWN}, name


@pytest.mark.parametrize("expression", [e for e in expressions() if " by (" in e])
def test_sums_are_by_labels_that_are_there(expression):
    labels = {label for name, _ in selectors(expression) for label in metric_of(name).labels}
    for by in re.findall(r"by \((.*?)\)", expression):
        assert {label.strip() for label in by.split(",")} <= labels | ITS_OWN


def test_legends_and_texts_name_labels_that_are_there():
    for panel in panels():
        for target in panel["targets"]:
            labels = {label for name, _ in selectors(target["expr"]) for label in metric_of(name).labels}
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels
    for rule in alerts():
        labels = {label for name, _ in selectors(rule["expr"]) for label in metric_of(name).labels}
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= labels


def test_an_expression_that_does_not_parse_is_seen():
    with pytest.raises(ValueError, match=r".+"):
        selectors("sum(rate(scrape_do_runs[5m])")


def test_each_metric_is_on_the_dashboard():
    shown = {
        metric_of(name).name
        for panel in panels()
        for target in panel["targets"]
        for name, _ in selectors(target["expr"])
    }
    assert shown == set(BY_NAME)


def test_panels_lie_side_by_side():
    taken = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_the_alerts_are_explained_and_loaded():
    assert {rule["alert"] for rule in alerts()} == set(
        re.findall(r"^\| `(ScrapeDo\w+)` \|", PAGE.read_text(), re.MULTILINE)
    )
    config = yaml.safe_load(PROMETHEUS.read_text())
    assert config["rule_files"] == [ALERTS.name]
    assert config["scrape_configs"][0]["static_configs"] == [{"targets": ["localhost:9808"]}]


def test_names_are_as_prometheus_wants_them():
    for metric in METRICS:
        assert re.fullmatch(r"scrape_do_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") is (metric.kind == "counter")
        assert set(metric.labels) <= LABELS


if __name__ == "__main__":
    PAGE.write_text(page())
