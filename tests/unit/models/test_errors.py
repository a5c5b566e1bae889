"""Test errors that carry models, and that pickle, copy and Celery's JSON keep all errors."""

from __future__ import annotations

import copy
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.backends.base import Backend
from celery.utils.serialization import create_exception_cls
from scrape_do.async_api.exceptions import AsyncScrapeDoErrorMessage as PeerInfo

from scrape_do_celery import AsyncAPIBadRequestError, ErrorInfo
from scrape_do_celery.errors import RunError, ScrapeDoError, UnreadableContentError, rehydrate
from scrape_do_celery.models import (
    JobCanceledError,
    JobDetails,
    JobFailedError,
    JobLifecycleError,
    RunTimeoutError,
    TaskCanceledError,
    TaskDetails,
    TaskFailedError,
    TaskLifecycleError,
)
from scrape_do_celery.models import UndetailedTaskResponse as TaskSummary
from scrape_do_celery.models.jobs import MAX_TASKS_IN_ERROR

JOB = JobDetails.model_validate(
    {
        "JobID": "j1",
        "TaskIDs": ["t1", "t2", "t3"],
        "Status": "error",
        "StartTime": "2026-11-22T09:14:03Z",
        "Tasks": [
            {"TaskID": "t1", "URL": "https://a/", "Status": "success"},
            {"TaskID": "t2", "URL": "https://b/", "Status": "error"},
            {"TaskID": "t3", "URL": "https://c/", "Status": "canceled"},
        ],
    }
)
TASK = TaskDetails.model_validate(
    {
        "TaskID": "t2",
        "JobID": "j1",
        "URL": "https://b/",
        "Status": "error",
        "StatusCode": 503,
        "ResponseHeaders": {"Via": ["a", "b"]},
        "Content": "the page",
        "ErrorMessage": "proxy\n  gave up",
    }
)
WITHOUT_PAGE = TASK.model_copy(update={"content": None})
ARGS: dict[type[ScrapeDoError], tuple[Any, ...]] = {
    JobLifecycleError: (JOB, "r1", {"failed": 7, "canceled": 0, "total": 900}),
    JobFailedError: (JOB,),
    JobCanceledError: (None, "r1"),
    TaskLifecycleError: (TASK,),
    TaskFailedError: (TASK, "r1"),
    TaskCanceledError: (TASK,),
    RunTimeoutError: ("too late", "r1", 3.5, JOB),
    UnreadableContentError: ("the content of task t2 is no JSON", "t2", "j1", "JSON", "Expecting value"),
}
OURS = [cls for cls in ScrapeDoError.registry.values() if cls.__module__.startswith("scrape_do_celery.")]


def make(cls: type[ScrapeDoError]) -> ScrapeDoError:
    return cls(*ARGS.get(cls, ("went wrong",)))


def attributes(error: ScrapeDoError) -> dict[str, Any]:
    names = [name for cls in type(error).__mro__ for name, member in vars(cls).items() if isinstance(member, property)]
    return {name: getattr(error, name) for name in names} | {"str": str(error), "repr": repr(error)}


def assert_same(error: BaseException, other: BaseException) -> None:
    assert type(other) is type(error)
    assert isinstance(error, ScrapeDoError)
    assert isinstance(other, ScrapeDoError)
    assert json.loads(json.dumps(other.args)) == json.loads(json.dumps(error.args))
    assert attributes(other) == attributes(error)


@pytest.fixture(scope="module")
def backend() -> Backend:
    app = Celery(set_as_current=False, backend="cache+memory://")
    return Backend(app, serializer="json")


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
def test_survives_every_way_to_another_process(cls, backend):
    error = make(cls)
    assert_same(error, pickle.loads(pickle.dumps(error)))
    assert_same(error, copy.copy(error))
    assert_same(error, copy.deepcopy(error))
    assert_same(error, cls(*error.args))
    assert_same(error, ScrapeDoError.from_json(json.loads(json.dumps(error.to_json()))))
    stored = backend.decode(backend.encode(backend.prepare_exception(error, "json")))
    assert_same(error, backend.exception_to_python(stored))
    assert_same(error, rehydrate(create_exception_cls(cls.__name__, "celery.exceptions")(*error.args)))


@pytest.mark.parametrize("cls", [JobFailedError, JobCanceledError, TaskFailedError, TaskCanceledError])
def test_arguments_are_json_in_wire_form(cls):
    model = JOB if issubclass(cls, JobLifecycleError) else TASK
    wire = {key: value for key, value in model.to_wire().items() if key not in {"Content", "Meta"}}
    assert cls(model).args == (wire,)
    assert cls(model, "r1").args == (wire, "r1")
    assert cls(model.to_wire()).args == (wire,)
    assert cls(model.model_dump(mode="json")).args == (wire,)


