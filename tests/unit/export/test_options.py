"""Test the options of the export that follows a run, and the template of its destination."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from scrape_do_celery import ConfigurationError, enqueue_many, scheduled_run
from scrape_do_celery.export import extras, formats
from scrape_do_celery.export.options import TemplateValues, check_new_export, fill_template, make_safe_name, read_export
from scrape_do_celery.store import RunSpec

URLS = ["https://a.example/"]
TO = "/data/{time}.jsonl"
MOMENT = datetime(2026, 11, 30, 7, 0, 5, tzinfo=timezone(timedelta(hours=1)))


def fill(to, run_id="3f2a-b", schedule="prices"):
    return fill_template(to, TemplateValues(run_id, schedule, MOMENT))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (TO, {"to": TO}),
        ({"to": "s3://b/{run_id}/", "format": "csv"}, {"to": "s3://b/{run_id}/", "format": "csv"}),
        ({"to": TO, "format": None, "overwrite": False, "rows_per_shard": None, "content": True}, {"to": TO}),
        ({"to": r"C:\data\x.csv", "content": False}, {"to": r"C:\data\x.csv", "content": False}),
        ("abfs://box@account/x.csv", {"to": "abfs://box@account/x.csv"}),
    ],
)
def test_options_are_kept_without_their_defaults(given, expected):
    assert read_export(given) == expected
    assert read_export(read_export(given)) == expected


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (7, "export: to must be a text, not int"),
        (Path("/x.csv"), "export: to must be a text, not PosixPath"),
        ({"format": "csv"}, "export: to must be a text, not NoneType"),
        ("", "export: to must be printable"),
        ("/x\n.csv", "export: to must be printable"),
        ("/" + 2_000 * "x" + ".csv", "export: to must be printable and have 1 to 2,000 characters"),
        ("x.csv", "export: to must be a URL or an absolute path, because a worker"),
        ("../x.csv", "export: to must be a URL or an absolute path"),
        ("/{tick}.csv", "export: to has the unknown field 'tick'; use {run_id}, {schedule}, {time}, {date}"),
        ("/{run_id.__class__}.csv", "export: to has the unknown field 'run_id.__class__'"),
        ("/{run_id!r}.csv", "export: to has the unknown field"),
        ("/{}.csv", "export: to has the unknown field"),
        ("/{run_id.csv", "export: to has a brace that belongs to no field"),
        ("{run_id}://x/y.csv", "export: the scheme of the URL in to must be no field"),
        ("/x.pdf", "export: format: the destination has no suffix that names a format"),
        ({"to": TO, "format": "xml"}, "export: format must be one of jsonl, csv, parquet, warc, files, not 'xml'"),
        ({"to": TO, "contents": True}, "export has no option 'contents'; did you mean content?"),
        ({"to": TO, "partial": True}, "export has no option 'partial'"),
        ({"to": TO, "overwrite": "no"}, "export: overwrite must be True or False, not str"),
        ({"to": TO, "rows_per_shard": 0}, "export: rows_per_shard must be a whole number from 1"),
        ({"to": TO, "rows_per_shard": True}, "export: rows_per_shard must be a whole number from 1"),
        ({"to": "/x/", "format": "files", "content": False}, "export: content: the format files cannot leave"),
    ],
)
def test_wrong_option_is_named(given, fault):
    with pytest.raises(ValueError, match="export") as caught:
        RunSpec.from_arguments(URLS, export=given)
    assert str(caught.value).startswith(fault)


@pytest.mark.parametrize(
    "url",
    ["ftp://ann:hunter2secret@h/{time}.csv", "s3://b/{time}.csv?secret=hunter2secret", "abfs://a:hunter2secret@b/x/"],
)
def test_credentials_in_a_url_are_refused_and_not_shown(url):
    with pytest.raises(ValueError, match="holds credentials") as caught:
        read_export({"to": url, "format": "csv"})
    assert "hunter2" not in str(caught.value)


def test_fields_of_a_template():
    assert fill("s3://b/{schedule}/day={date}/{time}-{run_id}.csv") == (
        "s3://b/prices/day=2026-11-30/20261130T060005Z-3f2a-b.csv"
    )


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "a/b", "a\\b", "..", ".", "", "-rf", "x.exe", "ä", "a b", "n\0", 300 * "x", "%2F", "{time}"],
)
def test_no_name_leaves_its_folder_or_chooses_a_suffix(name):
    safe = make_safe_name(name)
    assert safe != name
    assert set(safe) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
    assert 0 < len(safe) <= 90
    assert safe[0] != "-"
    assert fill("/data/{schedule}/x.csv", schedule=name) == f"/data/{safe}/x.csv"


def test_changed_names_stay_different():
    assert len({make_safe_name(name) for name in ("a/b", "a_b", "a b", "a//b", "A_b")}) == 5


@pytest.mark.parametrize("to", ["/data/latest.csv", "/data/{date}.csv", "/data/{schedule}/{date}/x.csv"])
def test_runs_of_a_schedule_need_destinations_of_their_own(to):
    with pytest.raises(ValueError, match="each run of the schedule has the same destination"):
        scheduled_run("prices", 60, URLS, export=to)
    entry = scheduled_run("prices", 60, URLS, export={"to": to, "overwrite": True})
    assert entry["kwargs"]["request"]["export"] == {"to": to, "overwrite": True}


def test_an_entry_holds_the_checked_options_as_json():
    entry = scheduled_run("prices", 60, URLS, export=TO, tags=("a",), max_wait=5)
    assert entry["kwargs"]["request"] == {"targets": URLS, "export": {"to": TO}, "tags": ["a"], "max_wait": 5.0}
    assert "export" not in scheduled_run("prices", 60, URLS)["kwargs"]["request"]


def test_a_run_without_a_schedule_cannot_name_one(start_run, step_harness):
    for call in (
        lambda: start_run(URLS, export="/data/{schedule}.csv"),
        lambda: enqueue_many([URLS, URLS], export="/data/{schedule}.csv"),
        lambda: step_harness.app.tasks["scrape_do.scrape"].delay(URLS, export="/data/{schedule}.csv"),
    ):
        with pytest.raises(ValueError, match="schedule} in to is for schedules only"):
            call()
    assert step_harness.run_ids() == set()


@pytest.mark.parametrize(
    ("to", "package", "extra"),
    [
        ("/x/{time}.parquet", "pyarrow", "parquet"),
        ("/x/{time}.warc.gz", "warcio", "warc"),
        ("s3://b/x.csv", "fsspec", "fsspec"),
    ],
)
def test_missing_package_is_refused_before_anything_is_written(
    start_run, step_harness, monkeypatch, to, package, extra
):
    load = extras.import_module

    def import_module(name):
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return load(name)

    monkeypatch.setattr(extras, "import_module", import_module)
    with pytest.raises(ConfigurationError, match=rf"pip install 'scrape-do-celery\[{extra}\]'"):
        start_run(URLS, export=to)
    with pytest.raises(ConfigurationError, match=package):
        scheduled_run("prices", 60, URLS, export={"to": to, "overwrite": True})
    assert step_harness.run_ids() == set()
    assert RunSpec(RunSpec.from_arguments(URLS).request, export=to).export == {"to": to}, "a record stays readable"


def test_missing_package_of_a_service_is_named():
    with pytest.raises(ConfigurationError, match=r"cannot write to nothing://b/x\.csv: .*nothing"):
        check_new_export({"to": "nothing://b/x.csv"}, is_scheduled=False)


def test_format_names_are_those_of_the_formats():
    assert [one for one in formats.FORMATS if read_export({"to": "/x/", "format": one})] == list(formats.FORMATS)


def test_moment_of_a_template_is_in_utc():
    assert fill_template("/{time}", TemplateValues("r", "", datetime(2026, 1, 1, tzinfo=UTC))) == "/20260101T000000Z"
