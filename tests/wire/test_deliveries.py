"""Test mutated deliveries: against the core of receivers, and in whole runs. `make wire WEBHOOKS=1` plays all."""

from __future__ import annotations

import copy
from urllib.parse import urlsplit

import pytest

from scrape_do_celery.rules.webhook_tokens import HEADER, PurchaseId, make_secret, make_url
from scrape_do_celery.webhooks.core import Answer, HintReason, Receiver
from tests.wire.deliveries import (
    KIND,
    all_delivery_mutations,
    delivery_mutations,
    list_chunks,
    list_headers,
    make_delivery,
)
from tests.wire.harness import generate_cases, run_case
from tests.wire.report import violations
from tests.wire.scenarios import SCENARIOS
from tests.wire.server import Account, page_of

KEY = b"0123456789abcdef" * 2
PURCHASE = PurchaseId("0f0e0d0c-1111-4222-8333-444455556666", 0, 1)
PATH = urlsplit(make_url("https://shop.example/hooks", KEY, PURCHASE)).path
TARGET = "https://shop.example/p/1"
MUTATIONS = {one.name: one for one in delivery_mutations("core")}
#: Fields whose change is a lie that nobody can see in the body alone.
_LIES = ("Content", "Base64EncodedContent")


@pytest.fixture(scope="module")
def delivery():
    """Return a delivery of a task that has ended."""
    account = Account(lambda: 1_000.0)
    job = account.create_job([TARGET], 0.0)
    task = account.show_task(job, job.task_ids[0])
    return make_delivery(job.job_id, job.task_ids[0], task, {HEADER: make_secret(KEY, PURCHASE)})


def receive(sent, *, trusts=True):
    judged = Receiver((KEY,), trusts_content=trusts, max_bytes=1_000_000).judge_call("POST", PATH, list_headers(sent))
    assert not isinstance(judged, Answer)
    for chunk in list_chunks(sent):
        if judged.wants_more:
            judged.take_chunk(chunk)
    return judged.finish()


def mutated(delivery, name):
    sent = copy.deepcopy(delivery)
    MUTATIONS[name].apply(sent)
    return sent


def test_delivery_without_a_mutation_has_the_page(delivery):
    found = receive(delivery)
    assert (found.page.content, found.page.task_id) == (page_of(TARGET), delivery.request.task_id)
    assert receive(delivery, trusts=False).reason is HintReason.NOT_TRUSTED


def test_mutations_of_deliveries_are_many_and_distinct():
    names = [one.name for one in delivery_mutations("core")]
    assert len(names) == len(set(names)) == len(MUTATIONS) >= 1_000
    assert {one.kind for one in MUTATIONS.values()} == {KIND}


def test_no_mutation_makes_a_wrong_page(delivery):
    pages = 0
    for name, mutation in MUTATIONS.items():
        sent = mutated(delivery, name)
        found = receive(sent)
        assert found.purchase == PURCHASE, name
        assert receive(sent, trusts=False).page is None, name
        if found.page is not None and mutation.field not in _LIES:
            assert found.page.content == page_of(TARGET), name
            pages += 1
    assert pages > len(MUTATIONS) / 2


@pytest.mark.parametrize(
    "name",
    [
        *(
            f"core/{KIND}/sending/{what}/ever"
            for what in ("no secret", "wrong secret", "secret twice", "secret not ASCII")
        ),
        *(f"core/{KIND}/Status/word: {word}/ever" for word in ("error", "canceled", "pending")),
        *(f"core/{KIND}/{name}/missing/ever" for name in ("TaskID", "JobID", "Status", "Content")),
        *(
            f"core/{KIND}/HTTP frame/{what}/ever"
            for what in ("gzip bomb", "gzip cut", "cut at half", "last byte missing")
        ),
        f"core/{KIND}/Content/over the limit/ever",
        f"core/{KIND}/sending/body of many values/ever",
    ],
)
def test_delivery_that_proves_too_little_is_a_hint(delivery, name):
    assert receive(mutated(delivery, name)).page is None


@pytest.mark.parametrize(
    "what", ["gzip", "x-gzip", "deflate", "chunked", "byte order mark", "JSON escaped", "60 headers"]
)
def test_frame_of_a_delivery_does_not_matter(delivery, what):
    assert receive(mutated(delivery, f"core/{KIND}/HTTP frame/{what}/ever")).page.content == page_of(TARGET)


# Whole runs


def play(environment, share):
    cases = generate_cases(seed=1, count=200, share=share, webhooks=True)
    results = [run_case(environment, case) for case in cases]
    broken = [result for result in results if result.violations]
    assert not broken, violations(broken)
    return results


def test_mutations_of_deliveries_fit_their_scenarios():
    found = all_delivery_mutations()
    assert len({one.name for one in found}) == len(found) >= 3_500
    assert {one.scenario for one in found} <= {name for name, one in SCENARIOS.items() if one.webhooks}


def test_a_share_of_all_deliveries_breaks_no_rule(environment):
    results = play(environment, (3, 500))
    assert all(result.touched for result in results)


@pytest.mark.long
def test_a_larger_share_of_all_deliveries_breaks_no_rule(environment):
    play(environment, (1, 60))
