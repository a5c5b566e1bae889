"""Test that the refusal of a token that was replaced is told to nobody, with real workers and the API."""

from __future__ import annotations

import pytest
from pipeline import TOKEN

from scrape_do_celery.rules.waits import WaitKind

URL = "https://shop.example/1"
GOOD = "token-that-was-renewed"
#: Words of each line of doctor about a refused token.
REFUSED = ("refuses", "refused", "refusal")


def lines_about_refusals(pipeline):
    told = pipeline.run_tool("doctor")
    return [line for line in told.stdout.splitlines() if any(word in line for word in REFUSED)]


@pytest.mark.long
@pytest.mark.parametrize("account", ["", "shop"])
def test_the_refusal_of_a_replaced_token_is_told_until_workers_have_the_new_one(pipeline, sandbox, eventually, account):
    sandbox.configure(token=GOOD)
    pipeline.values |= {"account": account} if account else {}
    old = pipeline.work()
    handle = pipeline.enqueue([URL])
    waiting_for = eventually(lambda: handle.status.waiting_for)
    assert waiting_for.kind is WaitKind.TOKEN_REFUSED
    grace = pipeline.settings.auth_grace
    assert (waiting_for.until - waiting_for.since).total_seconds() == pytest.approx(grace, abs=30)
    assert "(SCRAPE_DO_AUTH_GRACE)" in waiting_for.text
    (line,) = lines_about_refusals(pipeline)
    assert line.startswith("wrong    SCRAPE_DO_API_KEY: the API at ")
    assert "runs that still wait fail (SCRAPE_DO_AUTH_GRACE)" in line
    assert f"after {grace:.0f} s (SCRAPE_DO_AUTH_GRACE), the runs fail" in pipeline.log.read_text()

    pipeline.values["api_key"] = GOOD
    reader = pipeline.handle(handle.run_id)
    assert "the API refuses another token than that of this process" in reader.status.waiting_for.text
    (line,) = lines_about_refusals(pipeline)
    assert line.startswith("warning  workers lately tried another token than that of this process")

    old.terminate()
    old.wait(30)
    pipeline.work()
    # The next try comes within a minute of the last one.
    eventually(lambda: getattr(reader.status.waiting_for, "kind", None) is not WaitKind.TOKEN_REFUSED, within=90)
    assert reader.result(timeout=90).succeeded
    assert pipeline.posts() == 1
    eventually(lambda: not lines_about_refusals(pipeline), within=150)
    for text in (pipeline.log.read_text(), waiting_for.text, line):
        assert TOKEN not in text
        assert GOOD not in text
