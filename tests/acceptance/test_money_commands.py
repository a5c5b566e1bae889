"""Test `scrape-do orphans` and `scrape-do ledger` with a real worker, a real server, and HTTP to the sandbox."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest

from scrape_do_celery import JobCanceledError, RunState, ScrapeDoAsyncAPIClient
from scrape_do_celery.config.urls import masked
from scrape_do_celery.steps.orphans import OrphanFinder

LONG = "?seconds=600"


@pytest.fixture
def scrape_do(pipeline):
    """Return a function that runs a command in a process of its own, as a user does."""

    def call(*arguments, command=("scrape_do_celery",), **environment):
        return subprocess.run(
            [sys.executable, "-m", *command, *arguments],
            env={**pipeline.environment, **environment},
            cwd=pipeline.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


@pytest.fixture
def client(pipeline):
    with ScrapeDoAsyncAPIClient(pipeline.settings.api_key, base_url=pipeline.sandbox.url) as one:
        yield one


def urls(count, query=LONG, host="stray"):
    return [f"https://{host}.example/{n}{query}" for n in range(count)]


def cells(answer):
    """Return the cells of the table's rows. Two spaces separate them."""
    lines = answer.stdout.splitlines()
    rule = next(n for n, line in enumerate(lines) if set(line) == {"-", " "})
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[rule + 1 :] if line]


def canceled(pipeline):
    return {job["id"]: job["canceled"] for job in pipeline.sandbox.jobs()}


def as_json(answer):
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_orphan_is_canceled_and_owned_job_is_kept(pipeline, scrape_do, client, eventually):
    pipeline.work()
    handle = pipeline.enqueue(urls(2, host="ours"))
    owned = eventually(lambda: handle.job).job_id
    stray = client.create_job(targets=[*urls(2), "https://stray.example/quick"]).job_id
    eventually(lambda: client.get_job(stray).tasks[2].status == "success")
    answer = scrape_do("orphans")
    assert (answer.returncode, answer.stderr) == (0, "")
    [[job_id, status, started, note, *numbers]] = cells(answer)
    assert (job_id, status, note, numbers) == (stray, "pending", "-", ["3", "1", "3"])
    assert started == f"{client.get_job(stray).start_time:%Y-%m-%dT%H:%M:%SZ}"

    assert scrape_do("orphans", "--cancel").returncode == 2
    assert canceled(pipeline) == {owned: False, stray: False}
    answer = scrape_do("orphans", "--cancel", "--yes")
    assert answer.returncode == 1
    assert f"not stopped  {stray}: no run of this store has bought the job" in answer.stderr
    assert canceled(pipeline) == {owned: False, stray: False}
    answer = scrape_do("orphans", "--cancel", "--yes", stray)
    assert (answer.returncode, answer.stdout.splitlines()[-1]) == (0, f"stopped  {stray}")
    assert canceled(pipeline) == {owned: False, stray: True}
    eventually(lambda: client.get_job(stray).is_terminal)
    assert scrape_do("orphans").stdout == "no orphans: each running job belongs to a run\n"
    assert scrape_do("orphans", "--cancel", "--yes", owned).returncode == 1
    assert not canceled(pipeline)[owned]
    assert handle.state is RunState.RUNNING


@pytest.mark.long
def test_a_job_in_doubt_is_left_to_its_run(pipeline, scrape_do, client, eventually):
    pipeline.values["submit_visibility_grace"] = 60  # the run decides nothing until the list shows jobs again
    pipeline.sandbox.fault("reset_after", kind="create_job", times=1)
    pipeline.sandbox.fault("list_lag", seconds=3600)
    worker = pipeline.work()
    handle = pipeline.enqueue(urls(2, "?seconds=600", host="ours"))
    eventually(lambda: handle.state is RunState.RECONCILING)
    [in_doubt] = canceled(pipeline)
    eventually(lambda: pipeline.sandbox.stats()["answers"].get("list_jobs"))
    worker.terminate()
    worker.wait(20)
    stray = client.create_job(targets=urls(2)).job_id
    pipeline.sandbox.clear_faults()

    listed = as_json(scrape_do("orphans", "--json"))["orphans"]
    assert {one["job_id"]: one["may_belong_to"] for one in listed} == {in_doubt: handle.run_id, stray: None}
    answer = scrape_do("orphans", "--cancel", "--yes")
    assert answer.returncode == 1
    assert f"may belong to run {handle.run_id}" in answer.stdout
    assert canceled(pipeline) == {in_doubt: False, stray: False}
    assert scrape_do("orphans", "--cancel", "--yes", stray).returncode == 0
    answer = scrape_do("orphans", "--cancel", "--yes", in_doubt)
    assert answer.returncode == 1
    assert f"not stopped  {in_doubt}: the job may belong to run {handle.run_id}" in answer.stderr
    told = as_json(scrape_do("ledger", "--unresolved", "--json"))["purchases"]
    assert [(one["run_id"], one["status"], one["job_id"]) for one in told] == [(handle.run_id, "open", None)]

    pipeline.work()
    eventually(lambda: handle.job)
    pipeline.sandbox.advance(600)
    assert handle.result(timeout=150).job.job_id == in_doubt
    assert canceled(pipeline) == {in_doubt: False, stray: True}


@pytest.mark.long
def test_a_job_whose_run_ended_without_it(pipeline, scrape_do, eventually):
    pipeline.values["cancel_grace"] = 1
    pipeline.sandbox.fault("status", kind="cancel_job", status=503)
    pipeline.work()
    handle = pipeline.enqueue(urls(2, host="ours"))
    job_id = eventually(lambda: handle.job).job_id
    handle.cancel()
    with pytest.raises(JobCanceledError):
        handle.result(timeout=150)
    assert canceled(pipeline) == {job_id: False}
    [[listed, _, _, note, *_]] = cells(scrape_do("orphans"))
    assert (listed, note) == (job_id, f"run {handle.run_id} ended without this job")
    pipeline.sandbox.clear_faults()
    answer = scrape_do("orphans", "--cancel", "--yes")
    assert (answer.returncode, answer.stdout.splitlines()[-1]) == (0, f"stopped  {job_id}")
    assert canceled(pipeline) == {job_id: True}


