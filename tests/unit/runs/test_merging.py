"""Test that the merged result of a lineage has each input once, with the newest page that any run has of it."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrape_do_celery import ResultExpiredError, ResultNotReadyError, RunHandle, RunNotFoundError, Target
from scrape_do_celery.models import GoogleSearch, JobDetails, SearchParams, TaskDetails, UndetailedTaskResponse
from scrape_do_celery.runs import retry_failed
from scrape_do_celery.runs.merging import Lineage
from scrape_do_celery.runs.retry import find_missing
from scrape_do_celery.store import Keys, PartId, PartState, Retention, RunSpec
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ForgetRun, ReadLineage, ReadSpec, RecordOutcome

A, B, C = (f"https://{name}.example/" for name in "abc")
COST = 1.5


def end_part(store, run_id, number, answers, *, summary=True):
    """Let a part end. `answers` has the URL and the page of each task, or None, in the order of the job."""
    store.make_running(run_id, number, state=PartState.FETCHING)
    claim, job_id = store.claim_part(run_id, number), f"job-{run_id}-{number}"
    statuses = ["error" if page is None else "success" for _, page in answers]
    named = [
        UndetailedTaskResponse(task_id=f"t{at}", url=url if summary else "", status=statuses[at])
        for at, (url, _) in enumerate(answers)
    ]
    job = JobDetails(job_id=job_id, status="success", task_ids=[one.task_id for one in named], tasks=named)
    store.run(UpdatePart(claim, {}, job=job))
    for at, (url, page) in enumerate(answers):
        fields = {"TaskID": f"t{at}", "JobID": job_id, "URL": url, "Status": named[at].status, "Content": page}
        cost = {} if page is None else {"Scrape.do": {"Request-Cost": str(COST)}}
        store.run(StoreContent(PartId(run_id, number), at, TaskDetails.model_validate(fields | cost)))
    store.run(FinishPart(claim, "succeeded"))


def end_run(store, run_id, outcome="succeeded"):
    store.run(RecordOutcome(run_id, outcome, {}))


def read_lineage(store, run_id):
    return Lineage(store.sync_store, [store.read_run(one) for one in store.run(ReadLineage(run_id))])


class Model:
    """What a lineage must show: the pages of each URL, and what was paid."""

    def __init__(self, urls, *, dedupe):
        self.urls, self.dedupe = urls, dedupe
        self.pages = defaultdict(list)
        self.bought = Counter()

    def check_purchases(self, targets):
        """No page that the lineage has is bought again."""
        for url, count in Counter(targets).items():
            wanted = 1 if self.dedupe else self.urls.count(url)
            assert count <= wanted - len(self.pages[url])

    def check(self, merged, metas):
        assert [entry.position for entry in merged.entries] == list(range(len(self.urls)))
        assert [entry.target for entry in merged.entries] == self.urls
        shown = defaultdict(list)
        for entry, meta in zip(merged.entries, metas, strict=True):
            if entry.task is not None:
                assert entry.task.url == entry.target
                assert entry.task.meta == meta
                assert entry.task.job_id.startswith(f"job-{entry.run_id}-")
            if entry.has_page:
                shown[entry.target].append(entry.task.content)
        for url in set(self.urls):
            pages = self.pages[url] * (self.urls.count(url) if self.dedupe else 1)
            assert sorted(shown[url]) == sorted(pages)
        assert merged.cost == COST * sum(map(len, self.pages.values()))
        assert len(merged.succeeded) + len(merged.missing) == len(self.urls)


@settings(max_examples=25)
@given(
    urls=st.lists(st.sampled_from([A, B, C, f"{A}1", f"{A}2"]), min_size=1, max_size=9),
    dedupe=st.booleans(),
    summary=st.booleans(),
    sizes=st.lists(st.sampled_from([1, 2, 3, 1000]), min_size=4, max_size=4),
    rounds=st.integers(1, 4),
    data=st.data(),
    rng=st.randoms(use_true_random=False),
)
def test_merged_result_is_that_of_the_model(make_store, urls, dedupe, summary, sizes, rounds, data, rng):
    """Whatever fails, whatever is never bought, whatever the order: each input has its newest page, or none."""
    store, model = make_store(Keys("p")), Model(urls, dedupe=dedupe)
    metas = [data.draw(st.none() | st.integers(0, 9)) for _ in urls]
    spec = RunSpec.from_arguments([Target(url, meta) for url, meta in zip(urls, metas, strict=True)], dedupe=dedupe)
    for generation in range(rounds):
        spec = spec.split_by(sizes[generation])
        run_id = f"g{generation}"
        parent = f"g{generation - 1}" if generation else None
        assert store.run(CreateRun(run_id, spec, parent=parent)).new
        for number, part in enumerate(spec.parts()):
            model.check_purchases(part.targets)
            if data.draw(st.sampled_from([False, False, False, True])):
                store.finish_part(run_id, number, outcome="failed")
                continue
            bought, answers = rng.sample(part.targets, len(part.targets)), []
            for at, url in enumerate(bought):
                page = f"{run_id}-{number}-{at} of {url}" if data.draw(st.booleans()) else None
                model.pages[url] += [] if page is None else [page]
                answers.append((url, page))
            end_part(store, run_id, number, answers, summary=summary)
        end_run(store, run_id)
        record = store.read_run(run_id)
        ids = [f"g{number}" for number in range(generation + 1)]
        merged = read_lineage(store, data.draw(st.sampled_from(ids))).read_result()
        assert merged.lineage == tuple(ids)
        assert merged.order_verified
        model.check(merged, metas)
        missing = find_missing(store.sync_store, record, store.run(ReadSpec(run_id, record.part_count)))
        if not missing:
            assert not merged.missing
            break
        spec = store.run(ReadSpec(run_id, record.part_count)).select_targets(missing)
        assert list(spec.inputs.positions) == [entry.position for entry in merged.missing]


@pytest.fixture
def app(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)
    return step_harness


@pytest.fixture
def lineage(app):
    """Return a function that makes a lineage of three targets: A has a page of `r`, B one of the retry, C none."""

    def make(*, end=True, **options):
        app.run(CreateRun("r", RunSpec.from_arguments([A, B, C], **options)))
        end_part(app, "r", 0, [(A, "a of r"), (B, None), (C, None)])
        end_run(app, "r")
        retry = retry_failed("r").run_id
        if end:
            end_part(app, retry, 0, [(C, None), (B, "b of retry")])
            end_run(app, retry)
        return retry

    return make


def show(entries):
    return [(entry.target, entry.task and entry.task.content, entry.run_id) for entry in entries]


@pytest.mark.parametrize("which", ["first", "retry"])
def test_each_form_of_merged_has_the_same_entries(app, lineage, which):
    retry = lineage()
    handle = RunHandle("r" if which == "first" else retry, app_context=app.app_context)
    expected = [(A, "a of r", "r"), (B, "b of retry", retry), (C, None, retry)]
    merged = handle.merged()
    assert (merged.lineage, handle.lineage, merged.cost) == (("r", retry), ("r", retry), 2 * COST)
    assert show(merged.entries) == show(handle.iter_merged()) == expected
    assert [entry.position for entry in merged.missing] == [2]

    async def read():
        return show((await handle.amerged()).entries), [entry async for entry in handle.aiter_merged()]

    whole, streamed = asyncio.run(read())
    assert whole == show(streamed) == expected
    assert "example" not in repr(merged)


def test_run_without_a_retry_is_merged_alone(app):
    app.run(CreateRun("r", RunSpec.from_arguments([A, B])))
    end_part(app, "r", 0, [(B, "b"), (A, None)])
    end_run(app, "r")
    merged = RunHandle("r").merged()
    assert show(merged.entries) == [(A, None, "r"), (B, "b", "r")]
    assert merged.lineage == ("r",)


def test_live_retry_counts_only_if_asked(app, lineage):
    retry = lineage(end=False)
    expected = [(A, "a of r", "r"), (B, None, "r"), (C, None, "r")]
    for run_id in ("r", retry):
        with pytest.raises(ResultNotReadyError) as caught:
            RunHandle(run_id).merged()
        assert caught.value.run_id == retry
        assert show(RunHandle(run_id).merged(partial=True).entries) == expected


def test_stream_has_few_pages_in_memory(app):
    """The store of these tests holds all pages too, so only what the stream adds is counted."""
    count, size = 200, 50_000
    app.run(CreateRun("r", RunSpec.from_arguments([f"{A}{number}" for number in range(count)])))
    pages = [None if number % 2 else "x" * size for number in range(count)]
    end_part(app, "r", 0, [(f"{A}{number}", page) for number, page in enumerate(pages)])
    end_run(app, "r")
    retry = retry_failed("r").run_id
    end_part(app, retry, 0, [(f"{A}{number}", "y" * size) for number in range(1, count, 2)])
    end_run(app, retry)
    tracemalloc.start()
    try:
        assert all(entry.has_page for entry in RunHandle("r").iter_merged())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < count * size / 2


def test_lost_page_is_an_error_and_no_missing_entry(app, lineage):
    retry = lineage()
    entries = RunHandle("r").iter_merged()
    first = next(entries)
    assert first.has_page
    app.redis.delete(app.keys.contents(PartId(retry, 0)))
    for read in (RunHandle("r").merged, lambda: next(RunHandle("r").iter_merged())):
        with pytest.raises(ResultExpiredError) as caught:
            read()
        assert caught.value.run_id == retry


def test_page_that_is_lost_during_a_stream_is_an_error(app, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.merging._CHUNK", 1)
    app.run(CreateRun("r", RunSpec.from_arguments([A, B])))
    end_part(app, "r", 0, [(A, "a"), (B, "b")])
    end_run(app, "r")
    entries = RunHandle("r").iter_merged()
    assert next(entries).has_page
    app.redis.delete(app.keys.contents(PartId("r", 0)))
    with pytest.raises(ResultExpiredError):
        next(entries)


@pytest.mark.parametrize("lost", ["targets:0", "targets:0:inputs"])
def test_lost_inputs_are_an_error(app, lineage, lost):
    retry = lineage()
    app.redis.hdel(app.keys.run(retry), lost)
    with pytest.raises(ResultExpiredError):
        RunHandle("r").merged()


def test_lost_targets_of_a_first_run_are_an_error(app, lineage):
    lineage()
    app.redis.hdel(app.keys.run("r"), "targets:0")
    with pytest.raises(ResultExpiredError, match="targets of run r"):
        RunHandle("r").merged()


def test_the_merged_result_of_an_unknown_run_is_refused(app):
    for read in (RunHandle("r").merged, lambda: RunHandle("r").lineage):
        with pytest.raises(RunNotFoundError):
            read()


def test_lineage_without_its_first_run_cannot_be_merged_and_keeps_its_pages(app, lineage):
    retry = lineage()
    for run_id in ("r", retry):
        app.run(AcknowledgeDelivery(run_id, run_id, Retention(100, 200, 300)))
    assert app.run(ForgetRun("r")) == "freed"
    with pytest.raises(RunNotFoundError, match="was forgotten") as caught:
        RunHandle(retry).merged()
    assert caught.value.run_id == "r"
    assert [task.content for task in RunHandle(retry).iter_tasks()] == ["b of retry", None]
    assert app.run(ReadSpec(retry_failed(retry).run_id, 1)).request.targets == [C]


def end_search(app, run_id, words, *, echoes=True):
    """End a run of a plugin. `words` has the word of each task's answer, in job order, or None for a failed task."""
    pages = [{"search_parameters": {"q": word} if echoes else {}, "of": word} for word in words]
    end_part(app, run_id, 0, [("", page["of"] and json.dumps(page)) for page in pages])
    end_run(app, run_id)


