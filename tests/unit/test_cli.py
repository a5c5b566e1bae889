from __future__ import annotations

import base64
import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import fakeredis
import pytest
from celery import Celery
from click.testing import CliRunner
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError

import scrape_do_celery
from scrape_do_celery import JobDetails, JobFailedError, RunHandle, Settings, TaskDetails, diagnostics, runs
from scrape_do_celery.cli import celery_plugin, doctor, main, output
from scrape_do_celery.cli.pages import file_name, write_page
from scrape_do_celery.errors import AsyncAPIGoneError, EncryptionKeyError
from scrape_do_celery.rules.waits import WaitKind
from scrape_do_celery.runs import AppContext, make_app
from scrape_do_celery.store import PartId, Store
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.contents import ReplaceLargeContent, StoreContent
from scrape_do_celery.store.commands.parts import ClaimPart, FinishPart, UpdatePart
from scrape_do_celery.store.commands.prices import TASK_SECONDS, TIMED_TASKS, AccountFigures, NoteAccountFigures
from scrape_do_celery.store.commands.runs import ReadRun, ReadSpec, RecordOutcome
from scrape_do_celery.store.commands.schedules import PauseSchedule
from scrape_do_celery.store.options import RUN_OPTIONS
from scrape_do_sandbox import server
from scrape_do_sandbox.options import SandboxOptions
from tests.support.diagnosed_redis import DiagnosedRedis
from tests.support.json_shapes import check_json

URLS = ["https://a.example/", "https://b.example/x?y=1"]
SECRET = "a-secret-of-the-user"
#: The folder of the tested package. A child process without it imports the package that is installed.
SOURCE = str(Path(scrape_do_celery.__file__).parents[1])


def task(number=0, **fields):
    given = {"TaskID": f"t{number}", "JobID": "j1", "URL": URLS[number], "Status": "success", "StatusCode": 200}
    return TaskDetails.model_validate({**given, "Content": "<p>page</p>", "Scrape.do": {"Request-Cost": "1"}, **fields})


@pytest.fixture
def app_context(clean_environment, monkeypatch):
    settings = Settings(
        redis_url="redis://localhost:1/0", broker_url="memory://", result_backend="cache+memory://", api_key=SECRET
    )
    made = AppContext(make_app(settings), settings)
    made.store = type(made.store)(fakeredis.FakeRedis(), made.store.keys)
    made.published = []
    monkeypatch.setattr(
        made, "publish", lambda step, names, **_: made.published.append((step, [str(n) for n in names]))
    )
    monkeypatch.setattr(AppContext, "for_app", lambda *_, **__: made)
    return made


@pytest.fixture
def scrape_do(app_context):
    def call(*arguments, **options):
        answer = CliRunner().invoke(main, [str(a) for a in arguments], **options)
        check_json(arguments, answer)
        return answer

    return call


@pytest.fixture
def ended(app_context):
    """Return a function that makes an ended run of two targets, with or without an error."""

    def end(error=None, **second):
        run_id = runs.enqueue(URLS).run_id
        store, part_id = app_context.store, PartId(run_id, 0)
        job = JobDetails(job_id="j1", status="error" if error else "success", task_ids=["t0", "t1"])
        claim = store.run(ClaimPart(part_id, "token", seconds=30, states=["queued"]))
        # A shortcut: no transition leads from queued to fetching.
        store.client.hset(store.keys.part(PartId(run_id, 0)), "state", "fetching")
        store.run(UpdatePart(claim, {"job": "j1"}, job=job))
        for number, one in enumerate([task(), task(1, **second)]):
            store.run(StoreContent(part_id, number, one))
        outcome = "failed" if error else "succeeded"
        store.run(FinishPart(claim, outcome, error=error))
        fields = {"error": json.dumps(error.to_json())} if error else {}
        store.run(RecordOutcome(run_id, outcome, fields))
        return run_id

    return end


@pytest.mark.parametrize(
    ("has_job", "jobs"),
    [(False, "no job is known; one may have been bought"), (True, "j0; one more may have been bought")],
)
def test_result_of_a_run_in_doubt_does_not_deny_the_purchase(scrape_do, app_context, has_job, jobs):
    run_id, store = runs.enqueue(URLS).run_id, app_context.store
    claim = store.run(ClaimPart(PartId(run_id, 0), "token", seconds=30, states=["queued"]))
    error = claim.in_doubt_error("the search was ambiguous", ["j1", "j2"])
    store.run(FinishPart(claim, "in_doubt", error=error))
    small = {"result": pack({"jobs": ["j0"] if has_job else []}), "error": json.dumps(error.to_json())}
    store.run(RecordOutcome(run_id, "in_doubt", small))
    output = " ".join(scrape_do("result", run_id).output.split())
    assert jobs in output
    assert "no job was bought" not in output
    assert "scrape-do retry" not in output
    assert "do not enqueue these targets again before you have checked `.candidates`" in output


