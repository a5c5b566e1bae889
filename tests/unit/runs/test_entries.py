"""Test that each input gets its own entry with its own `meta`, and never the `meta` of another."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrape_do_celery import ResultExpiredError, RunHandle, Target
from scrape_do_celery.models import JobDetails, TaskDetails, UndetailedTaskResponse
from scrape_do_celery.models.urls import loose_form, whatwg_form
from scrape_do_celery.runs.entries import iter_entries, read_entries
from scrape_do_celery.runs.retry import find_missing
from scrape_do_celery.store import Keys, PartId, PartState, RunSpec
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.runs import ReadSpec, RecordOutcome
from tests.support.url_writers import WRITERS

A, B, C, D = (f"https://{name}.example/" for name in "abcd")
PAGES = st.lists(st.sampled_from([A, B, C, D, "https://a.example", f"{A}?b=1&a=2"]), min_size=1, max_size=14)
META = st.none() | st.integers(0, 99) | st.fixed_dictionaries({"sku": st.text("ab☂", max_size=3)})


def fetch_part(store, number, answers, *, summary=True, own=None, missing=()):
    """Let a part end with `answers`: the URL and the status of each task, in the order of the job."""
    store.make_running(part=number, state=PartState.FETCHING)
    claim, part_id = store.claim_part(part=number), PartId("r", number)
    tasks = [
        UndetailedTaskResponse(task_id=f"t{at}", url=url if summary else "", status=status)
        for at, (url, status) in enumerate(answers)
    ]
    ids = [task.task_id for task in tasks]
    job = JobDetails(job_id=f"job-r-{number}", status="success", task_ids=ids, tasks=tasks)
    store.run(UpdatePart(claim, {}, job=job))
    for at, (url, status) in enumerate(answers):
        if at in missing:
            continue
        page = f"page of {url}" if status == "success" else None
        told = own[at] if own else url
        task = TaskDetails(task_id=f"t{at}", job_id=job.job_id, url=told, status=status, content=page)
        store.run(StoreContent(part_id, at, task))
    store.run(FinishPart(claim, "succeeded"))


def make_run(store, inputs, **options):
    spec = RunSpec.from_arguments(inputs, **options)
    store.run(CreateRun("r", spec))
    return spec


def read_both(store, *, is_proven=True):
    """Return the entries, which a stream and a whole result must have alike."""
    record = store.read_run()
    whole = read_entries(store.sync_store, record)
    assert list(iter_entries(store.sync_store, record)) == whole.tasks
    assert whole.is_proven is is_proven
    return whole.tasks


def shown(tasks):
    return [(task.url, task.meta) for task in tasks]


@settings(max_examples=60)
@given(
    PAGES,
    st.data(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 2, 3, 1000]),
    st.randoms(use_true_random=False),
)
def test_each_input_gets_its_entry(make_store, urls, data, dedupe, summary, size, rng):
    """Whatever the duplicates, the order of the API, the failures and the parts: the entry is that of the input."""
    metas = [data.draw(META) for _ in urls]
    # A server writes a URL in its own way. What it writes alike is one page for it.
    write, write_own = (WRITERS[data.draw(st.sampled_from(sorted(WRITERS)))] for _ in range(2))
    failures = data.draw(st.sets(st.sampled_from([whatwg_form(url) for url in urls])))
    merges = data.draw(st.booleans())
    store = make_store(Keys("p"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scrape_do_celery.store.options.MAX_TARGETS_PER_JOB", size)
        spec = make_run(store, [Target(url, meta) for url, meta in zip(urls, metas, strict=True)], dedupe=dedupe)
        for number, part in enumerate(spec.parts()):
            # A server merges what it reads as one page.
            merged = {whatwg_form(url): url for url in part.targets}.values()
            bought = list(merged if merges else part.targets)
            rng.shuffle(bought)
            answers = [(write(url), "error" if whatwg_form(url) in failures else "success") for url in bought]
            own = [write_own(url) for url in bought]
            # A stream of a run without inputs takes the job's own order if the summary shows no URL.
            fetch_part(store, number, answers, own=own, summary=summary or spec.inputs is None)
        store.run(RecordOutcome("r", "succeeded", {}))
        tasks = read_both(store)
        forms = list(map(whatwg_form, urls))
        assert [(loose_form(task.url), task.meta) for task in tasks] == [
            (loose_form(url), meta) for url, meta in zip(urls, metas, strict=True)
        ]
        assert [task.is_success for task in tasks] == [form not in failures for form in forms]
        bought = sum(part.total for part in store.read_run().parts)
        assert bought == (len(set(urls)) if dedupe else len(urls))

        missing = find_missing(store.sync_store, store.read_run(), spec)
        if missing:
            again = spec.select_targets(missing)
            pairs = zip(urls, tasks, strict=True)
            failed = [Target(url, task.meta) for url, task in pairs if not task.is_success]
            assert again.digest == RunSpec.from_arguments(failed, dedupe=dedupe, early=spec.early).digest
            assert again.inputs.positions == tuple(n for n, task in enumerate(tasks) if not task.is_success)
            counts = Counter(again.request.targets)
            assert not dedupe or max(counts.values()) == 1
        else:
            assert not failures


@settings(max_examples=15)
@given(PAGES, st.data(), st.booleans(), st.sampled_from([1, 2, 1000]), st.randoms(use_true_random=False))
def test_retries_of_retries_give_each_input_one_page(make_store, urls, data, dedupe, size, rng):
    """Single tasks fail, also some of those with equal URLs. No input is lost, gets two pages, or gets a wrong one."""
    write = WRITERS[data.draw(st.sampled_from(sorted(WRITERS)))]
    found: dict[int, str] = {}
    spec = RunSpec.from_arguments([Target(url, number) for number, url in enumerate(urls)], dedupe=dedupe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scrape_do_celery.store.options.MAX_TARGETS_PER_JOB", size)
        for attempt in range(4):
            store = make_store(Keys("p"))
            store.run(CreateRun("r", spec))
            for number, part in enumerate(spec.parts()):
                bought = rng.sample(part.targets, len(part.targets))
                words = ["success", "error"][: 2 if attempt < 3 else 1]
                fetch_part(store, number, [(write(url), data.draw(st.sampled_from(words))) for url in bought])
            store.run(RecordOutcome("r", "succeeded", {}))
            pages = {task.meta: loose_form(task.url) for task in read_both(store) if task.is_success}
            assert pages.keys().isdisjoint(found)
            found |= pages
            missing = find_missing(store.sync_store, store.read_run(), store.run(ReadSpec("r", len(spec.parts()))))
            if not missing:
                break
            spec = store.run(ReadSpec("r", len(spec.parts()))).select_targets(missing)
    assert [found[number] for number in range(len(urls))] == list(map(loose_form, urls))


@settings(max_examples=60)
@given(PAGES, st.data(), st.booleans(), st.booleans())
def test_wrong_urls_never_give_a_wrong_meta(make_store, urls, data, dedupe, summary):
    """If answers name other URLs than the targets, an entry has the `meta` of an input with its own URL, or none."""
    store = make_store(Keys("p"))
    spec = make_run(store, [Target(url, {"of": url}) for url in urls], dedupe=dedupe)
    named = [data.draw(st.sampled_from([A, B, C, D, "", "https://other.example/"])) for _ in spec.request.targets]
    own = [data.draw(st.sampled_from([url, A, B, "", url])) for url in named]
    fetch_part(store, 0, [(url, "success") for url in named], own=own, summary=summary)
    whole = read_entries(store.sync_store, store.read_run()).tasks
    for task in [*iter_entries(store.sync_store, store.read_run()), *whole]:
        assert task.meta is None or task.meta["of"] in {task.url, task.url.rstrip("/")}
    assert {task.task_id for task in whole} == {f"t{at}" for at in range(len(named))}


def test_equal_targets_keep_their_own_meta(store):
    make_run(store, [Target(A, 1), Target(A, 2), Target(A, 3)])
    fetch_part(store, 0, [(A, "success"), (A, "error"), (A, "success")])
    tasks = read_both(store)
    assert [(task.task_id, task.status, task.meta) for task in tasks] == [
        ("t0", "success", 1),
        ("t1", "error", 2),
        ("t2", "success", 3),
    ]


def test_shared_task_has_a_meta_for_each_input(store):
    make_run(store, [Target(A, {"n": 1}), A, Target(A, {"n": 2})], dedupe=True)
    fetch_part(store, 0, [(A, "success")])
    tasks = read_both(store)
    assert [task.meta for task in tasks] == [{"n": 1}, None, {"n": 2}]
    tasks[0].meta["n"] = 9
    assert [task.meta for task in read_both(store)] == [{"n": 1}, None, {"n": 2}]


def test_swapped_own_urls_hide_meta(store):
    make_run(store, [Target(A, "a"), Target(B, "b"), Target(C, "c")])
    fetch_part(store, 0, [(A, "success"), (B, "success"), (C, "success")], own=[B, A, C])
    assert [task.meta for task in read_both(store, is_proven=False)] == [None, None, "c"]


def test_order_that_nothing_proves_hides_meta(store):
    make_run(store, [Target(A, "a"), Target(B, "b")])
    fetch_part(store, 0, [(A, "success"), ("https://other.example/", "success")])
    assert [task.meta for task in read_both(store, is_proven=False)] == [None, None]


def test_unproven_order_of_a_deduped_run_has_an_entry_for_each_input(store):
    make_run(store, [A, B, A], dedupe=True)
    fetch_part(store, 0, [("", "success"), ("", "success")], summary=False)
    assert [task.task_id for task in read_both(store, is_proven=False)] == ["t0", "t1", "t0"]


def test_tasks_beyond_the_targets_are_left_out_of_no_result(store):
    make_run(store, [Target(A, 1)])
    fetch_part(store, 0, [("", "success"), (A, "success")])
    assert [(task.task_id, task.meta) for task in read_both(store, is_proven=False)] == [("t1", None), ("t0", None)]


def test_plugin_is_deduped_in_the_order_of_its_job(store):
    plugin = {"key": "google/search", "params": [{"q": "x"}, {"q": "y"}, {"q": "x"}]}
    store.run(CreateRun("r", RunSpec.from_arguments(plugin=plugin, dedupe=True)))
    fetch_part(store, 0, [("", "success"), ("", "success")])
    assert [task.task_id for task in read_both(store, is_proven=False)] == ["t0", "t1", "t0"]


def test_unpurchased_part_hides_only_its_own_targets(store, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.store.options.MAX_TARGETS_PER_JOB", 1)
    make_run(store, [Target(A, 1), Target(B, 2), Target(A, 3), Target(C, 4), Target(B, 5)], dedupe=True)
    fetch_part(store, 0, [(A, "success")])
    fetch_part(store, 2, [(C, "success")])
    assert shown(read_both(store)) == [(A, 1), (A, 3), (C, 4)]


def test_live_run_yields_the_entries_that_are_stored(step_harness):
    make_run(step_harness, [Target(A, 1), Target(B, 2), Target(A, 3)], dedupe=True)
    handle = RunHandle("r", app_context=step_harness.app_context)
    assert list(handle.iter_tasks(partial=True)) == []
    fetch_part(step_harness, 0, [(A, "success"), (B, "success")], missing={1})
    assert shown(handle.iter_tasks(partial=True)) == [(A, 1), (A, 3)]


def test_gone_task_keeps_the_meta_of_its_target(store):
    make_run(store, [Target(A, 1), Target(B, 2)])
    fetch_part(store, 0, [(A, "success"), (B, "success")], missing={1})
    gone = TaskDetails(task_id="t1", job_id="job-r-0", url="", status="error", gone=True)
    store.redis.hdel(store.keys.part(PartId("r", 0)), "outcome")
    store.force_state(state=PartState.FETCHING)
    store.run(StoreContent(PartId("r", 0), 1, gone))
    assert [task.meta for task in read_both(store)] == [1, 2]


def test_expired_pages_raise(store):
    make_run(store, [Target(A, 1), Target(B, 2)], dedupe=True)
    fetch_part(store, 0, [(A, "success"), (B, "success")])
    store.redis.hdel(store.keys.contents(PartId("r", 0)), "1")
    for read in (lambda record: list(iter_entries(store.sync_store, record)), None):
        with pytest.raises(ResultExpiredError):
            (read or (lambda record: read_entries(store.sync_store, record)))(store.read_run())


def test_stream_reads_a_shared_page_once(store, monkeypatch):
    make_run(store, [A] * 500, dedupe=True)
    fetch_part(store, 0, [(A, "success")])
    record, commands, run = store.read_run(), [], store.sync_store.run
    monkeypatch.setattr(store.sync_store, "run", lambda one: commands.append(type(one).__name__) or run(one))
    assert sum(1 for _ in iter_entries(store.sync_store, record)) == 500
    assert commands.count("ReadContents") == 1


def test_plain_run_is_read_as_before(store, monkeypatch):
    make_run(store, [A, B])
    fetch_part(store, 0, [(A, "success"), (B, "success")])
    record, commands, run = store.read_run(), [], store.sync_store.run
    monkeypatch.setattr(store.sync_store, "run", lambda one: commands.append(type(one).__name__) or run(one))
    assert len(list(iter_entries(store.sync_store, record))) == 2
    assert commands == ["ReadJob", "ReadPartInputs", "ReadContents"]


def test_second_retry_is_the_first(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)
    make_run(step_harness, [Target(A, 1), Target(B, 2), Target(A, 3)], dedupe=True, geo_code="us")
    fetch_part(step_harness, 0, [(B, "success"), (A, "error")])
    step_harness.run(RecordOutcome("r", "succeeded", {}))
    from scrape_do_celery import retry_failed

    again = retry_failed("r")
    assert retry_failed("r") == again
    spec = step_harness.run(ReadSpec(again.run_id, 1))
    wanted = RunSpec.from_arguments([Target(A, 1), Target(A, 3)], dedupe=True, geo_code="us", early=False)
    assert (spec.digest, spec.inputs.positions) == (wanted.digest, (0, 2))
