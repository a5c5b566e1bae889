"""Test which task belongs to which target, by the job's summary and the tasks' own answers."""

from __future__ import annotations

import random

import pytest

from scrape_do_celery.models.urls import whatwg_form
from scrape_do_celery.rules.ordering import OwnUrls, decide_order
from tests.support.url_writers import WRITERS

A, B = "https://a.example/?q=men's", "https://b.example/"
A2 = "https://a.example/?q=men%27s"


@pytest.mark.parametrize(
    ("targets", "named", "own", "order"),
    [
        # The summary and the tasks agree.
        ([A, B], [B, A], {0: B, 1: A}, ([1, 0], True)),
        ([A, B], [B, A2], {0: B, 1: A}, ([1, 0], True)),
        # Targets of one WHATWG form have one page, regardless of the task. Each keeps the task with its own text.
        ([A, A2, B], [A2, A2, B], {0: A2, 1: A, 2: B}, ([1, 0, 2], True)),
        ([A, A2, B], [A2, A, B], {0: A2, 1: A, 2: B}, ([1, 0, 2], True)),
        # The summary and the tasks contradict each other, or the tasks name no URL or a foreign one.
        ([A, B], [B, A], {0: A, 1: B}, ([1, 0], False)),
        ([A, B], [B, A], {0: "", 1: ""}, ([1, 0], False)),
        ([A, B], [B, A], {0: B, 1: "https://c.example/"}, ([1, 0], False)),
        # The summary names none, or not all.
        ([A, B], ["", ""], {0: B, 1: A}, ([1, 0], True)),
        ([A, B], ["", A], {0: B, 1: A}, ([1, 0], True)),
        ([A, B], ["", ""], {0: B}, ([1, 0], False)),
        # The summary does not fit the input, regardless of the tasks.
        ([A, B], ["https://c.example/", "https://d.example/"], {0: B, 1: A}, ([0, 1], False)),
        # A task that is gone, or was never fetched, proves nothing.
        ([A, B], [B, A], {1: A}, ([1, 0], True)),
        ([A, B], [B, A], None, ([1, 0], True)),
        # A single task for equal targets.
        ([A, B, A], [B, A], {0: B, 1: A}, ([1, 0, 1], True)),
        ([A, B, A], [B, A], {0: A, 1: B}, ([1, 0, 1], False)),
        # More or fewer tasks than targets.
        ([A, B], [B], {0: B}, ([0], False)),
        ([A], [A, B], {0: A, 1: B}, ([0, 1], False)),
    ],
)
def test_the_order_is_proven_by_both(targets, named, own, order):
    assert decide_order(targets, named, own) == order


@pytest.mark.parametrize("of_job", WRITERS)
@pytest.mark.parametrize("of_task", WRITERS)
def test_each_may_write_in_its_own_way(of_job, of_task):
    rng = random.Random(f"{of_job} {of_task}")
    targets = [f"https://faß{n % 7}.example/Ä?b=men's&a={n % 9}+%20#{n}" for n in range(20)]
    shuffled = rng.sample(targets, len(targets))
    positions, proven = decide_order(
        targets, list(map(WRITERS[of_job], shuffled)), dict(enumerate(map(WRITERS[of_task], shuffled)))
    )
    assert proven
    assert [whatwg_form(shuffled[at]) for at in positions] == list(map(whatwg_form, targets))


@pytest.mark.parametrize(
    ("targets", "url", "is_of"),
    [
        ([A, B], A, True),
        ([A, B], A2, True),
        ([A, B], B, False),
        ([A, B], "", False),
        # Spellings that only the loose form makes equal, with and without another target of this form.
        (["https://a.example/?b=1&a=2", B], "https://a.example/?a=2&b=1", True),
        (["https://fa\u00df.example/", B], "https://fass.example/", True),
        (["https://fa\u00df.example/", "https://fass.example/"], "https://fass.example/", False),
    ],
)
def test_own_url_confirms_only_its_target(targets, url, is_of):
    assert OwnUrls(targets).is_of(0, url) is is_of