def test_enqueue_prints_the_id_of_a_run_with_these_options(scrape_do, app_context):
    answer = scrape_do("enqueue", *URLS, "--geo-code", "US", "--super", "--max-wait", 60, "--raise-on-task-failure")
    assert answer.exit_code == 0, answer.output
    run_id = answer.output.strip()
    spec = app_context.store.run(ReadSpec(run_id, 1))
    assert (spec.request.targets, spec.request.geo_code, spec.request.super) == (URLS, "us", True)
    assert (spec.max_wait, spec.raise_on_task_failure) == (60, True)
    assert (spec.fairness_key, spec.fairness_weight, spec.priority) == (None, 1, 0)
    assert app_context.published == [("scrape_do.submit_jobs", [f"{run_id}:0"])]


def test_enqueue_takes_the_fairness_of_a_run(scrape_do, app_context):
    arguments = ("--fairness-key", "shop:7", "--fairness-weight", 2.5, "--priority", -3)
    answer = scrape_do("enqueue", URLS[0], *arguments)
    spec = app_context.store.run(ReadSpec(answer.output.strip(), 1))
    assert (spec.fairness_key, spec.fairness_weight, spec.priority) == ("shop:7", 2.5, -3)


@pytest.mark.parametrize(("arguments", "expected"), [((), False), (("--no-webhook",), False), (("--webhook",), True)])
def test_enqueue_turns_webhooks_on(scrape_do, app_context, monkeypatch, arguments, expected):
    hooks = {"webhook_base_url": "https://shop.example", "webhook_keys": SecretStr("0123456789abcdef" * 2)}
    monkeypatch.setattr(app_context, "settings", app_context.settings.model_copy(update=hooks))
    answer = scrape_do("enqueue", URLS[0], *arguments)
    assert app_context.store.run(ReadSpec(answer.output.strip(), 1)).webhook is expected


def test_webhooks_without_settings_are_a_wrong_option(scrape_do, app_context):
    answer = scrape_do("enqueue", URLS[0], "--webhook")
    assert answer.exit_code == 2
    assert "webhook=True needs SCRAPE_DO_WEBHOOK_BASE_URL and SCRAPE_DO_WEBHOOK_KEYS" in " ".join(answer.output.split())


def test_enqueue_reads_files(scrape_do, app_context, tmp_path):
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"targets": URLS[:1], "set_cookies": "a=1", "render": {}}))
    answer = scrape_do("enqueue", "--request", request, "-", "--render", input=f"\n{URLS[1]}\n")
    spec = app_context.store.run(ReadSpec(answer.output.strip(), 1))
    assert (spec.request.targets, spec.request.set_cookies) == (URLS, "a=1")
    assert spec.request.render is not None


def test_plan_prints_what_enqueue_would_buy(scrape_do, app_context, tmp_path):
    (tmp_path / "urls.txt").write_text(f"{URLS[0]}\n\n{URLS[1]}\n")
    answer = scrape_do("plan", tmp_path / "urls.txt", "-", "https://www.linkedin.com/in/a", input=f"{URLS[0]}\n")
    assert answer.exit_code == 0, answer.output
    assert answer.output.splitlines() == [
        "targets       4",
        "duplicates    1; --dedupe buys each of them once",
        "tasks to buy  4",
        "jobs          1",
        "credits       33 credits expected, 33 at least, without a known limit",
        "time          not known: workers learn it from the first pages of the account",
    ]
    assert (app_context.store.client.keys(), app_context.published) == ([], [])


def test_plan_takes_the_options_of_enqueue_and_prints_json(scrape_do, app_context):
    account = app_context.settings.account_id
    app_context.store.run(NoteAccountFigures(account, AccountFigures(2, 5.0, 7.0)))
    app_context.store.client.hset(app_context.store.keys.totals, mapping={TIMED_TASKS: 1, TASK_SECONDS: 90})
    options = ("--dedupe", "--super", "--render", "--geo-code", "us")
    answer = scrape_do("plan", *[*URLS, URLS[0]], *options, "--json")
    assert json.loads(answer.output) == {
        "runs": 1,
        "targets": 3,
        "bought": 2,
        "duplicates": 1,
        "jobs": 1,
        "estimate": {"expected": 50.0, "minimum": 50.0, "maximum": None},
        "expected_seconds": 90.0,
        "refusal": None,
    }
    lines = scrape_do("plan", *[*URLS, URLS[0]], *options).output.splitlines()
    assert lines[1] == "duplicates    1"
    assert lines[-1] == "time          about 0:01:30, if the account runs nothing else"
    assert scrape_do("plan", *URLS, "--idempotency-key", "k").exit_code == 2


