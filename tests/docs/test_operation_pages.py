"""Check the pages about Kubernetes, Sentry and structlog: their files parse, their names exist, their code runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from celery.bin.celery import celery as celery_command

from scrape_do_celery import Settings
from scrape_do_celery.cli import main as scrape_do
from tests.docs.test_metrics import metric_of, selectors

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"
OBJECTS = list(yaml.safe_load_all((ROOT / "config" / "kubernetes" / "scrape-do.yaml").read_text()))
SCALING = yaml.safe_load((ROOT / "config" / "kubernetes" / "keda.yaml").read_text())
DEPLOYMENTS = {one["metadata"]["name"]: one for one in OBJECTS if one["kind"] == "Deployment"}


def of_kind(kind):
    return [one for one in OBJECTS if one["kind"] == kind]


def code_of(page, name):
    """Return a block of code that a page names in a comment before it."""
    (code,) = re.findall(rf"<!-- code: {name} -->\n```python\n(.*?)```", (HOW_TO / page).read_text(), re.DOTALL)
    return code


def pod_of(name):
    return DEPLOYMENTS[name]["spec"]["template"]["spec"]


def container_of(name):
    (container,) = pod_of(name)["containers"]
    return container


def probes_of(name):
    return {key: value for key, value in container_of(name).items() if key.endswith("Probe")}


def run_code(code, tmp_path, *arguments, **environment):
    """Run code in a process of its own: it changes loggers, signals and the SDK for the whole process."""
    file = tmp_path / "page.py"
    file.write_text(code)
    paths = [str(ROOT / "tests" / "support"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, file, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_selectors_find_the_pods(name):
    spec = DEPLOYMENTS[name]["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_services_and_budgets_find_pods():
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in DEPLOYMENTS.values()]
    wanted = [one["spec"]["selector"] for one in of_kind("Service")]
    wanted += [one["spec"]["selector"]["matchLabels"] for one in of_kind("PodDisruptionBudget")]
    assert len(wanted) == 2
    for selector in wanted:
        assert [one for one in labels if selector.items() <= one.items()]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_containers_run_commands_of_the_package(name):
    program, *arguments = container_of(name)["args"]
    command = {"celery": celery_command, "scrape-do": scrape_do}[program]
    words = [one for one in arguments if one in command.commands]
    assert words, arguments
    command.commands[words[0]].make_parser(click.Context(command.commands[words[0]]))


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_variables_and_mounts_are_declared(name):
    known = {"ConfigMap": set(), "Secret": set()}
    for kind in known:
        known[kind] = {one["metadata"]["name"] for one in of_kind(kind)}
    for source in container_of(name)["envFrom"]:
        ((kind, reference),) = source.items()
        assert reference["name"] in known[{"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind]]
    volumes = {one["name"] for one in pod_of(name)["volumes"]}
    assert {one["name"] for one in container_of(name)["volumeMounts"]} == volumes


def test_settings_exist_and_the_token_is_a_secret():
    names = {f"SCRAPE_DO_{name.upper()}" for name in Settings.model_fields}
    (plain,), (secret,) = of_kind("ConfigMap"), of_kind("Secret")
    assert plain["data"].keys() <= names
    assert secret["stringData"].keys() == {"SCRAPE_DO_API_KEY"}


def test_a_worker_has_time_for_a_purchase():
    (plain,) = of_kind("ConfigMap")
    grace = pod_of("scrape-do-worker")["terminationGracePeriodSeconds"]
    assert grace >= float(plain["data"]["SCRAPE_DO_SUBMIT_DEADLINE"]) + 30


@pytest.mark.parametrize("name", ["scrape-do-worker", "scrape-do-beat"])
def test_probes_ping_the_node_that_the_container_starts(name):
    arguments = container_of(name)["args"]
    node, app = arguments[arguments.index("-n") + 1], arguments[arguments.index("-A") + 1]
    for probe in probes_of(name).values():
        shell, _, line = probe["exec"]["command"]
        assert shell == "sh"
        assert f'celery -A {app} inspect ping -t 5 -d "{node.replace("%h", "$HOSTNAME")}"' == line
        assert probe["timeoutSeconds"] > 5
    liveness = probes_of(name)["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 300


def test_the_page_of_metrics_is_where_probes_and_prometheus_look():
    container = container_of("scrape-do-metrics")
    arguments = container["args"]
    port = int(arguments[arguments.index("--port") + 1])
    assert container["ports"] == [{"name": "metrics", "containerPort": port}]
    (service,) = of_kind("Service")
    assert service["spec"]["ports"][0]["port"] == port
    notes = DEPLOYMENTS["scrape-do-metrics"]["spec"]["template"]["metadata"]["annotations"]
    assert notes["prometheus.io/port"] == str(port)
    assert {probe["httpGet"]["path"] for probe in probes_of("scrape-do-metrics").values()} == {"/metrics"}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_pods_are_unprivileged(name):
    pod, container = pod_of(name), container_of(name)
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_keda_scales_the_workers_by_metrics_that_are_served():
    spec = SCALING["spec"]
    assert spec["scaleTargetRef"]["name"] in DEPLOYMENTS
    assert spec["minReplicaCount"] >= 1, "without a worker there is no dispatcher"
    page = (HOW_TO / "kubernetes.md").read_text()
    for trigger in spec["triggers"]:
        ((metric, _),) = selectors(trigger["metadata"]["query"])
        assert metric_of(metric).kind == "gauge"
        assert re.search(rf"^\| `{metric}`, {trigger['metadata']['threshold']}\b", page, re.MULTILINE)


SENTRY = """
import sys
import sentry_sdk
from sentry_events import FileTransport

