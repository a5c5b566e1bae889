"""A real Flask application, with Celery as Flask's documentation has it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "flask"
PAGE = "https://a.example/"


@pytest.fixture
def shop(pipeline, tmp_path):
    """The example, copied: its folder, and its environment."""
    folder = tmp_path / "shop"
    shutil.copytree(EXAMPLE, folder)
    pipeline.folder = folder
    server = pipeline.values["redis_url"].rpartition("/")[0]
    return folder, {**pipeline.environment, "PYTHONPATH": str(folder), "REDIS_URL": server, "FLASK_APP": "shop"}


def flask(shop, *arguments, code=0):
    folder, environment = shop
    done = subprocess.run(
        [sys.executable, "-m", "flask", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def site(shop):
    folder, environment = shop
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "web.log").open("wb") as log:
        web = subprocess.Popen(
            [sys.executable, "-m", "flask", "run", "-p", str(port)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    yield f"http://127.0.0.1:{port}"
    os.killpg(web.pid, signal.SIGTERM)
    web.wait(20)


def test_a_form_starts_a_scrape_and_shows_its_progress(pipeline, shop, site, eventually):
    pipeline.work(app="make_celery", **shop[1])
    with httpx.Client(base_url=site, follow_redirects=True) as client:
        eventually(lambda: _reached(client))
        assert client.post("/", data={"urls": "nonsense"}).status_code == 400
        page = client.post("/", data={"urls": f"{PAGE} https://b.example/"})
        assert page.status_code == 200
        status = f"{page.url.path}status"
        eventually(lambda: client.get(status).json()["has_ended"])
        found = client.get(status).json()
        assert client.get("/runs/none/status").status_code == 404
    assert (found["state"], found["done"]) == ("succeeded", 2)
    assert [one["url"] for one in found["pages"]] == [PAGE, "https://b.example/"]
    assert pipeline.posts() == 1


def _reached(client):
    try:
        return client.get("/")
    except httpx.ConnectError:
        return None


def test_commands(pipeline, shop, eventually):
    pipeline.work(app="make_celery", **shop[1])
    run_id = flask(shop, "scrape-do", "enqueue", PAGE).strip().splitlines()[-1]
    eventually(lambda: "succeeded" in flask(shop, "scrape-do", "status", run_id))


def test_a_wrong_key_is_named(shop):
    folder, _ = shop
    code = folder / "shop" / "__init__.py"
    code.write_text(code.read_text().replace('{"REDIS_URL"', '{"REDIS_ULR": 1, "REDIS_URL"'))
    said = flask(shop, "routes", code=1)
    assert "SCRAPE_DO['REDIS_ULR']: unknown argument; did you mean redis_url?" in said