def test_plan_of_a_run_that_would_be_refused_says_why(scrape_do):
    answer = scrape_do("plan", *URLS, "--max-credits", "1")
    assert answer.exit_code == 0
    name, _, text = answer.output.splitlines()[-1].partition("  ")
    assert name == "enqueue would refuse"
    assert text.startswith("the run was not started: the part needs 2 credits, and max_credits of the run is 1")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["enqueue"], 2, "no URL was given: pass URLs, a file of URLs, - for stdin, or --request"),
        (["plan"], 2, "no URL was given: pass URLs, a file of URLs, - for stdin, or --request"),
        (["plan", "no-such-file"], 2, "'no-such-file' is neither a URL nor a file"),
        (["enqueue", __file__], 2, "line 1 'from __future__ import annotations' holds whitespace"),
        (["enqueue", "ftp://a.example"], 2, "argument 1: 'ftp://a.example' is not an absolute http or https URL"),
        (["enqueue", "https://a.example", "--geo-code", "usa"], 2, "geo_code must be two letters"),
        (["enqueue", "https://a.example", "--device", "watch"], 2, "device"),
        (["enqueue", "https://a.example", "--max-wait", "0"], 2, "max_wait must be a positive"),
        (["status", "nope"], 1, "RunNotFoundError: the store has no run nope"),
        (["result", "nope"], 1, "RunNotFoundError: the store has no run nope"),
        (["cancel", "nope"], 1, "RunNotFoundError: the store has no run nope"),
    ],
)
def test_error_is_one_readable_line(scrape_do, app_context, arguments, code, text):
    answer = scrape_do(*arguments)
    assert answer.exit_code == code
    (line,) = [line for line in answer.output.splitlines() if line.startswith("Error: ")]
    assert text in line
    assert app_context.store.client.keys("*:due") == app_context.published == []


def test_a_request_file_alone_will_do(scrape_do, app_context, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps({"targets": URLS}))
    answer = scrape_do("enqueue", "--request", tmp_path / "r.json")
    assert app_context.store.run(ReadSpec(answer.output.strip(), 1)).request.targets == URLS


def test_fields_of_a_file_have_either_name(scrape_do, app_context, tmp_path):
    render = {"WaitUntil": "networkidle2"}
    (tmp_path / "r.json").write_text(json.dumps({"Targets": URLS[:1], "GeoCode": "us", "Render": render}))
    answer = scrape_do("enqueue", "--request", tmp_path / "r.json", URLS[1], "--geo-code", "de", "--render")
    request = app_context.store.run(ReadSpec(answer.output.strip(), 1)).request
    assert (request.targets, request.geo_code) == (URLS, "de")
    assert request.to_wire()["Render"] == render


@pytest.mark.parametrize("name", [*RUN_OPTIONS, "idempotency_key", "run_id"])
@pytest.mark.parametrize("value", [None, True])
def test_run_option_in_a_request_file_is_refused_with_the_right_option(scrape_do, app_context, tmp_path, name, value):
    (tmp_path / "r.json").write_text(json.dumps({"targets": URLS, name: value}))
    answer = scrape_do("enqueue", "--request", tmp_path / "r.json")
    (line,) = [line for line in answer.output.splitlines() if line.startswith("Error: ")]
    option = line.rpartition(" ")[2]
    assert line == f"Error: the request file has options of the run ({name}): give them as {option}"
    assert answer.exit_code == 2
    assert option in [form for one in main.commands["enqueue"].params for form in one.opts]
    assert option.strip("-").startswith(name.replace("_", "-").rstrip("s"))
    assert app_context.published == []


def test_all_run_options_in_a_request_file_are_named(scrape_do, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps({"targets": URLS, "dedupe": True, "max_wait": 60}))
    answer = scrape_do("enqueue", "--request", tmp_path / "r.json", "--dedupe")
    assert "(dedupe, max_wait): give them as --dedupe, --max-wait" in answer.output


