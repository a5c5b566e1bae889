"""Play the example of docs/how-to/retries.md in a store, and compare its output with that of the page."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from scrape_do_celery.models import JobDetails, TaskDetails
from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.runs import ReadSpec, RecordOutcome

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "retries.md"
#: The numbers of the pages that fail, in each run of the example.
FAILURES = ({"1", "3"}, {"3"})


@pytest.fixture
def end_run(step_harness):
    """Return a function that ends a run, in which the pages with some numbers fail."""

    def end(run_id, failures):
        targets = step_harness.run(ReadSpec(run_id, 1)).request.targets
        job_id = step_harness.make_running(run_id, state=PartState.FETCHING)
        claim, ids = step_harness.claim_part(run_id), [f"t{at}" for at in range(len(targets))]
        job = JobDetails(job_id=job_id, status="success", task_ids=ids)
        step_harness.run(UpdatePart(claim, {}, job=job))
        for at, url in enumerate(targets):
            is_failed = url.rpartition("/")[2] in failures
            answer = (
                {"Status": "error"}
                if is_failed
                else {"Status": "success", "Content": "<html>", "Scrape.do": {"Request-Cost": "1"}}
            )
            task = TaskDetails.model_validate({"TaskID": ids[at], "JobID": job_id, "URL": url, **answer})
            step_harness.run(StoreContent(PartId(run_id, 0), at, task))
        step_harness.run(FinishPart(claim, "succeeded"))
        step_harness.run(RecordOutcome(run_id, "succeeded", {}))

    return end


def test_output_of_the_example_is_that_of_the_page(end_run, step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)
    text = PAGE.read_text()
    start, buy_again, show = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (shown,) = re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names = {}
    for code, name, failures in ((start, "handle", FAILURES[0]), (buy_again, "child", FAILURES[1])):
        exec(code, names)
        end_run(names[name].run_id, failures)
    output = StringIO()
    with redirect_stdout(output):
        exec(show, names)
    assert output.getvalue() == shown
