"""Test the export that follows a run: whole, again after the death of a worker, and without a trace of secrets."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner
from log_records import own_records
from pydantic import SecretStr

from scrape_do_celery import retry_failed, routing, run_schedule, scheduled_run
from scrape_do_celery.cli import main
from scrape_do_celery.config import Settings
from scrape_do_celery.config.secrets import read_storage
from scrape_do_celery.errors import (
    ConfigurationError,
    EncryptionKeyError,
    NewerRecordError,
    ResultExpiredError,
    RunNotFoundError,
)
from scrape_do_celery.export import exporter, extras
from scrape_do_celery.export.options import make_safe_name
from scrape_do_celery.models.sendable import canonical_json
from scrape_do_celery.rules.exports import MAX_ATTEMPTS, ExportFault, ExportState, classify_fault, decide_retry_delay
from scrape_do_celery.runs import RunHandle
from scrape_do_celery.runs.exports import ExportRequest
from scrape_do_celery.runs.ticks import create_tick_run, read_tick_spec
from scrape_do_celery.steps import export as step
from scrape_do_celery.steps.deliver import deliver_run
from scrape_do_celery.steps.export import export_runs
from scrape_do_celery.steps.schedule import start_scheduled_run
from scrape_do_celery.store import Keys, PartId, Store
from scrape_do_celery.store.commands.creation import ScheduleTick
from scrape_do_celery.store.commands.exports import ClaimExport, UpdateExport
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ForgetRun, ReadRun
from scrape_do_celery.store.encryption import Encryptor
from scrape_do_celery.worker.dispatcher import Dispatcher

fsspec = pytest.importorskip("fsspec")
MemoryFileSystem = fsspec.get_filesystem_class("memory")
PAGES = [{"content": f"page {n}"} for n in range(3)]
LEASE = 30.0
SECRET = "hunter2-hunter2"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "pages.jsonl"


@pytest.fixture
def ended(make_run, target, step_harness):
    """Return the harness with an ended run whose export has not begun. Celery has its outcome."""
    make_run(PAGES, export=str(target))
    step_harness.run(AcknowledgeDelivery("r", "r", step_harness.app_context.retention))
    return step_harness


def run_export_step(step_harness, run_id="r", **options):
    async def handler(context, _):
        await export_runs(context, [run_id])

    step_harness.run_step(handler, None, **options)


def export(step_harness, run_id="r", **options):
    run_export_step(step_harness, run_id, **options)
    return step_harness.read_run(run_id)


def rows_in(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_pages_stay_until_the_export_has_ended(ended, target):
    contents = ended.keys.contents(PartId("r", 0))
    assert (ended.ttls()[contents], ended.run_fields()["waiting"]) == (None, "1")
    deliver_run(ended.app_context, "r")
    assert ended.step_messages() == [(routing.EXPORT_RUN, ["r"])]
    assert export(ended).export is ExportState.DONE
    assert [row["content"] for row in rows_in(target)] == ["page 0", "page 1", "page 2"]
    assert ended.ttls()[contents] is not None
    assert ended.due_parts() == {}
    status = RunHandle("r", app_context=ended.app_context).status
    assert status.export.to_json() == {"state": "done", "to": str(target), "rows": 3, "fault": None, "error": None}
    assert str(status.export) == f"done: 3 rows in {target}"
    deliver_run(ended.app_context, "r")
    assert ended.step_messages() == []


def test_export_and_delivery_may_end_in_any_order(make_run, step_harness, target):
    make_run(PAGES, export=str(target))
    assert export(step_harness).export is ExportState.DONE
    assert step_harness.due_parts().keys() == {"r:run"}, "an id of Celery still waits"
    step_harness.run(AcknowledgeDelivery("r", "r", step_harness.app_context.retention))
    assert step_harness.due_parts() == {}


def test_the_dispatcher_publishes_until_the_export_has_ended(ended):
    dispatcher = Dispatcher(ended.app_context)
    for _ in range(2):
        ended.clock.forward(200)
        dispatcher.dispatch_due()
        dispatcher._asking.join()
        assert ended.step_messages() == [(routing.EXPORT_RUN, ["r"])]
    export(ended)
    ended.clock.forward(1000)
    dispatcher.dispatch_due()
    assert ended.step_messages() == []


def test_the_step_is_registered(ended, target):
    ended.app.tasks[routing.EXPORT_RUN].run(["r", "unknown"])
    assert len(rows_in(target)) == 3


def test_a_run_without_export_has_no_field_of_it(step_harness):
    step_harness.create_run("plain")
    assert [name for name in step_harness.run_fields("plain") if "export" in name] == []
    assert step_harness.run_fields("plain")["waiting"] == "1"


def test_export_is_never_made_twice_at_once(ended, target):
    assert ended.run(ClaimExport("r", "other", LEASE)).attempts == 1
    assert export(ended).export is ExportState.WAITING
    assert not target.exists()
    ended.clock.forward(LEASE - 1)
    assert ended.run(ClaimExport("r", "other", LEASE)).attempts == 1, "a renewal is no attempt"
    ended.clock.forward(LEASE - 1)
    assert export(ended).export is ExportState.WAITING
    ended.clock.forward(2)
    assert export(ended).export is ExportState.DONE
    assert ended.run(ClaimExport("r", "other", LEASE)) is None


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "warc.gz"])
def test_a_file_that_a_dead_attempt_has_written_is_known(make_run, step_harness, tmp_path, suffix):
    """Let an attempt die between the name of its file and the note in the record."""
    target = tmp_path / f"pages.{suffix}"
    make_run(PAGES, export=str(target))
    RunHandle("r", app_context=step_harness.app_context).export(target)
    written = target.read_bytes()
    step_harness.run(ClaimExport("r", "dead", LEASE))
    assert step_harness.run(UpdateExport("r", "dead", ExportState.WRITING))
    step_harness.clock.forward(LEASE + 1)
    assert export(step_harness).export is ExportState.DONE
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [written]


@pytest.mark.parametrize(("deaths", "state"), [(MAX_ATTEMPTS - 1, "done"), (MAX_ATTEMPTS, "failed")])
def test_an_export_that_kills_its_workers_ends(ended, target, caplog, deaths, state):
    """Let workers die in the export, as without memory. Else it would kill a worker in each lease, for ever."""
    for number in range(deaths):
        assert ended.run(ClaimExport("r", f"dead {number}", LEASE))
        ended.clock.forward(LEASE + 1)
    record = export(ended)
    assert (record.export, target.exists(), ended.due_parts()) == (state, state == "done", {})
    if state == "failed":
        assert record.export_report["fault"] == "interrupted"
        assert "export_failed" in [one.event for one in own_records(caplog)]
        assert ended.ttls()[ended.keys.contents(PartId("r", 0))] is not None


def test_two_runs_with_one_destination_lose_no_page(make_run, step_harness, target, monkeypatch):
    """Let the second run export between the first note and the first row of the first run."""
    for run_id in ("r", "s"):
        make_run([{"content": f"page of {run_id}"}], run_id=run_id, export=str(target))
    write, runs = step.export_ended_run, iter(["s"])

    def write_between(handle, to, request):
        def check():
            for run_id in runs:
                write(RunHandle(run_id, app_context=step_harness.app_context), to, ExportRequest())

        return write(handle, to, replace(request, check=check))

    monkeypatch.setattr(step, "export_ended_run", write_between)
    record = export(step_harness)
    assert (record.export, record.export_report["fault"]) == (ExportState.FAILED, "exists")
    assert [row["content"] for row in rows_in(target)] == ["page of s"]


def test_a_foreign_file_stays_after_the_death_of_an_attempt(ended, target):
    ended.run(ClaimExport("r", "dead", LEASE))
    assert ended.run(UpdateExport("r", "dead", ExportState.WRITING))
    target.write_text("mine")
    ended.clock.forward(LEASE + 1)
    record = export(ended)
    assert (record.export, record.export_report["fault"]) == (ExportState.FAILED, "exists")
    assert target.read_text() == "mine"


def test_an_attempt_that_was_away_leaves_a_finished_folder_alone(make_run, step_harness, tmp_path, monkeypatch):
    """Let the file system hold an attempt before its first row, until another worker has finished the export."""
    make_run(PAGES, export={"to": f"{tmp_path}/x/", "format": "jsonl"})
    find, away, found = exporter._keep_shards, iter([1]), {}

    def keep(plan):
        kept = find(plan)
        for _ in away:
            RunHandle("r", app_context=step_harness.app_context).export(f"{tmp_path}/x/", format="jsonl")
            found.update({path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()})
            attempts[0].is_lost = True
        return kept

    attempts = []
    made = step._Attempt.write_files
    monkeypatch.setattr(step._Attempt, "write_files", lambda one, options: attempts.append(one) or made(one, options))
    monkeypatch.setattr(exporter, "_keep_shards", keep)
    export(step_harness)
    assert {"manifest.json", "shard-00001.jsonl"} == found.keys()
    assert {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()} == found


def test_a_step_that_dies_after_its_last_note_leaves_the_rest_to_the_dispatcher(ended, target):
    ended.run(ClaimExport("r", "dead", LEASE))
    assert ended.run(UpdateExport("r", "dead", ExportState.DONE, {"rows": 3}))
    assert ended.due_parts().keys() == {"r:run"}
    deliver_run(ended.app_context, "r", redelivery=True)
    assert (ended.due_parts(), ended.step_messages()) == ({}, [])
    assert export(ended).export is ExportState.DONE
    assert not target.exists()


def test_a_foreign_file_stays_and_the_outcome_too(ended, target, caplog):
    target.write_text("mine")
    record = export(ended)
    assert (record.export, record.export_report["fault"], record.outcome) == ("failed", "exists", "succeeded")
    assert target.read_text() == "mine"
    assert ended.due_parts() == {}
    (line,) = [one for one in own_records(caplog) if one.event == "export_failed"]
    assert (line.levelno, line.run_id) == (logging.ERROR, "r")
    assert "the export of run r has failed (exists): FileExistsError: pages.jsonl exists already" in line.getMessage()
    assert "scrape-do export r --to PATH" in line.getMessage()
    status = RunHandle("r", app_context=ended.app_context).status
    assert str(status.export).startswith("failed (exists): FileExistsError")


def test_overwrite_replaces_a_file_and_the_export_of_another_run(make_run, step_harness, tmp_path, target):
    target.write_text("old")
    make_run(PAGES, export={"to": str(target), "overwrite": True})
    assert export(step_harness).export is ExportState.DONE
    assert len(rows_in(target)) == 3
    folder = {"to": f"{tmp_path}/folder/", "format": "jsonl", "overwrite": True}
    for run_id in ("first", "second"):
        make_run(PAGES, run_id=run_id, export=folder)
        assert export(step_harness, run_id).export is ExportState.DONE
        assert json.loads((tmp_path / "folder" / "manifest.json").read_text())["run_id"] == run_id


def test_interrupted_folder_keeps_its_shards(make_run, step_harness, tmp_path, monkeypatch):
    """Let an attempt end after two shards, as a worker that dies; the next attempt writes the third one only."""
    make_run(PAGES, export={"to": f"{tmp_path}/x/", "format": "jsonl", "rows_per_shard": 1, "overwrite": True})
    deaths = iter([RuntimeError("dies")])

    def check(attempt):
        noted = tmp_path / "x" / "unfinished.json"
        if noted.exists() and len(json.loads(noted.read_bytes())["shards"]) == 2:
            for error in deaths:
                raise error

    monkeypatch.setattr(step._Attempt, "_check_claim", check)
    assert export(step_harness).export is ExportState.WAITING
    kept = {path.name: path.stat().st_ino for path in (tmp_path / "x").glob("shard-*")}
    assert len(kept) == 2
    step_harness.clock.forward(10)
    assert export(step_harness).export is ExportState.DONE
    found = {path.name: path.stat().st_ino for path in (tmp_path / "x").glob("shard-*")}
    assert len(found) == 3
    assert kept.items() <= found.items()


def test_failed_attempt_is_repeated_after_a_delay_and_not_for_ever(make_run, step_harness, caplog):
    make_run(PAGES, export="/dev/null/folder/x.jsonl")
    step_harness.run(AcknowledgeDelivery("r", "r", step_harness.app_context.retention))
    for attempt in range(1, MAX_ATTEMPTS + 1):
        record = export(step_harness)
        export(step_harness)
        assert int(step_harness.run_fields()["export_attempts"]) == attempt, "no attempt before its time"
        if attempt < MAX_ATTEMPTS:
            assert not record.export.has_ended
            step_harness.clock.forward(step_harness.due_parts()["r:run"] + 0.01)
    assert (record.export, record.outcome) == (ExportState.FAILED, "succeeded")
    assert record.export_report["fault"] == "destination"
    assert step_harness.due_parts() == {}
    events = [one.event for one in own_records(caplog)]
    assert (events.count("export_delayed"), events.count("export_failed")) == (MAX_ATTEMPTS - 1, 1)


def test_delays_grow_to_five_minutes_and_last_more_than_an_hour():
    delays = [decide_retry_delay(ExportFault.DESTINATION, n, lambda: 0.0) for n in range(1, MAX_ATTEMPTS)]
    assert (delays[0], delays[-1]) == (5.0, 300.0)
    assert delays == sorted(delays)
    assert sum(delays) > 3_600
    assert decide_retry_delay(ExportFault.DESTINATION, MAX_ATTEMPTS, lambda: 0.0) is None
    assert decide_retry_delay(ExportFault.EXISTS, 1, lambda: 0.0) is None


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (FileExistsError("x"), "exists"),
        (ResultExpiredError("x", "r"), "expired"),
        (EncryptionKeyError("x"), "key"),
        (ConfigurationError("x"), "package"),
        (OSError(28, "No space left on device"), "destination"),
        (RuntimeError("an error of a service"), "destination"),
    ],
)
def test_kind_of_an_error(error, fault):
    assert classify_fault(error) == fault


@pytest.fixture
def broken_storage(step_harness, monkeypatch):
    """Let each file of `memory://` raise an error that quotes the options of the storage. Return the given options."""
    options = {"Memory": {"key": SECRET, "client": {"password": f"{SECRET}-2"}}}
    step_harness.settings = step_harness.settings.model_copy(update={"export_storage": SecretStr(json.dumps(options))})
    step_harness.app_context.settings = step_harness.settings
    given = []

    class Broken(MemoryFileSystem):
        cachable = False

        def __init__(self, **options):
            given.append(options)
            super().__init__(**options)

        def _open(self, *_, **__):
            raise OSError(f"denied: {SECRET}, {SECRET}-2, https://ann:{SECRET}@h/?token={SECRET}")

    # fsspec shows its register by a proxy that nobody can change.
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "memory", Broken)
    return given


def test_secrets_of_a_storage_are_in_no_log_and_no_record(make_run, step_harness, broken_storage, caplog):
    caplog.set_level(logging.DEBUG)
    make_run(PAGES, export="memory://b/{run_id}.jsonl")
    record = export(step_harness)
    assert broken_storage == [{"key": SECRET, "client": {"password": f"{SECRET}-2"}}]
    assert record.export_report["error"] == "OSError: denied: ***, ***, https://***@h/?token=***"
    assert SECRET not in caplog.text
    assert SECRET not in repr(step_harness.settings)
    assert not any(SECRET.encode() in dump for dump in step_harness.dump_keys().values())


def test_an_error_of_an_export_leaves_no_options_in_its_frames(make_run, broken_storage):
    with pytest.raises(OSError, match="denied") as caught:
        make_run(PAGES).export("memory://b/x.jsonl")
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert len(frames) > 4
    # The frame of this test has the options, too.
    assert not any(SECRET in repr(frame.f_locals) for frame in frames[1:])


def test_run_without_pages_leaves_the_destination_alone(make_run, step_harness, target):
    target.write_text("the last good one")
    make_run([None], export={"to": str(target), "overwrite": True})
    assert export(step_harness).export is ExportState.EMPTY
    assert target.read_text() == "the last good one"
    assert str(RunHandle("r", app_context=step_harness.app_context).status.export) == "empty"


def test_expired_pages_fail_the_export_and_leave_no_file(ended, target):
    ended.redis.delete(ended.keys.contents(PartId("r", 0)))
    record = export(ended)
    assert (record.export, record.export_report["fault"]) == (ExportState.FAILED, "expired")
    assert list(target.parent.iterdir()) == []


def test_a_claim_that_is_lost_before_the_first_byte_writes_nothing(ended, target, monkeypatch, caplog):
    fill = step.fill_template

    def lose(*args):
        ended.clock.forward(LEASE + 1)
        assert ended.run(ClaimExport("r", "other", LEASE))
        return fill(*args)

    monkeypatch.setattr(step, "fill_template", lose)
    assert export(ended).export is ExportState.WAITING
    assert not target.exists()
    assert "export_interrupted" in [one.event for one in own_records(caplog)]
    assert not ended.run(UpdateExport("r", "dead", ExportState.DONE)), "an old token writes nothing"


def test_a_lost_lease_ends_the_writing_at_the_next_row(ended, target, monkeypatch):
    """Let the lease go while rows are written: the thread of the step must not write on beside another step."""
    ended.settings = ended.settings.model_copy(update={"lease_seconds": 0.5})
    began, lost = threading.Event(), threading.Event()
    check = step._Attempt._check_claim

    def wait(attempt):
        began.set()
        assert lost.wait(10)
        until = time.monotonic() + 10
        while not attempt.is_lost and time.monotonic() < until:
            time.sleep(0.005)
        check(attempt)

    monkeypatch.setattr(step._Attempt, "_check_claim", wait)

    def steal():
        began.wait(10)
        ended.redis.hset(ended.keys.run("r"), "export_token", "other")
        ended.redis.hset(ended.keys.run("r"), "export_until", f"{time.time() + 1000:.4f}")
        lost.set()

    thief = threading.Thread(target=steal)
    thief.start()
    export(ended)
    thief.join()
    assert not target.exists()


def test_forgotten_run_is_exported_first(ended, target):
    ended.run(ForgetRun("r"))
    assert ended.read_run() is not None
    export(ended)
    assert len(rows_in(target)) == 3
    assert ended.read_run() is None
    export(ended)


def test_a_run_that_is_freed_meanwhile_is_let_go(ended, target, monkeypatch, caplog):
    def free(*_, **__):
        ended.redis.delete(ended.keys.run("r"))
        raise RunNotFoundError("gone", "r")

    monkeypatch.setattr(step, "export_ended_run", free)
    run_export_step(ended)
    assert not target.exists()
    assert [one for one in caplog.records if one.levelno > logging.INFO] == []


def test_a_run_without_its_spec_is_let_go(ended, target):
    ended.redis.hdel(ended.keys.run("r"), "spec")
    assert export(ended).export is ExportState.WAITING
    assert not target.exists()


def test_a_worker_without_the_key_leaves_the_run_to_others(ended, target, caplog):
    ended.redis.hset(ended.keys.run("r"), "key", "0123456789abcdef")
    assert export(ended).export is ExportState.WAITING
    assert "export_attempts" not in ended.run_fields()
    assert [one.event for one in own_records(caplog) if one.levelno == logging.ERROR] == ["encryption_key_missing"]


def test_newer_record_is_left_alone(ended, target, caplog):
    ended.redis.hset(ended.keys.run("r"), "v", 99)
    with pytest.raises(NewerRecordError):
        ended.run(ClaimExport("r", "t", LEASE))
    step_of = ended.app.tasks[routing.EXPORT_RUN].run
    step_of(["r"])
    ended.redis.hdel(ended.keys.run("r"), "v")
    assert ended.read_run().export is ExportState.WAITING


def test_store_that_is_away_costs_no_attempt_and_no_trace(ended, target, caplog):
    export(ended, broken="claim_export")
    assert "export_attempts" not in ended.run_fields()
    assert export(ended, broken="update_export").export is ExportState.DONE
    (line,) = [one for one in own_records(caplog) if one.event == "export_interrupted"]
    assert line.exc_info is None


def test_report_is_encrypted(ended):
    keys = Keys("p", Encryptor([b"k" * 32], allow_plain=True))
    store = Store(ended.redis, keys)
    store.run(ClaimExport("r", "t", LEASE))
    store.run(UpdateExport("r", "t", ExportState.DONE, {"to": "/data/private.csv", "rows": 1}))
    assert b"private" not in ended.redis.hget(ended.keys.run("r"), "export_report")
    assert store.run(ReadRun("r")).export_report == {"to": "/data/private.csv", "rows": 1}
    assert ended.read_run().unreadable is not None, "a process without the key cannot read the report"


def tick_run(step_harness, options, **tick):
    entry = scheduled_run("shop/prices", 3600, ["https://shop.example/0"], **options)["kwargs"]
    named = ScheduleTick(entry["name"], "1796018400", "skip", rule=canonical_json(entry["rule"]), **tick)
    return create_tick_run(
        step_harness.app_context, named, read_tick_spec(step_harness.app_context, entry["name"], entry["request"])
    )


def test_destination_of_a_tick_names_the_schedule_and_the_time(step_harness, tmp_path, end_scheduled):
    made = tick_run(step_harness, {"export": f"{tmp_path}/{{schedule}}/{{date}}/{{time}}-{{run_id}}.csv"})
    end_scheduled(made.run_id)
    assert export(step_harness, made.run_id).export is ExportState.DONE
    (path,) = (path for path in tmp_path.rglob("*.csv"))
    schedule = make_safe_name("shop/prices")
    day = f"{datetime.fromtimestamp(1796018400, UTC):%Y-%m-%d}"
    assert path.relative_to(tmp_path).parts == (schedule, day, f"{day.replace('-', '')}T060000Z-{made.run_id}.csv")


def test_run_beside_the_ticks_has_a_time_of_its_own(step_harness, tmp_path, end_scheduled):
    made = tick_run(step_harness, {"export": f"{tmp_path}/{{time}}.csv"}, command_id="c")
    end_scheduled(made.run_id)
    record = export(step_harness, made.run_id)
    created = f"{datetime.fromtimestamp(record.created, UTC):%Y%m%dT%H%M%SZ}"
    assert [path.name for path in tmp_path.iterdir()] == [f"{created}.csv"]


@pytest.mark.parametrize("text", ["no JSON", '["s3"]', '{"s3": "hunter2"}'])
def test_wrong_options_of_a_storage_are_refused_without_their_values(clean_environment, text):
    with pytest.raises(ConfigurationError, match="SCRAPE_DO_EXPORT_STORAGE: should be JSON") as caught:
        Settings(export_storage=text)
    assert "hunter2" not in str(caught.value)
    assert read_storage(Settings(export_storage={"S3": {"key": "k"}}).export_storage) == {"s3": {"key": "k"}}


def test_a_tick_without_the_package_makes_no_run(step_harness, monkeypatch, caplog):
    entry = scheduled_run("prices", 3600, ["https://a.example/"], export="/x/{time}.parquet")["kwargs"]

    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(extras, "import_module", refuse)
    tick = ScheduleTick("prices", "1796018400", "skip")
    with pytest.raises(ConfigurationError, match="pip install"):
        start_scheduled_run(step_harness.app_context, tick, entry["request"])
    assert step_harness.run_ids() == set()
    assert "tick_refused" in [one.event for one in own_records(caplog)]


def test_a_retry_of_a_scheduled_run_has_no_export(step_harness, fetch_run, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)
    made = tick_run(step_harness, {"export": "/data/{schedule}/{time}.csv"})
    fetch_run([{"status": "error"}], made.run_id)
    again = retry_failed(made.run_id)
    assert again.run_id != made.run_id
    assert again.status.export is None


def test_a_schedule_run_by_hand_is_exported(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)
    entry = scheduled_run("prices", 3600, ["https://shop.example/0"], export="/data/{schedule}/{time}.csv")
    step_harness.app.conf.beat_schedule = {"prices": entry}
    assert RunHandle(run_schedule("prices").run_id).status.export.to_json()["state"] == "waiting"


def test_command_enqueues_and_shows_an_export(start_run, step_harness, tmp_path):
    del start_run  # the fixture gives the command its app
    done = CliRunner().invoke(main, ["enqueue", "https://shop.example/0", "--export", f"{tmp_path}/{{run_id}}.jsonl"])
    assert done.exit_code == 0, done.output
    run_id = done.output.strip()
    assert CliRunner().invoke(main, ["status", run_id]).output.count("export") == 1
    wrong = CliRunner().invoke(main, ["enqueue", "https://shop.example/0", "--export", "pages.jsonl"])
    assert wrong.exit_code != 0
    assert "export: to must be a URL or an absolute path" in wrong.output