@pytest.mark.parametrize(
    ("targets", "text"),
    [("https://a.example/", "must be a list of URLs, not one string"), ({"url": "x"}, "not one dict; write [{...}]")],
)
def test_targets_of_a_file_that_are_no_list_are_named(scrape_do, tmp_path, targets, text):
    (tmp_path / "r.json").write_text(json.dumps({"targets": targets}))
    answer = scrape_do("enqueue", "--request", tmp_path / "r.json", URLS[1])
    assert text in answer.output
    (tmp_path / "r.json").write_text(json.dumps({"targets": None}))
    assert scrape_do("enqueue", "--request", tmp_path / "r.json", URLS[1]).exit_code == 0


def test_a_request_file_that_is_no_object(scrape_do, tmp_path):
    (tmp_path / "r.json").write_text("[]")
    assert scrape_do("enqueue", "--request", tmp_path / "r.json").exit_code == 2
    (tmp_path / "r.json").write_text("{")
    assert scrape_do("enqueue", "--request", tmp_path / "r.json").exit_code == 2


def test_one_key_for_two_requests(scrape_do):
    assert scrape_do("enqueue", URLS[0], "--idempotency-key", "k").exit_code == 0
    answer = scrape_do("enqueue", URLS[1], "--idempotency-key", "k")
    assert answer.exit_code == 1
    assert "IdempotencyConflictError" in answer.output


def test_status_and_cancel_of_a_waiting_run(scrape_do):
    run_id = scrape_do("enqueue", *URLS).output.strip()
    answer = scrape_do("status", run_id)
    assert answer.exit_code == 0
    assert "state        queued" in answer.output
    assert "waiting for  no worker has served the store" in answer.output
    assert "0 done, 0 failed, 2 in all" in answer.output
    assert "credits      0\ncreated      20" in answer.output
    assert "ended" not in answer.output
    answer = scrape_do("result", run_id, "--wait", 0.01)
    assert answer.exit_code == 3
    assert "is queued and has not ended" in answer.output
    assert scrape_do("cancel", run_id).output == "canceling\n"


def test_status_of_a_run_whose_encryption_key_is_elsewhere(scrape_do, ended, monkeypatch):
    run_id = ended()
    error = EncryptionKeyError("it is encrypted with key 5a1e88f0")
    monkeypatch.setattr(runs.RunHandle, "jobs", property(lambda _: (_ for _ in ()).throw(error)))
    answer = scrape_do("status", run_id)
    assert answer.exit_code == 0, answer.output
    assert "2 in all" in answer.output
    assert "5a1e88f0" in answer.output


def test_a_reader_who_has_read_enough_is_told_nothing(scrape_do, monkeypatch):
    def closed(_):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(runs, "RunHandle", closed)
    answer = scrape_do("status", "r")
    assert (answer.exit_code, answer.output) == (141, "")


def test_status_tells_what_a_run_waits_for(scrape_do, app_context):
    run_id = scrape_do("enqueue", *URLS).output.strip()
    part = app_context.store.keys.part(PartId(run_id, 0))
    app_context.store.client.hset(
        part, mapping={"api_failures": 2, "api_error": "AsyncAPIServerError: 503 for GET /jobs"}
    )
    app_context.store.client.set(app_context.store.keys.namespace_owner, "app")
    shown = scrape_do("status", run_id).output
    assert "API error    AsyncAPIServerError: 503 for GET /jobs\n" in shown
    assert "waiting for  a call of the API fails, and is repeated: AsyncAPIServerError: 503 for GET /jobs\n" in shown
    app_context.store.client.hset(part, "api_failures", 0)
    shown = scrape_do("status", run_id).output
    assert "API error" not in shown
    assert "waiting for" not in shown


def test_status_labels_a_refused_value_by_its_kind(scrape_do, app_context):
    """Show the error once, and not as one of the API. A part that waits for something else shows it beside the wait."""
    run_id = scrape_do("enqueue", *URLS).output.strip()
    part = app_context.store.keys.part(PartId(run_id, 0))
    fields = {"api_failures": 2, "api_error": "run r: the field spec is refused", "trouble": WaitKind.VALUE_REFUSED}
    app_context.store.client.hset(part, mapping=fields)
    app_context.store.client.set(app_context.store.keys.namespace_owner, "app")
    shown = scrape_do("status", run_id).output
    assert "waiting for  run r: the field spec is refused\n" in shown
    assert ("API error" in shown, shown.count("the field spec")) == (False, 1)
    app_context.store.client.delete(app_context.store.keys.namespace_owner)
    assert "refused value  run r: the field spec is refused\n" in scrape_do("status", run_id).output


