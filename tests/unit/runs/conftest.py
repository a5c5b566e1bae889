"""Provide ends of runs."""

from __future__ import annotations

import pytest

from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ReadSpec, RecordOutcome


@pytest.fixture
def end_run(step_harness, make):
    """Return a function that ends a run of one part. `pages` tells for each task whether it has a page.

    With `retention`, the outcome is delivered.
    """

    def end(run_id, *pages, outcome, retention):
        urls = step_harness.run(ReadSpec(run_id, 1)).request.targets
        step_harness.make_running(run_id, state=PartState.FETCHING)
        claim, job_id = step_harness.claim_part(run_id), f"job-{run_id}-0"
        job = make.job("success", count=len(pages), summary=False, job_id=job_id)
        step_harness.run(UpdatePart(claim, {}, job=job))
        for position, (url, has_page) in enumerate(zip(urls, pages, strict=True)):
            status = "success" if has_page else "error"
            page = make.task(position, job=job_id, url=url, status=status, content="<html>" if has_page else None)
            step_harness.run(StoreContent(PartId(run_id, 0), position, page))
        step_harness.run(FinishPart(claim, outcome))
        step_harness.run(RecordOutcome(run_id, outcome, {}))
        if retention is not None:
            step_harness.run(AcknowledgeDelivery(run_id, run_id, retention))

    return end