start = sentry_sdk.init
sentry_sdk.init = lambda **options: start(transport=FileTransport, server_name=sys.argv[1], **options)
{set_up}
{report}
start_sentry()

from scrape_do_celery.errors import JobLostError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.rules.outcomes import RunState
from types import SimpleNamespace

try:
    raise RuntimeError("a bug in a step")
except RuntimeError:
    get_logger("scrape_do_celery.steps.runner").error(
        "a step failed on %s", "r:0", exc_info=True, extra=log_fields("step_failed", run_id="r"))
for error in (None, JobLostError("the job is gone", "s")):
    run_changed.send(sender=None, status=SimpleNamespace(run_id="s", state=RunState.LOST, error=error))
"""


def test_the_code_for_sentry_tags_events_and_reports_failed_runs(tmp_path):
    code = SENTRY.format(
        set_up=code_of("error-trackers.md", "set up Sentry"), report=code_of("error-trackers.md", "report failed runs")
    )
    file = tmp_path / "events"
    run_code(code, tmp_path, file, SENTRY_DSN="http://key@127.0.0.1:9/1")
    events = [event for line in file.read_text().splitlines() if "exception" in (event := json.loads(line))]
    step, run = events
    assert step["exception"]["values"][0]["value"] == "a bug in a step"
    assert (step["tags"]["event"], step["tags"]["run_id"]) == ("step_failed", "r")
    assert step["fingerprint"] == ["scrape-do", "step_failed"]
    assert run["exception"]["values"][0]["type"] == "JobLostError"
    assert run["tags"] == {"run_id": "s", "outcome": "lost"}
    assert run["fingerprint"] == ["scrape-do run", "JobLostError"]


STRUCTLOG = """
import io, json, logging, sys
{configure}
configure_worker_logs(loglevel=logging.INFO)
from scrape_do_celery.steps.waiting_parts import warn_newer_record
warn_newer_record(2)
try:
    password = "5ecret"
    raise RuntimeError("a bug\\nforged line")
except RuntimeError:
    logging.getLogger("celery.worker").exception("a task of %s failed", "shop")
{bind}
enqueue = lambda urls: type("Handle", (), {{"run_id": "r"}})
start(["https://a.example/"])
"""


def test_the_code_for_structlog_writes_json_lines(tmp_path):
    code = STRUCTLOG.format(
        configure=code_of("logs.md", "configure structlog"), bind=code_of("logs.md", "bind the run")
    )
    done = run_code(code, tmp_path)
    ours, celerys, own = [json.loads(line) for line in done.stderr.splitlines()]
    assert ours["event"] == "record_newer"
    assert ours["message"].startswith("runs wait for a worker of a newer version")
    assert (ours["logger"], ours["level"]) == ("scrape_do_celery.steps.waiting_parts", "warning")
    assert {"run_id", "part", "step", "account", "timestamp"} <= ours.keys()
    assert "event" not in celerys
    assert (celerys["message"], celerys["level"]) == ("a task of shop failed", "error")
    assert "RuntimeError: a bug" in celerys["exception"]
    assert "5ecret" not in done.stderr
    assert (own["message"], own["run_id"], own["targets"]) == ("prices ordered", "r", 1)


def test_the_line_of_the_page_has_the_fields_of_a_record():
    (line,) = re.findall(r"```json\n(.*?)\n```", (HOW_TO / "logs.md").read_text())
    assert {"message", "event", "run_id", "part", "step", "account", "logger", "level", "timestamp"} == json.loads(
        line
    ).keys()
