"""Test an upgrade with real wheels on one store: the previous release, this one, and one with newer records."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile

import pytest
from wheel_env import ROOT, build_wheel, install_beside

from scrape_do_celery import NewerRecordError
from scrape_do_celery.diagnostics import check_record_versions
from scrape_do_celery.store.versions import RECORD_VERSION

#: The former state in place of a release: until there are releases, a commit without a check of `v`.
PREVIOUS = "f5acec4c06dd13b58832a2d32af0c8e3970a5392"
NEWER = RECORD_VERSION + 1
ENQUEUE = """
import json, sys
from scrape_do_celery import enqueue
print(json.dumps([enqueue([url]).run_id for url in sys.argv[1:]]))
"""
READ = """
import json, sys
from scrape_do_celery import RunHandle
print(json.dumps([[t.status_code for t in RunHandle(run_id).result(timeout=150).tasks] for run_id in sys.argv[1:]]))
"""

pytestmark = pytest.mark.long


class Release:
    """An environment with one wheel of this package, and nothing of the checkout."""

    def __init__(self, folder, wheel):
        self.python = install_beside(folder, wheel)

    def run(self, pipeline, code, *arguments):
        """Run code with this wheel, and return the JSON that it prints."""
        environment = {k: v for k, v in pipeline.environment.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [self.python, "-c", code, *arguments],
            env=environment,
            cwd=pipeline.folder,
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def work(self, pipeline):
        """Start a worker of this wheel. Return it when it is ready."""
        worker = pipeline.work(python=str(self.python), PYTHONPATH="")
        assert worker.poll() is None, pipeline.log.read_text()
        return worker


def stop(worker):
    worker.terminate()
    worker.wait(90)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("releases")


@pytest.fixture(scope="module")
def this(folder):
    return Release(folder / "this", build_wheel(folder / "this wheel"))


@pytest.fixture(scope="module")
def previous(folder):
    """Return the previous release, whose tree is in the history of this repository."""
    archive = folder / "previous.tar"
    try:
        made = subprocess.run(["git", "archive", "-o", archive, PREVIOUS], cwd=ROOT, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("git is not installed, so the previous release cannot be built")
    if made.returncode:
        pytest.skip(f"this tree has no history with commit {PREVIOUS[:8]}, so the previous release cannot be built")
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "previous tree", filter="data")
    return Release(folder / "previous", build_wheel(folder / "previous wheel", folder / "previous tree"))


@pytest.fixture(scope="module")
def newer(folder):
    """Return a later release, which writes records of the next version."""
    tree = folder / "newer tree"
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs" / "scripts", tree / "docs" / "scripts")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    versions = tree / "src" / "scrape_do_celery" / "store" / "versions.py"
    line = f"RECORD_VERSION: int = {RECORD_VERSION}"
    assert line in versions.read_text()
    versions.write_text(versions.read_text().replace(line, f"RECORD_VERSION: int = {NEWER}"))
    return Release(folder / "newer", build_wheel(folder / "newer wheel", tree))


def state_of(handle):
    return handle.state.value


def test_runs_of_the_previous_release_are_carried_on(previous, this, pipeline, eventually):
    old_worker = previous.work(pipeline)
    (running,) = previous.run(pipeline, ENQUEUE, "https://a.example/?seconds=4")
    eventually(lambda: state_of(pipeline.handle(running)) == "running", within=120)
    stop(old_worker)
    (queued,) = previous.run(pipeline, ENQUEUE, "https://b.example/")
    assert state_of(pipeline.handle(queued)) == "queued"
    this.work(pipeline)
    assert this.run(pipeline, READ, running, queued) == [[200], [200]]
    # Processes that enqueue are upgraded after the workers.
    (late,) = previous.run(pipeline, ENQUEUE, "https://c.example/")
    assert previous.run(pipeline, READ, running, queued, late) == [[200], [200], [200]]
    assert pipeline.posts() == 3


def test_both_releases_serve_one_store_at_once(previous, this, pipeline):
    previous.work(pipeline)
    this.work(pipeline)
    urls = [f"https://{n}.example/" for n in range(6)]
    runs = previous.run(pipeline, ENQUEUE, *urls[:3]) + this.run(pipeline, ENQUEUE, *urls[3:])
    assert previous.run(pipeline, READ, *runs) == this.run(pipeline, READ, *runs) == [[200]] * 6
    assert pipeline.posts() == 6


def test_an_older_worker_leaves_newer_runs_to_newer_workers(this, newer, pipeline, eventually):
    this.work(pipeline)
    (waits,) = newer.run(pipeline, ENQUEUE, "https://newer.example/")
    own = pipeline.enqueue(["https://own.example/"])
    store = pipeline.app_context.store
    keys, client = store.keys, store.client
    part_key = f"{keys.run(waits)}:0".replace(":run:", ":part:")
    eventually(lambda: "runs wait for a worker of a newer version" in pipeline.log.read_text(), within=120)
    assert own.result(timeout=150).tasks[0].status_code == 200
    assert client.hget(keys.run(waits), "v") == str(NEWER).encode()
    assert client.hmget(part_key, "state", "attempts", "lease", "fence") == [b"queued", None, None, b"0"]
    assert pipeline.posts() == 1
    with pytest.raises(NewerRecordError, match=f"version {NEWER}"):
        _ = pipeline.handle(waits).status
    (finding,) = check_record_versions(store)
    assert f"1 run(s) have records of version {NEWER}" in finding.text

    # Both serve the store now. The messages of newer runs may reach either worker.
    newer.work(pipeline)
    more = newer.run(pipeline, ENQUEUE, *(f"https://{n}.example/" for n in range(4)))
    assert newer.run(pipeline, READ, waits, *more, own.run_id) == [[200]] * 6
    assert pipeline.posts() == 6
    assert pipeline.log.read_text().count("runs wait for a worker of a newer version") == 1
    # A result can be read a moment before its delivery is noted.
    eventually(lambda: not list(check_record_versions(store)), within=30)