@pytest.mark.long
def test_a_job_that_is_being_bought_is_never_an_orphan(pipeline, client, eventually):
    # The answer is slow: the job exists already, and no record has its id.
    pipeline.sandbox.fault("slow", kind="create_job", seconds=1.5)
    pipeline.work()
    handles = [pipeline.enqueue(urls(1, host=f"ours{n}")) for n in range(20)]
    orphan_finder = OrphanFinder(client, pipeline.app_context.store, pipeline.settings.account_id)
    claimed = set()

    def all_owned():
        for one in orphan_finder.find_all():
            assert one.claimant is not None, one
            claimed.add(one.claimant.run_id)
        return all(handle.state is RunState.RUNNING for handle in handles)

    eventually(all_owned, within=90)
    assert claimed <= {handle.run_id for handle in handles}
    assert claimed, "no look met a purchase under way: the test shows nothing"


@pytest.mark.parametrize(("typed", "stopped"), [("n", False), ("y", True)])
def test_on_a_terminal_it_asks(pipeline, client, typed, stopped):
    stray = client.create_job(targets=urls(1)).job_id
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "scrape_do_celery", "orphans", "--cancel", stray],
        env=pipeline.environment,
        cwd=pipeline.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        text = read_until(ours, b"[y/N]: ")
        where = masked(pipeline.settings.redis_url)
        assert f"Stop 1 job at Scrape.do that no run of the store at {where} owns?" in text
        assert stray in text
        assert canceled(pipeline) == {stray: False}
        os.write(ours, f"{typed}\n".encode())
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert canceled(pipeline) == {stray: stopped}


def read_until(terminal, wanted):
    text, deadline = b"", time.monotonic() + 30
    while wanted not in text:
        assert select.select([terminal], [], [], deadline - time.monotonic())[0], text
        text += os.read(terminal, 4096)
    return " ".join(text.decode().split())


def test_on_a_shared_account_only_what_is_named_is_stopped(pipeline, scrape_do, client):
    first, second = (client.create_job(targets=urls(1)).job_id for _ in range(2))
    shared = {"SCRAPE_DO_SHARED_ACCOUNT": "true"}
    answer = scrape_do("orphans", "--cancel", "--yes", **shared)
    assert answer.returncode == 2
    assert "the list includes the jobs of other buyers" in answer.stderr
    answer = scrape_do("orphans", "--cancel", "--yes", second, **shared)
    assert (answer.returncode, answer.stdout.splitlines()[-1]) == (0, f"stopped  {second}")
    assert canceled(pipeline) == {first: False, second: True}


def test_without_a_token_or_with_a_wrong_one(pipeline, scrape_do):
    answer = scrape_do("orphans", SCRAPE_DO_API_KEY="")
    assert answer.returncode == 1
    assert "Error: ConfigurationError: SCRAPE_DO_API_KEY is not set" in answer.stderr
    pipeline.sandbox.configure(token="another")
    answer = scrape_do("orphans")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith("Error: AsyncAPIAuthError: ")
    assert pipeline.settings.api_key.get_secret_value() not in answer.stderr


@pytest.mark.long
def test_the_ledger_of_a_purchase_whose_answer_was_lost(pipeline, scrape_do):
    assert scrape_do("ledger").stdout == "no purchase in the last 7 days\n"
    pipeline.sandbox.fault("reset_after", kind="create_job", times=1)
    pipeline.work()
    lost = pipeline.enqueue(urls(2, "?seconds=1", host="lost"), super=True)
    lost.result(timeout=150)
    plain = pipeline.enqueue(urls(3, "", host="plain"))
    plain.result(timeout=150)
    stopped = pipeline.enqueue(urls(1, host="stopped"))
    stopped.cancel()
    with pytest.raises(JobCanceledError):
        stopped.result(timeout=150)
    jobs = {host: job["id"] for job in pipeline.sandbox.jobs() for host in ("lost", "plain") if host in str(job)}
    answer = scrape_do("ledger")
    assert answer.returncode == 0
    mine = [row for row in cells(answer) if row[1] in {lost.run_id, plain.run_id}]
    assert [row[1:] for row in mine] == [
        [lost.run_id, "-", "lost.example", jobs["lost"], "adopted", "succeeded", "0", "1", "2", "20", "20"],
        [plain.run_id, "-", "plain.example", jobs["plain"], "confirmed", "succeeded", "0", "1", "3", "3", "3"],
    ]
    told = as_json(scrape_do("ledger", lost.run_id, "--json"))
    assert told["sums"] == {
        "purchases": 1,
        "unresolved": 0,
        "targets": 2,
        "known": 1,
        "credits": 20,
        "estimated_credits": 20,
    }
    assert scrape_do("ledger", "--unresolved").stdout == "no unresolved purchase in the last 7 days\n"
    assert len(as_json(scrape_do("ledger", "--json"))["purchases"]) == pipeline.posts()


def test_celery_has_the_same_commands(pipeline, scrape_do, client):
    stray = client.create_job(targets=urls(1)).job_id
    plugin = ("celery", "-A", "scrape_do_celery.worker", "scrape-do")
    assert [one["job_id"] for one in as_json(scrape_do("orphans", "--json", command=plugin))["orphans"]] == [stray]
    assert as_json(scrape_do("ledger", "--json", command=plugin))["purchases"] == []
