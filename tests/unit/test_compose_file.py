"""Check docker-compose.yml as a text for errors that show before anything runs."""

from __future__ import annotations

import copy
import re
import socket
import subprocess
import sys
from pathlib import Path

import dockerfile
import pytest
from composefile import FILE, ROOT, faults, fill, load, seconds
from ruamel.yaml import YAML

from scrape_do_celery import Settings

BIN = Path(sys.executable).parent
#: Variables that hold secrets.
SECRETS = {
    "SCRAPE_DO_API_KEY",
    "SCRAPE_DO_CREDENTIALS",
    "SCRAPE_DO_ENCRYPTION_KEY",
    "FLOWER_BASIC_AUTH",
    "DJANGO_SECRET_KEY",
}


def known():
    text = (ROOT / "config" / "env.example").read_text()
    return set(re.findall(r"^#?(\w+)=", text, re.MULTILINE))


def schema_fault(path):
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", path]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def change(where, value):
    """Return the file with one value changed."""
    document = copy.deepcopy(load())
    *path, last = where.split(".")
    place = document
    for step in path:
        place = place[step]
    place[last] = value
    return document


def test_compose_file_follows_the_schema(tmp_path):
    done = schema_fault(FILE)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "docker-compose.yml"
    with wrong.open("w") as file:
        YAML().dump(change("services.worker.restarts", "always"), file)
    assert "restarts" in schema_fault(wrong).stdout


def test_nothing_is_wrong_that_the_schema_does_not_see():
    assert faults(load(), dockerfile.read(), known()) == []


@pytest.mark.parametrize(
    ("where", "value", "fault"),
    [
        ("services.beat.depends_on.rabbit", {"condition": "service_started"}, "which is no service"),
        ("services.beat.depends_on.demo", {"condition": "service_healthy"}, "which has no health check"),
        ("services.beat.depends_on.sandbox", {"condition": "service_started"}, "its profile may leave out"),
        ("services.beat.volumes", ["elsewhere:/var/lib/scrape-do/beat"], "volume elsewhere"),
        ("volumes.more", None, "volume more is not used"),
        ("services.redis.configs", [{"source": "other", "target": "/x"}], "config other leads nowhere"),
        ("services.flower.ports", ["5555:5555"], "port 5555:5555 is not"),
        ("services.flower.ports", ["127.0.0.1:99999:5555"], "99999"),
        ("services.redis.healthcheck.interval", "2 seconds", "2 seconds is no duration"),
        ("services.worker.stop_grace_period", "soon", "soon is no duration"),
        ("services.worker.build.target", "prod", "nothing builds"),
        ("services.redis.image", "valkey/valkey", "number of a version"),
        ("services.sandbox.healthcheck", {}, "no health check"),
        ("services.beat.image", "scrape-do-worker", "image scrape-do-worker is built by two services"),
        ("services.beat.healthcheck.test", ["CMD-SHELL", "celery inspect ping"], "the entry point gives no secrets"),
        ("services.worker.command", ["celery", 1], "list of words"),
        ("services.beat.image", "${WHICH:-x}", "variable WHICH is not in config/env.example"),
    ],
)
def test_faulty_compose_file_is_detected(where, value, fault):
    found = faults(change(where, value), dockerfile.read(), known())
    assert [text for text in found if fault in text], found


def test_each_service_has_a_check_and_minimal_rights():
    for name, service in fill(load(), {})["services"].items():
        assert service["restart"] == ("no" if name == "demo" else "unless-stopped"), name
        if name != "redis":
            assert (service["init"], service["read_only"], service["cap_drop"]) == (True, True, ["ALL"]), name
    profiles = {name: service.get("profiles", []) for name, service in load()["services"].items()}
    assert [name for name in profiles if not profiles[name]] == ["redis", "worker", "beat", "flower"]
    assert profiles["sandbox"] == ["sandbox"]
    assert profiles["django"] == profiles["django-worker"] == ["django"]


@pytest.mark.parametrize("name", ["worker", "django-worker"])
def test_a_worker_may_end_the_purchase_that_is_under_way(name):
    assert seconds(load()["services"][name]["stop_grace_period"]) > Settings().submit_deadline + 20


def test_redis_keeps_what_is_paid_for():
    conf = (ROOT / load()["configs"]["redis"]["file"]).read_text()
    assert re.search(r"(?m)^appendonly yes$\n^appendfsync always$", conf)
    assert re.search(r"(?m)^maxmemory-policy noeviction$", conf)
    service = load()["services"]["redis"]
    assert service["volumes"] == ["redis-data:/data"]
    assert service["command"][service["command"].index("--dir") + 1] == "/data"
    assert "ports" not in service


@pytest.mark.parametrize(
    ("answer", "healthy"),
    [(b"+PONG", True), (b"-LOADING Valkey is loading the dataset in memory", False), (b"-MISCONF no disk", False)],
)
def test_redis_is_healthy_once_its_data_is_there(answer, healthy):
    """Report health only once the data is loaded: the next command of the restore deletes a key of these data."""
    [kind, *words] = fill(load()["services"]["redis"]["healthcheck"]["test"], {})
    assert kind == "CMD"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        check = subprocess.Popen([word.replace("6379", port) for word in words])
        connection, _ = server.accept()
        with connection:
            assert connection.recv(100) == b"PING\r\n"
            connection.sendall(answer + b"\r\n")
            assert (check.wait(10) == 0) is healthy


def test_backups_are_restored_step_by_step():
    """Pass -e in each command, because `valkey-cli` otherwise exits with 0 after an error."""
    page = (ROOT / "docs" / "how-to" / "compose.md").read_text()
    commands = re.findall(r"(?m)^\$ docker compose (.*(?:redis|valkey-cli).*)$", page)
    assert [command for command in commands if command.startswith("up ")] == ["up -d --wait redis"]
    assert {"-e" in command.split() for command in commands if "valkey-cli" in command} == {True}


def test_secrets_reach_the_services_that_use_them_and_no_others():
    given = dict.fromkeys(SECRETS, "secret")
    reached = {
        name: {key for key in SECRETS if service["environment"].get(key, "") in (None, "secret")}
        for name, service in fill(load(), given)["services"].items()
        if "environment" in service
    }
    token, key = {"SCRAPE_DO_API_KEY", "SCRAPE_DO_CREDENTIALS"}, {"SCRAPE_DO_ENCRYPTION_KEY"}
    assert reached == {
        "worker": token | key,
        "beat": set(),
        "flower": {"FLOWER_BASIC_AUTH"},
        "sandbox": set(),
        "demo": key,
        "django": {"DJANGO_SECRET_KEY"} | key,
        "django-worker": token | key | {"DJANGO_SECRET_KEY"},
    }
    for service in load()["services"].values():
        assert "args" not in service.get("build", {})
