"""Play the commands that readers type, page by page, with real servers: each ends with the code that its page names."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

import scrape_do_celery
from scrape_do_celery import embedded
from tests.docs.commands import ROOT, documented_commands
from tests.docs.test_commands import TUTORIAL, find_elsewhere

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

TYPED = [one for one in documented_commands() if one.is_typed and one.page != TUTORIAL and not find_elsewhere(one)]
#: Pages with a project of their own. The other pages share a store and the worker of the README. The page about
#: Kubernetes has one command for a pod, which is that of the page about Compose for a container.
PROJECTS = {f"docs/how-to/{name}.md" for name in ("beat", "celery", "django", "flask", "flower")}
DJANGO_TUTORIAL = "docs/tutorial/django.md"
SHARED = [one for one in TYPED if one.page not in {*PROJECTS, DJANGO_TUTORIAL, "docs/how-to/kubernetes.md"}]
#: Commands of texts with options and without values that depend on a reader.
SAID = {
    one.text: one
    for one in documented_commands()
    if not one.is_typed
    and re.search(r" --\w", one.text)
    and one.scrape_do
    and not re.search("RUN_ID|<|request", one.text)
}
#: Exit codes that pages name, where they are not 0.
CODES = {
    ("docs/how-to/workers.md", "scrape-do doctor"): 1,  # the proxy of the page does not exist
    ("docs/how-to/encryption.md", "scrape-do doctor"): 1,  # the page shows a line that begins with "wrong"
    ("docs/metrics.md", "scrape-do doctor --webhook"): 1,  # this store has no receiver
    ("docs/how-to/webhooks.md", "scrape-do doctor --webhook"): 1,  # the host of the page does not exist
    ("docs/architecture.md", "scrape-do orphans --cancel"): 2,  # the command asks, and a test has no terminal
}
#: Outputs that show the data of a shop, or a state that another test makes.
EXAMPLES = {"scrape-do audit --days 2", "scrape-do doctor"}
#: Lines that depend on the account.
VARYING = re.compile("time .*|")

#: Commands that serve until they are ended -> what each prints when it is ready.
SERVERS = {
    r"celery .*\bworker\b|scrape-do worker": r"\[queues\]",
    r"celery .*\bflower\b": "Visit me at",
    r"flask .*\brun": "Running on",
    r"python manage.py runserver": "Starting development server",
    r"scrape-do sandbox": "listening on",
    r"scrape-do metrics --port": "/metrics",
    r"scrape-do webhook --port": "http://",
}
#: Options by which servers listen on free ports, so that pages are played side by side.
PORTS = {
    "scrape-do sandbox": " --port {port}",
    "scrape-do webhook --port": " --port {port}",
    "manage.py runserver": " {port}",
    " flower ": " --port={port}",
}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Reader:
    """A person who types the commands of a page."""

    def __init__(self, folder, environment):
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.folder, self.environment = folder, {**environment, "PATH": programs, "PYTHONUNBUFFERED": "1"}
        self.servers, self.shown, self.port = [], "", str(free_port())
        self.run_id = environment.get("RUN_ID", "")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in reversed(self.servers):
            # A server that could not start is told by its exit code.
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)

    def type(self, text):
        """Carry a command out, and return its exit code. A server is left running."""
        line = self._fill_in(text)
        ready = next((ready for pattern, ready in SERVERS.items() if re.search(pattern, line)), None)
        if ready:
            return self._serve(line, ready)
        done = self._run(f"{line}\ncode=$?; env -0 > .environment; exit $code")
        self.shown = done.stdout + done.stderr
        if found := re.findall(r"(?m)^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$", done.stdout):
            self.run_id = found[-1]
        if text.startswith("export "):
            pairs = (self.folder / ".environment").read_bytes().decode().rstrip("\0").split("\0")
            self.environment = dict(pair.split("=", 1) for pair in pairs)
        return done.returncode

    def _fill_in(self, text):
        """Return the command with the values of this play."""
        for name, option in PORTS.items():
            if name in text:
                line, *_ = text.split("    #")
                text = f"{line}{option.format(port=self.port)}"
        if re.search(r"scrape-do (cancel|retry|forget) (?!.*--(yes|dry-run))", text):
            # The commands ask, and a test has no terminal.
            text = f"{text} --yes"
        text = text.replace("WEBHOOK_KEYS=...", f"WEBHOOK_KEYS={secrets.token_hex(32)}")
        sandbox = self.environment["SCRAPE_DO_API_URL"].rpartition(":")[2]
        text = text.replace("8787", sandbox).replace("9808", self.port).replace("'/data/", f"'{self.folder}/")
        text = re.sub(r"redis://(\.\.\.|localhost:6379/0)", self.environment["SCRAPE_DO_REDIS_URL"], text)
        return re.sub(r"\bRUN_ID\b(?<!\$RUN_ID)|3f1c\.\.\.", self.run_id, text)

    def _serve(self, line, ready):
        log = self.folder / f"server-{len(self.servers)}.log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                ["bash", "-c", line],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.servers.append(server)
        deadline = time.monotonic() + 90
        while not re.search(ready, self.shown):
            self.shown = log.read_text()
            if server.poll() is not None or time.monotonic() > deadline:
                return server.poll() or "never ready"
            time.sleep(0.05)
        return 0

    def _run(self, script):
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def server_url(tmp_path):
    """Return the URL of a server for one test. All pages have one token, and `doctor` refuses stores that share it.

    The apps of pages also share the default queue of Celery.
    """
    with embedded.ensure(tmp_path.with_name(f"{tmp_path.name}-store"), tie_to_parent=True) as found:
        yield found.url


@pytest.fixture
def environment(pipeline):
    """Return the variables of a reader. The token is that of the pages."""
    server = pipeline.values["redis_url"].rpartition("/")[0]
    source = str(Path(scrape_do_celery.__file__).parents[1])
    own = {"PYTHONPATH": source, "REDIS_URL": server, "FLASK_RUN_PORT": str(free_port())}
    return {**pipeline.environment, **own, "SCRAPE_DO_API_KEY": "..."}


def play(reader, commands):
    """Type commands. Return a text for each wrong exit code and for each line that is missing."""
    wrong = []
    for one in commands:
        # A container and a pod carry the same command out.
        text = (
            shlex.join(one.words)
            if one.words[0] == "scrape-do" and one.text.startswith(("docker", "kubectl"))
            else one.text
        )
        code, expected = reader.type(text), CODES.get((one.page, one.text), 0)
        deadline = time.monotonic() + 60
        while code != expected and "doctor" in one.words and time.monotonic() < deadline:
            # On a busy machine, workers answer the first question too late.
            code = reader.type(text)
        if code != expected:
            wrong.append(f"{one.page}: {text}: {code} instead of {expected}\n{reader.shown[-1500:]}")
        shown = {" ".join(line.split()) for line in reader.shown.splitlines()}
        lines = [" ".join(line.split()) for line in one.output.splitlines() if one.text not in EXAMPLES]
        lines = [line for line in lines if not VARYING.fullmatch(line)]
        wrong += [f"{one.page}: {text}: {line!r} was not printed" for line in lines if line not in shown]
    return wrong


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_commands_of_pages_end_as_documented(environment, tmp_path):
    """Play them with the worker of the README, in one test, because a worker starts slowly."""
    urls = [f"https://shop.example/{n}" for n in range(1500)]
    (tmp_path / "urls.txt").write_text("\n".join([*urls, *urls[:300]]))
    with Reader(tmp_path, environment) as first:
        wrong = play(first, [one for one in SHARED if one.page == "README.md"])
        assert first.type("scrape-do run https://example.com/") == 0, first.shown
        (run_id,) = re.findall(r"^run +(\S+)", first.shown, re.MULTILINE)
        for page in dict.fromkeys(one.page for one in SHARED if one.page != "README.md"):
            # The page about costs shows a store without runs.
            own = {"SCRAPE_DO_KEY_PREFIX": f"{environment['SCRAPE_DO_KEY_PREFIX']}-costs"} if "spend" in page else {}
            with Reader(tmp_path, {**environment, "RUN_ID": run_id, **own}) as reader:
                wrong += play(reader, [one for one in SHARED if one.page == page])
        wrong += play(first, SAID.values())
    assert wrong == []


def copy_project(page, folder, server):
    """Write the project that a page assumes."""
    blocks = [block.replace("redis://localhost:6379", server) for block in python_blocks(page)]
    match Path(page).stem:
        case "beat":
            app = f"app = Celery('yourapp', broker='{server}/1')"
            start = f"from celery import Celery\n{app}\nurls = ['https://a.example/']\n"
            (folder / "yourapp.py").write_text(start + blocks[0])
        case "celery":
            (folder / "shop.py").write_text(blocks[0])
        case "flower":
            for name in ("config", "tasks", "worker"):
                (folder / name).symlink_to(ROOT / name)
        case name:
            shutil.copytree(ROOT / "examples" / name, folder, dirs_exist_ok=True)


@pytest.mark.parametrize("page", sorted(PROJECTS))
def test_commands_of_a_project_end_as_documented(page, environment, tmp_path):
    copy_project(page, tmp_path, environment["REDIS_URL"])
    with Reader(tmp_path, environment) as reader:
        if "django" in page:
            assert reader.type("python manage.py migrate -v0") == 0, reader.shown
        assert play(reader, [one for one in TYPED if one.page == page]) == []


def test_the_django_tutorial_makes_a_site_that_scrapes(environment, tmp_path, eventually):
    commands = [one for one in TYPED if one.page == DJANGO_TUTORIAL]
    start, rest = commands[:2], commands[2:]
    with Reader(tmp_path, environment) as reader:
        assert play(reader, start) == []
        write_tutorial(tmp_path)
        assert play(reader, rest) == []
        site = f"http://127.0.0.1:{reader.port}"
        with httpx.Client(base_url=site, follow_redirects=True) as client:
            (token,) = re.findall(r"csrfmiddlewaretoken value=(\w+)", client.get("/").text)
            page = client.post("/", data={"urls": "https://a.example/", "csrfmiddlewaretoken": token}).url
            (title,) = eventually(lambda: client.get(page).json()["titles"])
    assert title["url"] == "https://a.example/"


def write_tutorial(folder):
    """Save the files of the tutorial as its reader does. Its settings add to those of `startproject`."""
    for block in python_blocks(DJANGO_TUTORIAL):
        file = folder / block.partition("\n")[0].removeprefix("# ")
        before = file.read_text() if file.name == "settings.py" else ""
        file.write_text(before + block.replace("INSTALLED_APPS = [", "INSTALLED_APPS += ["))
