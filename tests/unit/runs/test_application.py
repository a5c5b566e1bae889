"""Test the names by which applications on one store are told apart."""

from __future__ import annotations

import pytest
from celery import Celery

from scrape_do_celery import Settings
from scrape_do_celery.runs import make_app
from scrape_do_celery.runs.application import name_application

PLAIN = "broker h:6379/1, results h:6379/2"


def name(**conf):
    app = Celery("shop", set_as_current=False, broker="redis://:sesame@h/1", backend="redis://h/2")
    app.conf.update(conf)
    return name_application(app)


def test_an_application_is_named_by_its_servers(clean_environment):
    assert name() == PLAIN
    assert name_application(make_app(Settings())) == "broker localhost:6379/1, results localhost:6379/2"


@pytest.mark.parametrize(
    ("conf", "added"),
    [
        ({"broker_transport_options": {"global_keyprefix": "a:"}}, "broker global_keyprefix a:"),
        ({"broker_transport_options": {"queue_name_prefix": "a-"}}, "broker queue_name_prefix a-"),
        ({"broker_transport_options": {"master_name": "m"}}, "broker master_name m"),
        ({"result_backend_transport_options": {"global_keyprefix": "r:"}}, "results global_keyprefix r:"),
        ({"database_table_names": {"task": "t"}}, "database_table_names [('task', 't')]"),
        ({"s3_bucket": "pages"}, "s3_bucket pages"),
        ({"broker_read_url": "redis://:sesame@k/3"}, "read from broker k:6379/3"),
    ],
)
def test_an_option_that_moves_messages_or_results_is_part_of_the_name(clean_environment, conf, added):
    assert name(**conf) == f"{PLAIN}; {added}"


@pytest.mark.parametrize(
    "conf",
    [
        {"broker_transport_options": {"visibility_timeout": 60, "global_keyprefix": ""}},
        {"result_backend_transport_options": {"retry_policy": {"timeout": 5.0}}},
        {"broker_transport_options": {}, "result_backend_transport_options": {}},
        {"worker_prefetch_multiplier": 1},
    ],
)
def test_other_options_may_differ_between_the_workers_of_an_application(clean_environment, conf):
    assert name(**conf) == PLAIN