def test_status_shows_words_that_this_version_does_not_know(scrape_do, app_context):
    run_id = scrape_do("enqueue", *URLS).output.strip()
    assert "unknown statuses" not in scrape_do("status", run_id).output
    app_context.store.client.hset(
        app_context.store.keys.part(PartId(run_id, 0)), "words", '["reticulating", "dr\\u001b[2Jawn"]'
    )
    assert "unknown statuses  reticulating, dr [2Jawn\n" in scrape_do("status", run_id).output


def test_result_of_a_run_that_succeeded(scrape_do, ended, tmp_path):
    run_id = ended(
        Status="error",
        StatusCode=0,
        Content="",
        ErrorMessage="no route",
        **{"Scrape.do": {}},
    )
    answer = scrape_do("result", run_id, "--out", tmp_path / "pages")
    assert answer.exit_code == 0, answer.output
    lines = answer.output.splitlines()
    assert lines[0].split() == list(output.TASK_COLUMNS)
    assert lines[2].split() == [URLS[0], "success", "200", "11", "1"]
    assert lines[3].split() == [URLS[1], "error", "-", "0", "-"]
    assert "outcome  succeeded" in answer.output
    assert answer.output.rstrip().endswith(f"to buy them again: scrape-do retry {run_id}")
    assert [(p.name, p.read_text()) for p in (tmp_path / "pages").iterdir()] == [("0001-a-example.txt", "<p>page</p>")]
    assert scrape_do("cancel", run_id).output == "nothing to cancel: the run ended as succeeded\n"


def test_result_with_all_pages_advises_no_retry(scrape_do, ended):
    answer = scrape_do("result", ended())
    assert (answer.exit_code, "retry" in answer.output) == (0, False)


@pytest.mark.parametrize(("gone", "text"), [(1, "2 total, 1 failed, 1 of them gone\n"), (0, "2 total, 1 failed\n")])
def test_gone_tasks_are_told_as_failed_ones(scrape_do, app_context, gone, text):
    run_id, store = runs.enqueue(URLS).run_id, app_context.store
    claim = store.run(ClaimPart(PartId(run_id, 0), "token", seconds=30, states=["queued"]))
    store.run(FinishPart(claim, "succeeded"))
    small = {"result": pack({"counts": {"total": 2, "failed": 1, "gone": gone}})}
    store.run(RecordOutcome(run_id, "succeeded", small))
    assert text in scrape_do("result", run_id).output


def test_output_names_pages_without_the_passwords_of_their_urls(scrape_do, ended, tmp_path):
    url = f"https://user:{SECRET}@b.example/x?token={SECRET}&y=1"
    run_id = ended(URL=url, Content="!", Base64EncodedContent=True)
    answer = scrape_do("result", run_id, "--out", tmp_path)
    assert "https://***@b.example/x?token=***&y=1  success" in answer.stdout
    assert "https://***@b.example/x?token=***&y=1: " in answer.stderr
    assert SECRET not in answer.output + " ".join(path.name for path in tmp_path.iterdir())


def test_result_of_a_run_that_failed(scrape_do, ended):
    error = JobFailedError(JobDetails(job_id="j1", status="error"))
    run_id = ended(error)
    answer = scrape_do("result", run_id)
    assert answer.exit_code == 1
    assert "error    JobFailedError: job j1 ended as error" in answer.output
    assert URLS[0] in answer.output
    assert "JobFailedError" in scrape_do("status", run_id).output


def test_unreadable_page_does_not_hide_the_others(scrape_do, ended, tmp_path):
    run_id = ended(Content="!", Base64EncodedContent=True)
    answer = scrape_do("result", run_id, "--out", tmp_path)
    assert answer.exit_code == 1
    assert "cannot be read as base64" in answer.stderr
    assert len(list(tmp_path.iterdir())) == 1


def test_a_record_that_goes_while_it_is_looked_at(scrape_do, monkeypatch):
    monkeypatch.setattr(RunHandle, "state", "queued")
    assert "was forgotten while the command read it" in scrape_do("result", "gone").output


