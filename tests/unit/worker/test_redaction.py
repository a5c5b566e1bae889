"""Test what a worker shows of messages that carry a request."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from celery.utils.imports import symbol_by_name
from celery.worker.request import Request

from scrape_do_celery.tasks import scheduled_run, scrape
from scrape_do_celery.worker import redaction
from scrape_do_celery.worker.redaction import RedactedRequest, RequestBodyFilter, install_log_filter

PRIVATE = "that-is-private"


@pytest.fixture
def received(step_harness):
    """Return a function that makes a message as the worker's main process holds it."""

    def receive(name, args, kwargs):
        body = (args, kwargs, {})
        message = SimpleNamespace(
            headers={"id": "i", "task": name, "argsrepr": repr(args), "kwargsrepr": repr(kwargs)},
            body=body,
            payload=body,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_info={},
            properties={},
        )
        task = step_harness.app.tasks[name]
        assert issubclass(symbol_by_name(task.Request), Request)
        return symbol_by_name(task.Request)(message, app=step_harness.app, task=task)

    step_harness.app.loader.import_default_modules()
    return receive


def test_a_request_by_message_is_shown_as_a_summary(received):
    request = received(scrape.name, [["https://a.example/"]], {"headers": {"X-Mine": PRIVATE}})
    assert isinstance(request, RedactedRequest)
    shown = "{'targets': 1, 'host': 'a.example', 'headers': '***'}"
    assert (request.argsrepr, request.kwargsrepr) == ("()", shown)
    assert request.request_dict["kwargsrepr"] == shown
    assert PRIVATE not in repr(request) + repr(request.info()) + repr(request.info(safe=False))
    assert request._kwargs == {"headers": {"X-Mine": PRIVATE}}


def test_one_of_this_package_describes_itself(received):
    request = received(scrape.name, [], {"run_id": "r"})
    assert request.kwargsrepr == "{'run_id': 'r'}"


def test_request_beside_an_id_is_redacted(received):
    request = received(scrape.name, [], {"run_id": "r", "set_cookies": PRIVATE})
    assert PRIVATE not in request.kwargsrepr + repr(request.info())


def test_a_tick_is_shown_with_its_schedule(received):
    entry = {"name": "prices", "request": {"targets": ["https://a.example/"], "webhook_headers": {"X": PRIVATE}}}
    request = received(scheduled_run.name, [], entry)
    assert request.kwargsrepr == "{'name': 'prices', 'targets': 1, 'host': 'a.example', 'webhook_headers': '***'}"


@pytest.mark.parametrize(("args", "kwargs"), [(None, None), ("x", "y"), ([5], {"targets": 7})])
def test_a_message_may_be_anything(received, args, kwargs):
    assert received(scrape.name, args, kwargs).argsrepr == "()"


def test_the_pools_log_shows_no_body(caplog):
    log = logging.getLogger("scrape_do_test_pool")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(caplog.handler)
    log.addFilter(RequestBodyFilter())
    text = "TaskPool: Apply %s (args:%s kwargs:%s)"
    log.debug(text, "trace", f"('scrape_do.scrape', 'i', {{'kwargs': '{PRIVATE}'}})", "{}")
    log.debug(text, "trace", "('scrape_do.poll_jobs', 'i', {})", "{}")
    log.debug("nothing")
    assert PRIVATE not in caplog.text
    assert "Apply trace (the request is not shown)" in caplog.text
    assert "scrape_do.poll_jobs" in caplog.text


def test_log_filter_is_installed_once(monkeypatch):
    pool = logging.getLogger("scrape_do_test_other_pool")
    monkeypatch.setattr(redaction, "_POOL", pool)
    install_log_filter()
    install_log_filter()
    assert len(pool.filters) == 1
