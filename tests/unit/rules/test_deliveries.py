"""Test which task a delivery is for, and which fetched task replaces its page."""

from __future__ import annotations

import pytest

from scrape_do_celery.rules.deliveries import find_position, is_page, map_positions, replaces_delivered


def test_positions_ignore_case_and_placeholders():
    assert map_positions(["A", "b", "-unnamed-target-2"]) == {"a": 0, "b": 1}


def test_task_is_found_in_any_case():
    assert find_position(map_positions(["A", "b"]), 2, "B") == 1


@pytest.mark.parametrize(("total", "task_id"), [(3, "c"), (2, "")])
def test_task_that_no_answer_named_has_no_position_yet(total, task_id):
    assert find_position(map_positions(["A", "b"]), total, task_id) is None


def test_job_with_a_task_for_each_target_has_no_other_task():
    with pytest.raises(LookupError):
        find_position(map_positions(["A", "b"]), 2, "c")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, True), ({"content": None}, False), ({"content": ""}, False), ({"status": "error"}, False)],
)
def test_only_a_success_with_content_is_a_page(make, fields, expected):
    assert is_page(make.task(0, **fields)) is expected


def test_nothing_is_no_page():
    assert not is_page(None)


@pytest.mark.parametrize("mark", ["gone", "too_large", "unreadable", "given_up"])
def test_task_without_an_answer_replaces_no_delivered_page(make, mark):
    assert replaces_delivered(make.task(0, status="error", content=None))
    assert not replaces_delivered(make.task(0, status="error", **{mark: True}))