@pytest.mark.parametrize("error", [RedisConnectionError("refused"), OSError("no route")])
def test_servers_that_do_not_answer(scrape_do, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(runs, "start_runs", fail)
    answer = scrape_do("enqueue", URLS[0])
    assert answer.exit_code == 1
    assert type(error).__name__ in answer.output


def test_files_are_named_for_their_pages(tmp_path):
    page = task(
        URL="https://x.example/a/../b?q=é", Content=base64.b64encode(b"\x89").decode(), Base64EncodedContent=True
    )
    assert file_name(7, page) == "0007-x-example-a-b.bin"
    assert write_page(tmp_path, 7, page).read_bytes() == b"\x89"
    assert file_name(1, task(URL="", ResponseHeaders={"content-type": "image/png; q=1"})) == "0001-page.png"
    assert write_page(tmp_path, 8, task(Content=None)) is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://user:[pw@shop.example/", "page"),
        ("https://[::1/", "page"),
        ("https://x.example\u2100/a", "page"),
        ("not a url", "not-a-url"),
        ("https://user:pw@shop.example:8443/a", "shop-example-8443-a"),
        ("https://" + "x" * 999, "x" * 80),
    ],
)
def test_a_page_is_written_whatever_its_url(tmp_path, url, name):
    page = task(URL=url, Content="<html>", ResponseHeaders={"Content-Type": ";/\0", "content-type": ""})
    assert write_page(tmp_path, 3, page) == tmp_path / f"0003-{name}.txt"
    assert (tmp_path / f"0003-{name}.txt").read_text() == "<html>"