@pytest.mark.parametrize("echoes", [True, False])
def test_sets_of_a_plugin_get_the_answers_that_repeat_them(app, echoes):
    """In the job's order, the page of `a` would be that of the set that was bought again, and be lost."""
    words = ["a", "b", "c"]
    app.run(CreateRun("r", RunSpec.from_arguments(plugin=GoogleSearch([SearchParams(q=word) for word in words]))))
    end_search(app, "r", ["c", "a", None] if echoes else ["a", None, "c"], echoes=echoes)
    retry = retry_failed("r", trust_order=not echoes).run_id
    end_search(app, retry, ["b"], echoes=echoes)
    merged = RunHandle("r").merged()
    assert [entry.target["q"] for entry in merged.entries] == words
    assert [json.loads(entry.task.content)["of"] for entry in merged.entries] == words
    assert [entry.run_id for entry in merged.entries] == ["r", retry, "r"]
    assert merged.order_verified is echoes


def test_job_of_another_size_is_merged_in_its_own_order(app):
    app.run(CreateRun("r", RunSpec.from_arguments(plugin=GoogleSearch([SearchParams(q=word) for word in "abc"]))))
    end_search(app, "r", ["a", "b"])
    merged = RunHandle("r").merged()
    assert [entry.has_page for entry in merged.entries] == [True, True, False]
    assert not merged.order_verified
