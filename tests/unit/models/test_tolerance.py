"""Test which odd values of an answer are read, which take the default, and which make the answer unreadable."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scrape_do_celery.models import (
    STATUS_SPELLINGS,
    JobCreationResponse,
    JobDetails,
    JobFailedError,
    JobsListResponse,
    JobStatus,
    TaskDetails,
    TaskFailedError,
    UserInformation,
    WireModel,
    collect_defaults,
    is_known_status,
    parse_answer,
    read_id,
    read_status,
    same_id,
)
from scrape_do_celery.models.parsing import MAX_DEPTH, plain_json
from scrape_do_celery.models.wire import wire_name
from scrape_do_celery.store.codec import pack_task, unpack_task

MOMENT = "2026-11-22T09:14:03Z"
NOON = datetime(2026, 11, 22, 9, 14, 3, tzinfo=UTC)
TASK: dict[str, Any] = {
    "TaskID": "t1",
    "JobID": "j1",
    "URL": "https://shop.example/p/1",
    "Status": "success",
    "StartTime": MOMENT,
    "EndTime": MOMENT,
    "UpdateTime": MOMENT,
    "ExpiresAt": MOMENT,
    "Base64EncodedContent": False,
    "StatusCode": 200,
    "ResponseHeaders": {"Content-Type": "text/html"},
    "Scrape.do": {"Request-Cost": "25"},
    "Content": "<html>",
    "ErrorMessage": "",
    "WebhookURL": "https://hooks.example/scrape",
    "WebhookStatus": "failed",
    "WebhookRequestTime": MOMENT,
    "TraceID": "tr-9",
}
ENTRY: dict[str, Any] = {"TaskID": "t1", "URL": "https://shop.example/p/1", "Status": "success"}
JOB: dict[str, Any] = {
    "JobID": "j1",
    "TaskIDs": ["t1", "t2"],
    "Status": "pending",
    "StartTime": MOMENT,
    "EndTime": MOMENT,
    "AcquiredConcurrency": 2,
    "LimitConcurrency": 5,
    "Canceled": True,
    "Tasks": [ENTRY, {**ENTRY, "TaskID": "t2"}],
}
PAGE: dict[str, Any] = {"Jobs": [JOB], "TotalCount": 3, "PageSize": 10, "PageNumber": 1, "TotalPages": 2}
MADE: dict[str, Any] = {"JobID": "j1", "TaskIDs": ["t1", "t2"], "Message": "accepted"}
ME: dict[str, Any] = {"TotalConcurrency": 1, "FreeConcurrency": 2, "ActiveJobs": 3, "AvaliableCredits": 4}
ANSWERS: dict[type[WireModel], dict[str, Any]] = {
    TaskDetails: TASK,
    JobDetails: JOB,
    JobsListResponse: PAGE,
    JobCreationResponse: MADE,
    UserInformation: ME,
}

LOST = object()
"""Stands for a value that cannot be read: the field has its default, and is counted."""
DEEP = json.loads("[" * 150 + "]" * 150)
HUGE = 10**400
WORDS = [("x" * 100_000, "x" * 100_000), (None, ""), ("", ""), (5, LOST), (True, LOST), ([], LOST), ({}, LOST)]
TEXTS = [
    (None, None),
    ("", ""),
    ("x" * 100_000, "x" * 100_000),
    (5, "5"),
    (False, "false"),
    (["a", None], '["a", null]'),
    ({"a": "ü"}, '{"a": "ü"}'),
]
COUNTS = [
    (None, 0),
    ("", 0),
    (7, 7),
    ("7", 7),
    (" 7 ", 7),
    ("7.9", 7),
    (7.9, 7),
    ("1e3", 1000),
    (2**63 - 1, 2**63 - 1),
    (str(2**63 - 1), 2**63 - 1),
    *((value, LOST) for value in (2**63, HUGE, "9" * 5_000, -1, "-1", True, math.inf, -math.inf, math.nan)),
    *((value, LOST) for value in ("NaN", "inf", "many", [7], {}, [], DEEP)),
]
BALANCES = [
    *((value, expected) for value, expected in COUNTS if value not in (-1, "-1")),
    *((-1, -1), ("-1", -1), (-1.5, -2), (-(2**63), LOST)),
]
FLAGS = [
    (None, False),
    ("", False),
    *((value, True) for value in (True, 1, 1.0, "true", "True", " TRUE ", "yes", "1", "on")),
    *((value, False) for value in (False, 0, "false", "FALSE ", "no", "0", "off")),
    *((value, LOST) for value in (2, -1, "maybe", [], [True], {}, math.nan, HUGE, DEEP)),
]
TIMES = [
    (None, None),
    ("", None),
    ("0001-01-01T00:00:00Z", None),
    ("0001-01-01T00:00:00", None),
    ("1970-01-01T00:00:00Z", None),
    ("9999-12-31T23:59:59Z", None),
    (0, None),
    ("0", None),
    ("2026-11-22T09:14:03", NOON),
    ("2026-11-22T09:14:03.000000000Z", NOON),
    ("2026-11-22T12:14:03+03:00", NOON),
    ("2026-11-22 09:14:03", NOON),
    ("2026-11-22 09:14:03.000000001 +0000 UTC", NOON),
    ("2026-11-22 09:14:03 +0000 UTC m=+0.1", NOON),
    (" 2026-11-22T09:14:03Z ", NOON),
    ("Sun, 22 Nov 2026 09:14:03 GMT", NOON),
    ("2126-11-22T09:14:03Z", NOON.replace(year=2126)),
    *((NOON.timestamp() * factor, NOON) for factor in (1, 1e3, 1e6, 1e9)),
    (int(NOON.timestamp()), NOON),
    (str(int(NOON.timestamp())), NOON),
    *((value, LOST) for value in (True, 5, -5, 1e30, HUGE, math.nan, math.inf, "5", "soon", "2026-13-40")),
    *((value, LOST) for value in ("0000-00-00T00:00:00Z", "12026-11-22T09:14:03Z", "x" * 100_000, "nan", "1e999")),
    *((value, LOST) for value in ([], {}, [MOMENT], DEEP)),
]
HEADERS = [
    (None, {}),
    ({}, {}),
    ([], {}),
    ({"A": ["1", None, 2]}, {"A": ["1", "2"]}),
    ({"A": None, "B": 2, "C": True}, {"B": "2", "C": "true"}),
    ({"A": {"b": 1}}, {"A": '{"b": 1}'}),
    ({"A": "x" * 9_000}, {"A": "x" * 9_000}),
    ([["A", "1"], ["B", "2"], ["A", "3"], None], {"A": ["1", "3"], "B": "2"}),
    ([{"name": "A", "value": "1"}, {"Key": "A", "Values": ["2", "3"]}], {"A": ["1", "2", "3"]}),
    *((value, LOST) for value in ("", "A: 1", 5, True, [5], [["A"]], [[1, "A"]], [{"a": 1}], math.nan)),
]
TELEMETRY = [
    (None, {}),
    ({"Request-Cost": 2.5, "Cached": False, "None": None}, {"Request-Cost": "2.5", "Cached": "false"}),
    ({"A": ["1", "2"]}, {"A": "1, 2"}),
    ([["A", "1"], ["A", "2"]], {"A": "1, 2"}),
    *((value, LOST) for value in ("A: 1", 5, [5])),
]
LISTS = [(None, []), ([], []), *((value, LOST) for value in ("t1", 5, True, {}, {"TaskID": "t1"}, math.inf))]
FIELDS: list[tuple[type[WireModel], str, list[tuple[Any, Any]]]] = [
    (TaskDetails, "url", WORDS),
    *((TaskDetails, f"{name}_time", TIMES) for name in ("start", "end", "update", "webhook_request")),
    (TaskDetails, "expires_at", TIMES),
    (TaskDetails, "base64_encoded_content", FLAGS),
    (TaskDetails, "status_code", COUNTS),
    (TaskDetails, "response_headers", HEADERS),
    (TaskDetails, "scrape_do_metadata", TELEMETRY),
    *((TaskDetails, name, TEXTS) for name in ("error_message", "webhook_url", "webhook_status", "trace_id")),
    *((JobDetails, name, TIMES) for name in ("start_time", "end_time")),
    *((JobDetails, name, COUNTS) for name in ("acquired_concurrency", "limit_concurrency")),
    (JobDetails, "canceled", FLAGS),
    *((model, "task_ids", LISTS) for model in (JobDetails, JobCreationResponse)),
    (JobDetails, "tasks", LISTS),
    (JobCreationResponse, "message", TEXTS),
    (JobsListResponse, "jobs", LISTS),
    *((JobsListResponse, name, COUNTS) for name in ("total_count", "page_size", "page_number", "total_pages")),
    *((UserInformation, name, COUNTS) for name in ("total_concurrency", "free_concurrency", "active_jobs")),
    (UserInformation, "available_credits", BALANCES),
]
WIRE = {"scrape_do_metadata": "Scrape.do", "available_credits": "AvaliableCredits"}
CASES = [
    pytest.param(model, name, value, expected, id=f"{model.__name__}-{name}-{str(value)[:24]}")
    for model, name, table in FIELDS
    for value, expected in table
]


def wire(name: str) -> str:
    return WIRE.get(name, wire_name(name))


def others(model: WireModel, name: str) -> dict[str, Any]:
    return {field: value for field, value in model if field != name}


def default(model: type[WireModel], name: str) -> Any:
    return model.model_fields[name].get_default(call_default_factory=True)


def raw_json(data: Any) -> bytes:
    # The text of a huge number is longer than Python's own limit.
    return json.dumps(data).encode()


@pytest.mark.parametrize(("model", "name", "value", "expected"), CASES)
def test_an_odd_value_touches_no_other_field(model, name, value, expected):
    good = model.model_validate(ANSWERS[model])
    data = {**ANSWERS[model], wire(name): value}
    for read in (model.from_answer, model.model_validate):
        with collect_defaults() as found:
            odd = read(data)
        assert getattr(odd, name) == (default(model, name) if expected is LOST else expected)
        assert others(odd, name) == others(good, name)
        assert found == ([(model.__name__, name)] if expected is LOST else [])
        assert json.loads(json.dumps(odd.to_wire(), allow_nan=False)) == odd.to_wire()
        assert model.model_validate(odd.to_wire()) == odd
    with collect_defaults() as found:
        assert model.from_answer(raw_json(data)) == odd
    assert found == ([(model.__name__, name)] if expected is LOST else [])


@pytest.mark.parametrize(("model", "name"), [(model, name) for model, name, _ in FIELDS])
def test_a_missing_field_is_its_default_and_not_counted(model, name):
    data = {key: value for key, value in ANSWERS[model].items() if key != wire(name)}
    with collect_defaults() as found:
        odd = model.from_answer(raw_json(data))
    assert getattr(odd, name) == default(model, name)
    assert found == []


@pytest.mark.parametrize("value", ["[" * 50_000 + "]" * 50_000, '{"a":' * 50_000 + "1" + "}" * 50_000, "9" * 5_000])
@pytest.mark.parametrize(
    ("model", "name"),
    [(model, name) for model, name, table in FIELDS if table is not TEXTS and name != "response_headers"],
)
def test_a_value_beyond_the_parser_costs_only_its_field(model, name, value):
    data = {key: held for key, held in ANSWERS[model].items() if key != wire(name)}
    raw = f"{json.dumps(data)[:-1]},{json.dumps(wire(name))}:{value}}}"
    if name == "scrape_do_metadata" and value.startswith("{"):
        assert TaskDetails.from_answer(raw).scrape_do_metadata["a"].startswith('{"a"')
        return
    with collect_defaults() as found:
        odd = model.from_answer(raw)
    assert others(odd, name) == others(model.model_validate(data), name)
    assert getattr(odd, name) == default(model, name)
    assert set(found) <= {(model.__name__, name), (model.__name__, f"{name}[]")}
    assert found


def test_deeply_nested_text_or_unknown_field_is_harmless():
    deep = "[" * 50_000 + "]" * 50_000
    raw = json.dumps(TASK)[:-1] + f',"ErrorMessage":{deep},"New":{deep}}}'
    task = TaskDetails.from_answer(raw)
    assert task.error_message is not None
    assert task.error_message.count("[") == 50_000
    assert task.content == "<html>"


# --- ids ---------------------------------------------------------------------------------------------------------

GOOD_IDS = ["t", "t1", "...", ".a", "..a", "a.", "%2e%2e", "a/b?c#d", "x" * 200, "~!", 7, 0]
BAD_IDS = [
    *(None, "", ".", "..", " ", "a b", " a", "a\n", "a\t", "ü", "a\x7f", "\x00", "x" * 201, "\ud800"),
    *(True, -1, 2**63, 1.5, math.nan, [], ["t1"], {}, {"TaskID": "t1"}),
]


@pytest.mark.parametrize("value", GOOD_IDS)
def test_an_id_that_is_accepted(value):
    assert read_id(value) == str(value)
    assert TaskDetails.model_validate({**TASK, "TaskID": value}).task_id == str(value)
    assert JobDetails.model_validate({**JOB, "JobID": value}).job_id == str(value)
    assert JobDetails.model_validate({**JOB, "TaskIDs": [value]}).task_ids == [str(value)]
    tasks = JobDetails.model_validate({**JOB, "Tasks": [{**ENTRY, "TaskID": value}]}).tasks
    assert [task.task_id for task in tasks] == [str(value)]


@pytest.mark.parametrize("value", BAD_IDS, ids=lambda value: str(value)[:20].encode("ascii", "replace").decode())
def test_an_id_that_is_refused(value):
    with pytest.raises(ValueError, match="an id must be"):
        read_id(value)
    for model, key in ((TaskDetails, "TaskID"), (TaskDetails, "JobID"), (JobDetails, "JobID")):
        with pytest.raises(ValidationError):
            model.model_validate({**ANSWERS[model], key: value})
    with pytest.raises(ValidationError):
        JobCreationResponse.from_answer({**MADE, "JobID": value})
    for name, model in (("task_ids", JobDetails), ("task_ids", JobCreationResponse)):
        with collect_defaults() as found:
            odd = model.model_validate({**ANSWERS[model], "TaskIDs": ["t1", value, "t2"]})
        assert odd.task_ids == ["t1", "t2"]
        assert odd.dropped == 1
        assert found == [(model.__name__, f"{name}[]")]
    with collect_defaults() as found:
        odd = JobDetails.model_validate({**JOB, "Tasks": [ENTRY, {**ENTRY, "TaskID": value}]})
    assert [task.task_id for task in odd.tasks] == ["t1"]
    assert found == [("JobDetails", "tasks[]")]
    with collect_defaults() as found:
        page = JobsListResponse.model_validate({**PAGE, "Jobs": [{**JOB, "JobID": value}, JOB]})
    assert [job.job_id for job in page.jobs] == ["j1"]
    assert found == [("JobsListResponse", "jobs[]")]
    assert (page.dropped, page.is_complete) == (1, False)


@given(st.text(max_size=8) | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x80), max_size=202))
def test_all_doors_agree_on_ids(value):
    try:
        read_id(value)
    except ValueError:
        with pytest.raises(ValidationError):
            JobDetails(job_id=value, status="queued")
        assert JobDetails(job_id="j", status="queued", task_ids=[value]).task_ids == []
    else:
        job = JobDetails(job_id=value, status="queued", task_ids=[value])
        assert (job.job_id, job.task_ids) == (value, [value])


def test_letter_case_of_ids_does_not_count():
    assert same_id("AbC-1", "aBc-1")
    assert not same_id("a", "b")
    job = JobDetails.model_validate({**JOB, "TaskIDs": ["A", "b", "a", "B", "c"], "Tasks": [{**ENTRY, "TaskID": "a"}]})
    assert job.task_ids == ["A", "b", "c"]
    assert job.tasks[0].task_id == "A"
    assert JobCreationResponse(job_id="j", task_ids=["A", "a"]).task_ids == ["A"]
    assert job.dropped == 0


def test_ids_that_only_the_tasks_name_are_named_too():
    job = JobDetails.model_validate({**JOB, "TaskIDs": ["t1"], "Tasks": [{**ENTRY, "TaskID": "t3"}, ENTRY]})
    assert job.named_task_ids == ["t1", "t3"]


@pytest.mark.parametrize(
    ("statuses", "kept"),
    [
        (["pending", "success"], "success"),
        (["success", "pending"], "success"),
        (["error", "success"], "error"),
        (["pending", "rotating"], "pending"),
        (["brand-new", "canceled", "success"], "canceled"),
    ],
)
def test_first_terminal_entry_of_a_repeated_task_wins(statuses, kept):
    tasks = [{**ENTRY, "TaskID": ("t1", "T1")[n % 2], "Status": status} for n, status in enumerate(statuses)]
    job = JobDetails.model_validate({**JOB, "Tasks": [*tasks, {**ENTRY, "TaskID": "t2"}]})
    assert [(task.task_id, task.status) for task in job.tasks] == [("t1", kept), ("t2", "success")]


def test_a_hundred_thousand_ids_are_read_in_a_moment():
    ids = [f"t{n}" for n in range(100_000)]
    job = JobDetails.from_answer(raw_json({**JOB, "TaskIDs": [*ids, *ids, " "]}))
    assert len(job.task_ids) == 100_000
    assert job.dropped == 1


# --- the answer to a question ------------------------------------------------------------------------------------


@pytest.mark.parametrize("absent", [None, "", LOST])
def test_a_missing_id_means_the_one_that_was_asked(absent):
    def without(data: dict[str, Any]) -> dict[str, Any]:
        return {
            key: absent if key in {"JobID", "TaskID"} else value
            for key, value in data.items()
            if absent is not LOST or key not in {"JobID", "TaskID"}
        }

    task = TaskDetails.from_answer(raw_json(without(TASK)), job_id="j1", task_id="t1")
    assert task == TaskDetails.model_validate(TASK)
    assert JobDetails.from_answer(raw_json(without(JOB)), job_id="j1") == JobDetails.model_validate(JOB)
    with pytest.raises(ValidationError, match="JobID"):
        TaskDetails.from_answer(raw_json(without(TASK)), task_id="t1")
    with pytest.raises(ValidationError, match="JobID"):
        JobDetails.from_answer(raw_json(without(JOB)))


def test_another_id_than_the_one_asked_for_is_refused():
    with pytest.raises(ValueError, match="about another job"):
        JobDetails.from_answer(raw_json(JOB), job_id="j2")
    with pytest.raises(ValueError, match="about another job"):
        TaskDetails.from_answer(TASK, job_id="j2", task_id="t1")
    with pytest.raises(ValueError, match="about another task"):
        TaskDetails.from_answer(raw_json(TASK), job_id="j1", task_id="t2")


def test_ids_come_back_as_they_were_asked_for():
    task = TaskDetails.from_answer(raw_json(TASK), job_id="J1", task_id="T1")
    assert (task.job_id, task.task_id) == ("J1", "T1")
    assert JobDetails.from_answer(JOB, job_id="J1").job_id == "J1"
    assert TaskDetails.from_answer({**TASK, "TaskID": 7}, task_id="7").task_id == "7"


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b"5", b"null", b'"text"', b"{", b"\xff\xfe", b"[" * 100_000])
@pytest.mark.parametrize("model", ANSWERS)
def test_value_other_than_object_is_refused(model, raw):
    with pytest.raises(ValueError):  # noqa: PT011 (each parser has its own error text)
        model.from_answer(raw)


def test_an_answer_cannot_set_what_only_we_know():
    claims = {"Gone": True, "TooLarge": True, "Unreadable": True, "GivenUp": True}
    claims |= dict.fromkeys(("gone", "too_large", "unreadable", "given_up"), True)
    for data in ({**TASK, **claims}, {"task_id": "t1", "job_id": "j1", "status": "success", **claims}):
        for raw in (data, raw_json(data)):
            task = TaskDetails.from_answer(raw)
            assert (task.gone, task.too_large, task.unreadable) == (False, False, False)


def test_ours_survive_the_store_and_the_wire():
    task = TaskDetails.model_validate(TASK).model_copy(update={"too_large": True, "unreadable": True, "gone": True})
    assert unpack_task(pack_task(task)) == task
    assert TaskDetails.model_validate(task.to_wire()) == task


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"Content": None}, True),
        ({"Status": "error"}, False),
        ({"Status": "rotating"}, False),
        ({"Status": "error", "Unreadable": True}, True),
        ({"Status": "error", "Unreadable": True, "Content": ""}, False),
        ({"Status": "brand-new"}, True),
        ({"Status": "brand-new", "Content": None}, False),
    ],
)
def test_has_page(changes, expected):
    assert TaskDetails.model_validate({**TASK, **changes}).has_page is expected


# --- states ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [*JobStatus, *STATUS_SPELLINGS])
def test_known_words_are_known_in_every_spelling(status):
    meant = STATUS_SPELLINGS.get(status, status)
    for word in (status, status.upper(), status.title(), f" {status}\n", "_".join([status[:2], status[2:]])):
        assert read_status(word) is JobStatus(meant)
        assert is_known_status(word)
        assert TaskDetails.model_validate({**TASK, "Status": word}).status is JobStatus(meant)
        job = JobDetails.model_validate({**JOB, "Status": word, "Tasks": [{**ENTRY, "Status": word}]})
        assert (job.status, job.tasks[0].status) == (meant, meant)


@pytest.mark.parametrize(
    "word", ["done", "finished", "Aborted", "cancel_sent_at", "expired", "Brand New", "success!", "0"]
)
def test_other_words_are_kept_as_they_came(word):
    assert read_status(f" {word} ") == word
    assert not is_known_status(word)
    task = TaskDetails.model_validate({**TASK, "Status": f" {word}\n"})
    assert (task.status, task.is_terminal) == (word, False)
    assert unpack_task(pack_task(task)) == task


def test_a_long_word_is_cut():
    assert read_status("x" * 100_000) == "x" * 100


@pytest.mark.parametrize(
    "status", [None, LOST, "", "  ", 5, True, [], ["success"], {}, {"Status": "success"}, math.nan]
)
def test_a_status_that_is_no_word_makes_the_answer_unreadable(status):
    def odd(data: dict[str, Any]) -> dict[str, Any]:
        return {
            key: status if key == "Status" else v for key, v in data.items() if key != "Status" or status is not LOST
        }

    for model in (TaskDetails, JobDetails):
        for raw in (odd(ANSWERS[model]), raw_json(odd(ANSWERS[model]))):
            with collect_defaults() as found, pytest.raises(ValidationError):
                model.from_answer(raw)
            assert found == []
    with collect_defaults() as found:
        job = JobDetails.model_validate({**JOB, "Tasks": [odd(ENTRY), {**ENTRY, "TaskID": "t2"}]})
    assert [task.task_id for task in job.tasks] == ["t2"]
    assert (found, job.dropped) == ([("JobDetails", "tasks[]")], 1)
    with collect_defaults() as found:
        page = JobsListResponse.model_validate({**PAGE, "Jobs": [odd(JOB), JOB]})
    assert page.jobs == [JobDetails.model_validate(JOB)]
    assert (found, page.dropped) == ([("JobsListResponse", "jobs[]")], 1)


# --- lists -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [None, 5, "j1", [], {}, [JOB], math.nan, True, json.dumps(JOB)])
def test_a_bad_entry_is_dropped_and_counted(entry):
    with collect_defaults() as found:
        page = JobsListResponse.from_answer(raw_json({**PAGE, "Jobs": [JOB, entry, JOB]}))
    assert [job.job_id for job in page.jobs] == ["j1", "j1"]
    assert found == [("JobsListResponse", "jobs[]")]
    with collect_defaults() as found:
        job = JobDetails.from_answer(raw_json({**JOB, "Tasks": [ENTRY, entry, {**ENTRY, "TaskID": "t2"}]}))
    assert job.tasks == JobDetails.model_validate(JOB).tasks
    assert found == [("JobDetails", "tasks[]")]


def test_each_default_is_counted_once_however_deep_it_stands():
    odd_job = {**JOB, "Canceled": "perhaps", "Tasks": [{**ENTRY, "URL": 5}, None]}
    with collect_defaults() as found:
        page = JobsListResponse.model_validate({**PAGE, "Jobs": [odd_job, 5, JOB], "PageSize": "x"})
    assert sorted(found) == [
        ("JobDetails", "canceled"),
        ("JobDetails", "tasks[]"),
        ("JobsListResponse", "jobs[]"),
        ("JobsListResponse", "page_size"),
        ("UndetailedTaskResponse", "url"),
    ]
    assert [(job.dropped, len(job.tasks)) for job in page.jobs] == [(1, 1), (0, 2)]


def test_nothing_is_recorded_outside_the_context_and_contexts_nest():
    odd = {**TASK, "StatusCode": "x"}
    TaskDetails.model_validate(odd)
    with collect_defaults() as outer:
        with collect_defaults() as inner:
            TaskDetails.model_validate(odd)
        TaskDetails.model_validate(odd)
    TaskDetails.model_validate(odd)
    assert outer == inner == [("TaskDetails", "status_code")]


@pytest.mark.parametrize(
    ("changes", "complete"),
    [({}, True), ({"Jobs": None}, True), ({"Jobs": []}, True), ({"Jobs": "x"}, False), ({"Jobs": [None]}, False)],
)
def test_a_page_of_the_listing_says_whether_it_is_complete(changes, complete):
    assert JobsListResponse.from_answer({**PAGE, **changes}).is_complete is complete
    assert JobsListResponse.from_answer({"ok": True}).is_complete is False


# --- costs, base64, errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "cost"),
    [
        ("25", 25.0), (" 2.5 ", 2.5), (".5", 0.5), ("+1", 1.0), ("1e2", 100.0), (0, 0.0), ("1000000", 1e6),
        *((value, None) for value in ("-1", "-0", "inf", "NaN", "1e999", "1000001", "1e7", "1_0", "٣", "2,5", "", "x")),
        *((value, None) for value in (-1, math.inf, math.nan, True, [1, 2], {}, HUGE)),
    ],
)  # fmt: skip
def test_a_cost_that_no_task_has_is_unknown(value, cost):
    assert TaskDetails.model_validate({**TASK, "Scrape.do": {"Request-Cost": value}}).cost == cost


def test_the_first_cost_that_can_be_read_counts():
    metadata = {"Request-Cost": "much", "scrape.do-request-cost": "5"}
    assert TaskDetails.model_validate({**TASK, "Scrape.do": metadata}).cost == 5.0


@pytest.mark.parametrize(
    ("content", "page"),
    [
        ("YWJjZA==", b"abcd"),
        ("YWJjZA", b"abcd"),
        ("YWJj\r\nZA", b"abcd"),
        ("-_-_", b"\xfb\xff\xbf"),
        ("+/+/", b"\xfb\xff\xbf"),
        ("data:text/html;base64,YWJjZA==", b"abcd"),
        (" DATA:image/png;charset=utf-8;BASE64,\nYWJjZA", b"abcd"),
        ("data:;base64,", b""),
        ("", b""),
    ],
)
def test_base64_in_all_its_dresses(content, page):
    task = TaskDetails.model_validate({**TASK, "Content": content, "Base64EncodedContent": True})
    assert task.decoded_content() == page
    assert unpack_task(pack_task(task)) == task


@pytest.mark.parametrize("content", ["data:text/html,YWJj", "data:text/html;base64", "data:,a", "YWJjZ", "%"])
def test_damaged_base64_is_refused(content):
    with pytest.raises(ValueError, match="cannot be read as base64"):
        TaskDetails.model_validate({**TASK, "Content": content, "Base64EncodedContent": True}).decoded_content()


@pytest.mark.parametrize("content", [b"\xff", {1: {2, 3}, "a": HUGE * HUGE**20}])
def test_content_that_has_no_text_makes_the_task_unreadable(content):
    with pytest.raises(ValidationError, match="Content"):
        TaskDetails.model_validate({**TASK, "Content": content})


def test_too_deeply_nested_value_has_no_text():
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValidationError, match="Content"):
        TaskDetails.model_validate({**TASK, "Content": deep})
    with collect_defaults() as found:
        assert TaskDetails.model_validate({**TASK, "ErrorMessage": deep}).error_message is None
    assert found == [("TaskDetails", "error_message")]


def test_errors_count_tasks_in_any_spelling():
    odd = {"JobID": "j1", "Status": None, "Tasks": [{"Status": "FAILED"}, {"Status": "Cancelled"}, {"Status": 5}, 7]}
    error = JobFailedError(odd)
    assert error.counts == {"failed": 1, "canceled": 1, "total": 3}
    assert json.loads(json.dumps(error.args, allow_nan=False)) == [odd]
    assert JobFailedError({"JobID": "j1", "Tasks": "x"}).counts["total"] == 0
    read = JobFailedError({**JOB, "Tasks": [{**ENTRY, "Status": "Failed"}]})
    assert read.counts == {"failed": 1, "canceled": 0, "total": 1}


def test_arguments_of_errors_are_json_whatever_the_api_wrote():
    loop: dict[str, Any] = {"a": 1}
    loop["self"] = loop
    assert JobFailedError({"Status": None, "Odd": math.nan}).args == ({"Status": None, "Odd": None},)
    assert TaskFailedError({"Status": None, "Odd": NOON}).args == ({"Status": None, "Odd": str(NOON)},)
    assert JobFailedError({"Odd": loop}).args == ({},)


# --- parsing -----------------------------------------------------------------------------------------------------


def test_text_that_a_strict_parser_refuses():
    assert parse_answer(b'\xef\xbb\xbf{"a": "b\xff"}') == {"a": "b\ufffd"}
    assert parse_answer('{"a": "line\nbreak"}') == {"a": "line\nbreak"}
    assert parse_answer(r'{"a": "\ud800"}') == {"a": "\ud800"}
    assert parse_answer('{"a": ' + "9" * 5_000 + "}") == {"a": math.inf}
    assert plain_json({"a": [math.nan, NOON]}) == {"a": [None, str(NOON)]}


def test_lone_surrogates_stay_in_the_content_alone():
    odd = {
        "Content": "a\ud800b",
        "URL": "u\ud800",
        "ErrorMessage": "e\udfff",
        "ResponseHeaders": {"\ud800": ["\ud800"]},
    }
    for read in (TaskDetails.from_answer, TaskDetails.from_json):
        task = read(json.dumps({**TASK, **odd}))
        assert task.content == "a\ud800b"
        assert (task.url, task.error_message) == ("u\ufffd", "e\ufffd")
        assert task.response_headers == {"\ufffd": ["\ufffd"]}
        assert unpack_task(pack_task(task)) == task


def nested(depth: int) -> str:
    return '{"a":[' * (depth // 2) + '"[{"' + "]}" * (depth // 2)


def test_deep_values_become_their_own_text():
    value = parse_answer(f'{{"deep": {nested(3_000)}, "\\"]": "[", "last": [1]}}')
    assert value["last"] == [1]
    assert value['"]'] == "["
    inner, depth = value["deep"], 1
    while not isinstance(inner, str):
        inner = inner["a"] if isinstance(inner, dict) else inner[0]
        depth += 1
    assert depth == MAX_DEPTH
    assert inner in nested(3_000)
    with pytest.raises(ValueError, match="not closed"):
        parse_answer("[" * 200)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.data())
def test_no_value_of_an_optional_field_makes_an_answer_unreadable(data):
    model = data.draw(st.sampled_from(list(ANSWERS)))
    names = sorted({wire(name) for owner, name, _ in FIELDS if owner is model})
    changes = data.draw(st.dictionaries(st.sampled_from(names), json_values, max_size=4))
    answer = {**ANSWERS[model], **changes}
    with collect_defaults() as found:
        odd = model.from_answer(json.dumps(answer))
    assert {owner for owner, _ in found} <= {model.__name__, "JobDetails", "UndetailedTaskResponse"}
    text = json.dumps(odd.to_wire(), allow_nan=False)
    assert model.from_answer(text) == odd
    assert model.model_validate_json(odd.model_dump_json(by_alias=True)) == odd
    if isinstance(odd, TaskDetails):
        assert unpack_task(pack_task(odd)) == odd
        assert odd.content == "<html>"


@given(st.text(), st.booleans())
def test_any_word_is_a_status_that_stays_itself(word, title):
    status = read_status(word.title() if title else word)
    assert read_status(status) == status
