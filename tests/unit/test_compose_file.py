"""docker-compose.yml and worker/Dockerfile as texts: what can be wrong with them before anything runs."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import images
import pytest
from composefile import FILE, ROOT, faults, fill, load, seconds
from ruamel.yaml import YAML

from scrape_do_celery import Settings

BIN = Path(sys.executable).parent
#: Where a secret is, by its variable.
SECRETS = {"SCRAPE_DO_API_KEY", "SCRAPE_DO_CREDENTIALS", "FLOWER_BASIC_AUTH", "DJANGO_SECRET_KEY"}


def known():
    text = (ROOT / "config" / "env.example").read_text()
    return set(re.findall(r"^#?(\w+)=", text, re.MULTILINE))


def schema_fault(path):
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", path]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def change(where, value):
    """The file with one thing changed."""
    document = copy.deepcopy(load())
    *path, last = where.split(".")
    place = document
    for step in path:
        place = place[step]
    place[last] = value
    return document


def test_it_follows_the_schema(tmp_path):
    done = schema_fault(FILE)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "docker-compose.yml"
    with wrong.open("w") as file:
        YAML().dump(change("services.worker.retsart", "always"), file)
    assert "retsart" in schema_fault(wrong).stdout


def test_nothing_is_wrong_that_the_schema_does_not_see():
    assert faults(load(), images.read(), known()) == []


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
        ("services.worker.command", ["celery", 1], "list of words"),
        ("services.beat.image", "${WHICH:-x}", "variable WHICH is not in config/env.example"),
    ],
)
def test_what_is_wrong_is_seen(where, value, fault):
    found = faults(change(where, value), images.read(), known())
    assert [text for text in found if fault in text], found


def test_each_service_is_watched_over_and_has_no_more_than_it_needs():
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


def test_secrets_reach_the_services_that_use_them_and_no_others():
    given = dict.fromkeys(SECRETS, "secret")
    reached = {
        name: {key for key in SECRETS if service["environment"].get(key, "") in (None, "secret")}
        for name, service in fill(load(), given)["services"].items()
        if "environment" in service
    }
    token = {"SCRAPE_DO_API_KEY", "SCRAPE_DO_CREDENTIALS"}
    assert reached == {
        "worker": token,
        "beat": set(),
        "flower": {"FLOWER_BASIC_AUTH"},
        "sandbox": set(),
        "demo": set(),
        "django": {"DJANGO_SECRET_KEY"},
        "django-worker": token | {"DJANGO_SECRET_KEY"},
    }
    for service in load()["services"].values():
        assert "args" not in service.get("build", {})


def test_the_dockerfile_is_linted(tmp_path):
    def lint(path):
        return subprocess.run([BIN / "hadolint", path], capture_output=True, text=True, check=False)

    done = lint(images.FILE)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(images.FILE.read_text().replace(" --constraint constraints.txt uv", " uv"))
    assert "DL3013" in lint(wrong).stdout


@pytest.mark.parametrize("target", ["app", "demo", "django"])
def test_images_are_slim_run_as_nobody_in_particular_and_hold_no_secret(target):
    stages = images.read()
    stack = images.chain(stages, target)
    base = stack[0]
    assert re.fullmatch(r"python:\$\{PYTHON_VERSION\}-slim-\w+", base.base)
    users = [text for stage in stack for kind, text in stage.steps if kind == "USER"]
    assert users
    assert all(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) for user in users)
    # Nothing is installed where it stays: it comes out of a stage that builds.
    assert [kind for stage in stack[1:] for kind, _ in stage.steps if kind == "RUN"] == []
    texts = [text for stage in stages.values() for kind, text in stage.steps if kind in ("ENV", "ARG", "LABEL")]
    assert not re.search(r"KEY|TOKEN|PASSWORD|SECRET|AUTH", " ".join(texts), re.IGNORECASE)


def test_only_wheels_are_installed_and_all_of_them_pinned():
    for stage in images.read().values():
        for kind, text in stage.steps:
            for command in re.findall(r"(?:uv )?pip install [^&]*", text) if kind == "RUN" else ():
                assert "constraint" in command, command
                assert "--only-binary :all:" in command or command.endswith("--no-deps --build-constraints constraints.txt ."), command


@pytest.mark.parametrize("platform", ["x86_64-manylinux_2_28", "aarch64-manylinux_2_28"])
def test_there_are_wheels_for_the_interpreter_of_the_image(platform, tmp_path):
    [version] = re.findall(r"(?m)^ARG PYTHON_VERSION=(.+)$", images.FILE.read_text())
    command = [BIN / "uv", "pip", "install", "--dry-run", "--quiet", "--target", tmp_path, "--only-binary", ":all:"]
    command += ["--python-version", version, "--python-platform", platform, "--constraint", "constraints.txt"]
    command += ["--requirements", "pyproject.toml", "--extra", "cli", "--extra", "flower", "django", "gunicorn"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_secret_and_nothing_made_here_reaches_a_build(tmp_path):
    tree = tmp_path / "tree"
    for name in ("config", "worker", "tasks", "examples"):
        shutil.copytree(ROOT / name, tree / name)
    planted = [".env", ".env.prod", "config/.env", "secrets/scrape_do_api_key", "config/secrets/token", ".git/config"]
    planted += ["examples/django/.env.local", "examples/django/db.sqlite3", "tests/x.py", "worker/__pycache__/x.pyc"]
    for name in planted:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("x")
    sent = images.sent(tree)
    assert sent & set(planted) == set()
    assert {"config/settings.py", "worker/entrypoint.py", "examples/django/manage.py"} <= sent
    assert {name.split("/")[1] for name in sent if name.startswith("examples/")} == {"__init__.py", "demo", "django"}


def run(script, *arguments, **environment):
    return subprocess.run(
        [sys.executable, ROOT / script, *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


SHOW = [sys.executable, "-c", "import os; print(os.environ['SCRAPE_DO_API_KEY'], os.getpid())"]


def test_a_secret_file_counts_before_a_variable_and_the_command_takes_the_place(tmp_path):
    (tmp_path / "scrape_do_api_key").write_text("from-a-file\n")
    entry = subprocess.Popen(
        [sys.executable, ROOT / "worker" / "entrypoint.py", *SHOW],
        env={"SECRETS_DIR": str(tmp_path), "SCRAPE_DO_API_KEY": "sandbox"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert entry.communicate(timeout=30)[0].split() == ["from-a-file", str(entry.pid)]
    without = run("worker/entrypoint.py", *SHOW, SECRETS_DIR=str(tmp_path / "none"), SCRAPE_DO_API_KEY="given")
    assert without.stdout.split()[0] == "given"


def test_a_secret_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "scrape_do_api_key").write_bytes(b"\xff\xfe")
    done = run("worker/entrypoint.py", *SHOW, SECRETS_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "scrape_do_api_key" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("given", ["user", "user:", ":password", "a:b,c"])
def test_flower_does_not_start_with_half_a_password(given):
    done = run("config/flowerconfig.py", FLOWER_BASIC_AUTH=given)
    assert done.returncode == 1
    assert "should be user:password" in done.stderr


def test_flower_takes_the_users_that_it_is_given_and_prints_none():
    code = "import runpy; print(runpy.run_path('config/flowerconfig.py')['basic_auth'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"FLOWER_BASIC_AUTH": "a:b,c:d"}, capture_output=True, text=True
    )
    assert done.stdout == "['a:b', 'c:d']\n"
