"""Test a real Flask application: Celery set up as in Flask's documentation, and this package as a wheel."""

from __future__ import annotations

import time

import httpx
import pytest
from example_project import ExampleProject

PAGE = "https://a.example/"


@pytest.fixture
def shop(users_python, pipeline):
    with ExampleProject("flask", users_python, pipeline, FLASK_APP="shop") as one:
        yield one


def serve(shop):
    return shop.serve("-m", "flask", "run", "-p", address="{port}")


def test_a_form_starts_a_scrape_and_shows_its_progress(shop, eventually):
    shop.work("make_celery")
    with httpx.Client(base_url=serve(shop), follow_redirects=True) as client:
        assert client.post("/", data={"urls": "nonsense"}).status_code == 400
        page = client.post("/", data={"urls": f"{PAGE} https://b.example/"})
        assert page.status_code == 200
        status = f"{page.url.path}status"
        eventually(lambda: client.get(status).json()["has_ended"])
        found = client.get(status).json()
        assert client.get("/runs/none/status").status_code == 404
    assert (found["state"], found["done"]) == ("succeeded", 2)
    assert [one["url"] for one in found["pages"]] == [PAGE, "https://b.example/"]
    assert shop.pipeline.posts() == 1


def test_pages_are_read_once_the_run_has_ended(shop):
    shop.pipeline.sandbox.fault("slow", kind="get_task", seconds=2, times=1, target="b.example")
    shop.work("make_celery")
    with httpx.Client(base_url=serve(shop), follow_redirects=True) as client:
        status = f"{client.post('/', data={'urls': f'{PAGE} https://b.example/'}).url.path}status"
        found = client.get(status).json()
        while not found["has_ended"]:
            assert found["pages"] == [], "the first is there, and stays where it is"
            time.sleep(0.05)
            found = client.get(status).json()
    assert len(found["pages"]) == 2


def test_only_its_own_page_starts_a_scrape(shop):
    site = serve(shop)
    for headers, code in (
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": site}, 403),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": site}, 302),
        ({"Origin": site}, 302),
        ({}, 302),
    ):
        assert httpx.post(site, data={"urls": PAGE}, headers=headers).status_code == code, headers
        assert httpx.get(site, headers=headers).status_code == 200, "a link leads here from anywhere"


@pytest.mark.browser
def test_in_a_browser(shop, browser):
    """Check the pages of a user: the form, progress without a reload, the end."""
    shop.pipeline.sandbox.configure(task_seconds=3.0)
    shop.work("make_celery")
    browser.open(serve(shop))
    browser.fill("textarea", f"{PAGE} https://b.example/")
    browser.click("button")
    browser.wait_for("running")
    browser.run("window.here = true")
    browser.wait_for("succeeded")
    browser.wait_for("2 done, 0 failed, of 2")
    assert browser.run("return window.here"), "it was not loaded again"


def test_commands(shop, eventually):
    shop.work("make_celery")
    run_id = shop.run("-m", "flask", "scrape-do", "enqueue", PAGE).strip().splitlines()[-1]
    eventually(lambda: "succeeded" in shop.run("-m", "flask", "scrape-do", "status", run_id))


def test_a_wrong_key_is_named(shop):
    code = shop.folder / "shop" / "__init__.py"
    code.write_text(code.read_text().replace('{"REDIS_URL"', '{"REDIS_ULR": 1, "REDIS_URL"'))
    said = shop.run("-m", "flask", "routes", code=1)
    assert "SCRAPE_DO['REDIS_ULR']: unknown key; did you mean REDIS_URL?" in said