def test_full_disk_leaves_the_earlier_page(tmp_path, monkeypatch):
    path = write_page(tmp_path, 1, task())

    def refuse(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_page(tmp_path, 1, task(Content="another page"))
    assert (path.read_text(), os.listdir(tmp_path)) == ("<p>page</p>", [path.name])  # noqa: PTH208 (names, not paths)


def test_control_characters_of_a_target_are_escaped():
    assert output.printable("a\x1b[2Jb\n  c\u202ed") == "a [2Jb c d"
    page = task(URL="https://x.example/\x1b", Status="error", Content="!", Base64EncodedContent=True)
    assert output.task_row(output.describe_task(1, page)) == ("https://x.example/ ", "error", "200", "-", "1")
    assert output.describe_task(1, task(Gone=True, gone=True))["status"] == "gone"


def test_a_terminal_gets_a_drawn_table(monkeypatch, capsys):
    monkeypatch.setattr(output.sys.stdout, "isatty", lambda: True, raising=False)
    output.print_rich_table(("URL", "n"), [("[red]x[/red]", "1")], left=1)
    drawn = capsys.readouterr().out
    assert "│" in drawn
    assert "[red]x[/red]" in drawn


RUN_ID = "3f1c0d52-5a0b-4e6e-9d0e-3b7d7c6f8a11"
LONG_URL = "https://shop.example/products/" + "x" * 90


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("cells", [(RUN_ID, "prices", "x" * 40), (RUN_ID, "-", "-"), (RUN_ID, "店" * 20, "-")])
def test_a_table_keeps_all_cells_whole_on_each_terminal(monkeypatch, capsys, width, cells):
    monkeypatch.setattr(output.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    output.print_rich_table(("run", "label", "state"), [cells])
    shown = capsys.readouterr().out
    assert all(cell in shown for cell in ("run", "label", "state", *cells))


@pytest.mark.parametrize(("width", "is_drawn"), [(80, True), (60, True), (45, False)])
def test_a_long_url_is_folded_while_the_other_cells_fit(monkeypatch, capsys, width, is_drawn):
    monkeypatch.setattr(output.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    output.print_rich_table(("URL", "status", "bytes"), [(LONG_URL, "success", "1,234")], folds_first=True)
    shown = capsys.readouterr().out
    assert ("│" in shown, LONG_URL in shown) == (is_drawn, not is_drawn)
    assert ("success" in shown, "1,234" in shown) == (True, True)


def test_settings_warning_is_one_line_without_a_traceback():
    code = "import warnings\nfrom scrape_do_celery.cli import main\nmain(['status', 'x'])"
    env = {"SCRAPE_DO_QUEU": "x", "SCRAPE_DO_REDIS_URL": "redis://127.0.0.1:1/0", "PATH": "", "PYTHONPATH": SOURCE}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (
        done.stderr.splitlines()[0]
        == "Warning: SCRAPE_DO_QUEU is not a setting and has no effect; did you mean SCRAPE_DO_QUEUE?"
    )
    assert "Error: the store at redis://127.0.0.1:1/0: Error 111" in done.stderr
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


def test_request_warning_is_one_line():
    code = "from scrape_do_celery.cli import main\nmain(['enqueue', 'https://a.example', '--timeout', '1'])"
    env = {"SCRAPE_DO_REDIS_URL": "redis://127.0.0.1:1/0", "PATH": "", "PYTHONPATH": SOURCE}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    warning, error = done.stderr.splitlines()
    assert warning == "Warning: timeout=1: the API probably refuses the job; give milliseconds from 5,000 to 120,000"
    assert error.startswith("Error: the store at redis://127.0.0.1:1/0")


def test_other_warnings_look_as_always(scrape_do, monkeypatch):
    shown = []

    def warn(*_, **__):
        import warnings

        shown.append(warnings.formatwarning("text", UserWarning, "file.py", 1))
        raise click.Abort

    monkeypatch.setattr(runs, "RunHandle", warn)
    scrape_do("status", "x")
    assert "file.py:1: UserWarning: text" in shown[0]


def test_the_plugin_uses_the_app_of_celery(app_context, monkeypatch):
    chosen = []
    monkeypatch.setattr(app_context.app, "set_current", lambda: chosen.append(app_context.app))
    context = type("Context", (), {"app": app_context.app})()
    answer = CliRunner().invoke(celery_plugin, ["status", "nope"], obj=context)
    assert "RunNotFoundError" in answer.output
    assert chosen == [app_context.app]
    assert sorted(celery_plugin.commands) == sorted(main.commands)


def test_the_command_line_loads_no_http_client():
    code = "import sys, scrape_do_celery.cli; sys.exit('httpx' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_the_sandbox_gets_what_it_was_told(monkeypatch):
    told = {}
    monkeypatch.setattr(server, "run", lambda host, port, **options: told.update(options, host=host, port=port) or 0)
    answer = CliRunner().invoke(main, ["sandbox", "--port", "0", "--task-seconds", "2", "--strict", "--token", "t"])
    assert answer.exit_code == 0
    assert told == {"host": "127.0.0.1", "port": 0, "task_seconds": 2.0, "strict": True, "token": "t"}


def test_the_sandbox_has_a_flag_for_each_option():
    flags = {parameter.name for parameter in main.commands["sandbox"].params}
    assert set(SandboxOptions.model_fields) - flags == {"webhook_ladder"}
    assert flags - set(SandboxOptions.model_fields) == {"host", "port"}


def test_an_option_that_the_sandbox_refuses_is_one_line():
    answer = CliRunner().invoke(main, ["sandbox", "--task-seconds", "-1"])
    assert answer.exit_code == 2
    assert answer.output.startswith("Error: task_seconds: ")


# doctor


@pytest.fixture
def healthy(app_context, monkeypatch):
    made = Store(DiagnosedRedis(), app_context.store.keys, app_context.store.where)
    monkeypatch.setattr(app_context, "store", made)
    monkeypatch.setattr(diagnostics, "check_workers", lambda *_: [])
    monkeypatch.setattr(doctor, "check_api", lambda *_: [])
    return app_context.store.client


def test_doctor_finds_a_healthy_pipeline_healthy(scrape_do, healthy):
    answer = scrape_do("doctor")
    assert answer.exit_code == 0, answer.output
    assert "SCRAPE_DO_API_KEY = **********" in answer.output
    assert "SCRAPE_DO_QUEUE = scrape_do (default)" in answer.output
    assert SECRET not in answer.output
    assert "ok       the broker answers at memory://" in answer.output


def test_doctor_ends_with_1_where_something_is_wrong(scrape_do, healthy):
    healthy.config["appendfsync"] = "everysec"
    assert scrape_do("doctor").exit_code == 0
    answer = scrape_do("doctor", "--strict")
    assert answer.exit_code == 1
    assert "warning  appendfsync is everysec" in answer.output
    healthy.facts["maxmemory_policy"] = "volatile-lru"
    answer = scrape_do("doctor")
    assert answer.exit_code == 1
    assert "wrong    maxmemory-policy is volatile-lru" in answer.output
    healthy.facts["cluster_enabled"] = 1
    answer = scrape_do("doctor")
    assert answer.exit_code == 1
    assert "wrong    SCRAPE_DO_REDIS_URL names a Redis Cluster" in answer.output


def test_doctor_checks_webhooks(scrape_do, app_context, healthy):
    values = {"webhook_base_url": "http://localhost:1/hooks", "webhooks": True}
    app_context.settings = app_context.settings.model_copy(update=values)
    answer = scrape_do("doctor", "--json")
    assert answer.exit_code == 0
    told = [one["text"] for one in json.loads(answer.output)["findings"] if one["level"] == "warning"]
    assert [text for text in told if "Scrape.do cannot reach localhost" in text]
    assert [text for text in told if "no receiver has taken a delivery" in text]
    answer = scrape_do("doctor", "--webhook")
    assert answer.exit_code == 1
    assert "wrong    --webhook needs SCRAPE_DO_WEBHOOK_KEYS" in answer.output


def test_doctor_warns_of_a_paused_schedule(scrape_do, app_context, healthy, monkeypatch):
    server = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    monkeypatch.setattr(healthy, "eval", server.eval)
    app_context.store.run(PauseSchedule("prices", is_paused=True))
    answer = scrape_do("doctor")
    assert "warning  the schedule 'prices' is paused since" in answer.output
    assert answer.exit_code == 0


def test_doctor_names_a_key_that_is_lacking(scrape_do, healthy):
    healthy.encryption_keys = [b"a1b2", time.time()]
    answer = scrape_do("doctor")
    assert answer.exit_code == 1
    assert "wrong    runs of the store are encrypted with key a1b2" in answer.output


def test_doctor_names_unknown_variables_and_a_missing_token(scrape_do, app_context, healthy, monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_QUEU", "x")
    app_context.settings = app_context.settings.model_copy(update={"api_key": None, "api_url": "http://api.example"})
    answer = scrape_do("doctor")
    assert "warning  SCRAPE_DO_API_URL: the API at http://api.example is not encrypted" in answer.output
    assert "warning  SCRAPE_DO_QUEU is not a setting" in answer.output
    assert "warning  SCRAPE_DO_API_KEY is not set" in answer.output


def test_doctor_tells_of_settings_that_cannot_work(clean_environment, monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_RESULT_TTL", "1")
    answer = CliRunner().invoke(main, ["doctor"])
    assert answer.exit_code == 1
    assert "wrong    SCRAPE_DO_RESULT_TTL" in answer.output


def test_doctor_names_what_a_foreign_app_can_lose(scrape_do, app_context, healthy):
    app_context.app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    answer = scrape_do("doctor")
    assert answer.exit_code == 0, answer.output
    assert "warning  worker_prefetch_multiplier is 4" in answer.output


class LargePages:
    """A client with a page limit, and one answer for each task."""

    answers: dict
    made: list

    def __init__(self, *_, **options):
        self.made.append(options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def get_task(self, _, task_id):
        answer = self.answers[task_id]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def large(monkeypatch):
    made = type("Made", (LargePages,), {"answers": {}, "made": []})
    monkeypatch.setattr("scrape_do_celery.client.ScrapeDoAsyncAPIClient", made)
    return made


def too_large(**fields):
    return {"Status": "error", "Content": None, "Scrape.do": {}, "too_large": True, **fields}


def test_a_page_that_was_too_large_is_fetched_again_once(scrape_do, ended, large, app_context, recorded_view):
    run_id = ended(**too_large())
    large.answers = {"t1": task(1)}
    answer = scrape_do("refetch", run_id, "--max-bytes", 7)
    assert recorded_view.shown == [("fetch again", 0, 1)]
    assert (answer.exit_code, large.made[0]["max_page_bytes"]) == (0, 7)
    assert "fetched  1" in answer.output
    part = app_context.store.run(ReadRun(run_id)).parts[0]
    assert (part.stored_ok, part.stored_failed, part.credits) == (2, 0, 2)
    assert [one.content for one in RunHandle(run_id).iter_tasks()] == ["<p>page</p>"] * 2
    assert "fetched  0" in scrape_do("refetch", run_id).output
    assert large.made[1]["max_page_bytes"] == 8 * app_context.settings.max_page_bytes
    command = ReplaceLargeContent(PartId(run_id, 0), 1, task(1))
    assert app_context.store.run(command) == 0


def test_page_that_cannot_be_refetched_is_unchanged(scrape_do, ended, large):
    run_id = ended(**too_large(URL=f"https://user:{SECRET}@b.example/"))
    for answer in (AsyncAPIGoneError("GET /x: 410 gone", 410), task(1, Status="pending")):
        large.answers = {"t1": answer}
        result = scrape_do("refetch", run_id)
        assert (result.exit_code, "failed   1" in result.output) == (1, True)
        assert "https://***@b.example/: " in result.output
    large.answers = {"t1": task(1, Status="error", Content=None, **{"Scrape.do": {}})}
    assert scrape_do("refetch", run_id).exit_code == 0
    assert RunHandle(run_id).status.failed == 1


def test_a_page_with_an_unknown_status_is_a_page(scrape_do, ended, large, app_context):
    run_id = ended(**too_large())
    large.answers = {"t1": task(1, Status="archived")}
    assert scrape_do("refetch", run_id).exit_code == 0
    assert RunHandle(run_id).status.done == 2


def test_refetch_needs_a_run_and_a_token(scrape_do, app_context, large, monkeypatch):
    assert "no run nope" in scrape_do("refetch", "nope").output
    monkeypatch.setattr(app_context, "settings", app_context.settings.model_copy(update={"api_key": None}))
    assert "SCRAPE_DO_API_KEY is not set" in scrape_do("refetch", "nope").output