def test_job_error():
    error = JobFailedError(JOB, "r1")
    assert (error.job, error.run_id) == (JOB, "r1")
    assert error.counts == {"failed": 1, "canceled": 1, "total": 3}
    assert str(error) == "job j1 ended as error (run r1): 1 of 3 tasks failed, 1 canceled"
    assert JobFailedError(JOB).run_id is None
    assert str(JobFailedError({"JobID": "j", "Status": "error"})) == "job j ended as error"
    assert str(JobFailedError(JOB, None, {"failed": 7, "total": 900})) == "job j1 ended as error: 7 of 900 tasks failed"


def test_texts_name_the_number_of_tasks_that_an_error_carries():
    ids = [f"t{number}" for number in range(MAX_TASKS_IN_ERROR + 5)]
    job = JOB.model_copy(update={"task_ids": ids, "tasks": [TaskSummary(task_id=one, status="error") for one in ids]})
    assert len(JobFailedError.cut(job).job.tasks) == MAX_TASKS_IN_ERROR
    assert len(JobFailedError(job).job.tasks) == len(ids)
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    for text in (JobFailedError.__doc__, JobLifecycleError.job.__doc__, RunTimeoutError.job.__doc__, readme):
        assert f"{MAX_TASKS_IN_ERROR} " in " ".join(text.split())
        assert re.search(r"`(RunHandle\(run_id\)|handle)\.job`", text)


def test_cut_job_error_knows_all_counts():
    error = JobFailedError.cut(JOB, "r1", limit=1)
    assert error.job == JOB.cut(1)
    assert error.counts == {"failed": 1, "canceled": 1, "total": 3}
    assert JobCanceledError.cut(JOB).job == JOB


def test_canceled_before_a_job_was_bought():
    error = JobCanceledError(None, "r1")
    assert (error.args, error.job, error.run_id) == ((None, "r1"), None, "r1")
    assert error.counts == {"failed": 0, "canceled": 0, "total": 0}
    assert error.open_job_id is None
    assert str(error) == "run r1 ended before a job was bought"


def test_canceled_without_an_answer_about_the_job():
    error = JobCanceledError(None, "r1", None, "j1")
    assert (error.job, error.run_id, error.open_job_id) == (None, "r1", "j1")
    assert str(error).startswith("run r1 ended without its job; job j1 may still run: check `scrape-do orphans`")
    assert ScrapeDoError.from_json(error.to_json()).open_job_id == "j1"


def test_task_error():
    error = TaskFailedError(TASK)
    assert error.task == WITHOUT_PAGE
    assert error.run_id is None
    assert str(error) == "task t2 of https://b/ ended as error, target answered 503: proxy gave up"
    assert "the page" not in repr(error.args)
    assert str(TaskCanceledError({"TaskID": "t", "JobID": "j", "Status": "canceled"})) == (
        "task t of no URL ended as canceled"
    )


def test_unreadable_error_is_kept():
    assert JobFailedError({"Odd": 1}).args == ({"Odd": 1},)
    assert TaskFailedError({"Odd": 1, "Content": "page"}).args == ({"Odd": 1},)
    assert str(JobFailedError({"Odd": 1})) == "job None ended as None"


def test_error_info_is_named_in_each_process(backend):
    error = AsyncAPIBadRequestError("400 no", 400, "no targets", None)
    stored = backend.decode(backend.encode(backend.prepare_exception(error, "json")))
    for other in (error, pickle.loads(pickle.dumps(error)), backend.exception_to_python(stored)):
        assert other.error_info == ErrorInfo(error="no targets", code=None)
        assert (other.error_info.error, other.error_info.code) == ("no targets", None)
        assert json.loads(json.dumps(other.args)) == list(error.args)
    assert set(ErrorInfo._fields) == set(PeerInfo.model_fields)
    assert AsyncAPIBadRequestError("400", 400).error_info is None


def test_run_timeout():
    error = RunTimeoutError("too late", "r1", 3.5, JOB)
    assert isinstance(error, RunError)
    assert (str(error), error.run_id, error.max_wait, error.job) == ("too late", "r1", 3.5, JOB)
    assert RunTimeoutError("too late", "r1", 3.5).job is None


def test_rehydrate_leaves_others_alone():
    error = JobFailedError(JOB)
    foreign = create_exception_cls("JobFailedError", "someone.elses")("text")
    unknown = create_exception_cls("OddError", "celery.exceptions")("text")
    unbuildable = create_exception_cls("TaskFailedError", "celery.exceptions")()
    text = create_exception_cls("JobFailedError", "celery.exceptions")("only a text")
    for exc in (error, foreign, unknown, unbuildable, text, ValueError("x")):
        assert rehydrate(exc) is exc


def test_rehydrate_keeps_where_it_came_from():
    cause = ValueError("why")
    made_up = create_exception_cls("JobFailedError", "celery.exceptions")(JOB.to_wire(), "r1")
    try:
        raise made_up from cause  # noqa: TRY301
    except Exception as exc:  # noqa: BLE001
        real = rehydrate(exc)
    assert isinstance(real, JobFailedError)
    assert real.job == JOB
    assert real.__cause__ is cause
    assert real.__traceback__ is not None
