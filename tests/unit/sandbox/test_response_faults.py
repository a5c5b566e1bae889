from __future__ import annotations

import base64
import binascii

import pytest

from scrape_do_sandbox.faults import FaultRule
from scrape_do_sandbox.options import SandboxOptions
from scrape_do_sandbox.response_faults import apply_body_faults, mutate_body, show_body, write_urls


def job(**fields):
    return {
        "JobID": "j",
        "TaskIDs": [str(number) for number in range(9)],
        "Status": "pending",
        "StartTime": "2026-11-22T00:00:00.000Z",
        "EndTime": None,
        "Canceled": False,
        "Tasks": [{"TaskID": str(number), "URL": "HTTP://A.Example", "Status": "pending"} for number in range(9)],
    } | fields


def task(**fields):
    return {"URL": "https://a.example", "Status": "success", "StatusCode": 200, "ResponseHeaders": {"A": "b"}} | fields


def with_fault(body, action, **rule):
    return apply_body_faults(body, [FaultRule(action=action, **rule)])


def test_nulls_for_maps_lists_and_numbers():
    assert with_fault(task(), "nulls") == task(ResponseHeaders=None, StatusCode=None)
    body = with_fault({"Jobs": [job()], "TotalCount": 1}, "nulls")
    assert (body["TotalCount"], body["Jobs"][0]["TaskIDs"], body["Jobs"][0]["Canceled"]) == (None, None, None)
    assert body["Jobs"][0]["Status"] == "pending"
    assert with_fault({"Jobs": []}, "nulls", fields=["Jobs"]) == {"Jobs": None}


def test_headers_become_lists():
    assert with_fault(task(), "list_headers")["ResponseHeaders"] == {"A": ["b"]}
    assert with_fault(task(ResponseHeaders={}), "list_headers")["ResponseHeaders"] == {}


def test_times():
    assert with_fault(job(), "zero_times")["EndTime"] == "0001-01-01T00:00:00Z"
    naive = with_fault(job(), "naive_times")
    assert (naive["StartTime"], naive["EndTime"]) == ("2026-11-22T00:00:00.000", None)
    assert with_fault(job(), "skew", seconds=-60)["StartTime"] == "2026-11-21T23:59:00.000Z"


def test_unknown_status_goes_down_to_the_tasks():
    body = with_fault(job(), "unknown_status")
    assert (body["Status"], body["Tasks"][0]["Status"]) == ("reticulating", "reticulating")
    assert with_fault(task(), "unknown_status", value="Success")["Status"] == "Success"
    assert with_fault({"TotalConcurrency": 1}, "unknown_status") == {"TotalConcurrency": 1}


def test_fractional_credits():
    assert with_fault({"AvaliableCredits": 7}, "fractional_credits") == {"AvaliableCredits": 7.5}
    assert with_fault({}, "fractional_credits") == {}


def test_bad_base64():
    body = with_fault(task(Content="eHh4eA=="), "bad_base64")
    assert body["Base64EncodedContent"] is True
    assert body["Content"].startswith("*")
    with pytest.raises(binascii.Error):
        base64.b64decode(body["Content"])
    assert with_fault(task(Content=""), "bad_base64")["Content"] == ""


def test_ids_are_shuffled_consistently_unlike_the_summaries():
    body, again = with_fault(job(), "shuffle_task_ids"), with_fault(job(), "shuffle_task_ids")
    assert body == again
    assert body["TaskIDs"] != job()["TaskIDs"]
    assert sorted(body["TaskIDs"]) == job()["TaskIDs"]
    assert [summary["TaskID"] for summary in body["Tasks"]] != body["TaskIDs"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://Shop.Example", "https://shop.example/"),
        ("http://bücher.example:80/ä?q=1#top", "http://xn--bcher-kva.example/%C3%A4?q=1#top"),
        ("http://[::1]:8080/a%20b", "http://[::1]:8080/a%20b"),
    ],
)
def test_urls_are_normalised_as_pydantic_does(url, expected):
    assert with_fault(task(URL=url), "normalise_urls")["URL"] == expected
    assert with_fault(task(URL=url), "write_urls", value="pydantic")["URL"] == expected
    assert write_urls(task(URL=url), "pydantic")["URL"] == expected


def test_each_writer_of_urls_goes_down_to_the_tasks():
    body = {"Jobs": [job(Tasks=[{"URL": "https://B\u00fc.example"}, {"URL": None}])]}
    shown = with_fault(body, "write_urls", value="go")["Jobs"][0]["Tasks"]
    assert shown == [{"URL": "https://B%C3%BC.example"}, {"URL": None}]
    assert write_urls({"URL": "HTTP://A.example"}, "verbatim") == {"URL": "HTTP://A.example"}


def test_a_writer_that_does_not_exist_is_refused():
    for value in (None, "rust"):
        with pytest.raises(ValueError, match="value of write_urls must be one of verbatim, whatwg, go"):
            FaultRule(action="write_urls", value=value)


def test_the_start_is_behind_and_a_zero_time_stays():
    body = with_fault(job(EndTime="0001-01-01T00:00:00Z"), "start_skew", seconds=60)
    assert (body["StartTime"], body["EndTime"]) == ("2026-11-21T23:59:00.000Z", "0001-01-01T00:00:00Z")
    assert show_body(job(), SandboxOptions(start_skew=60))["StartTime"] == "2026-11-21T23:59:00.000Z"
    assert show_body(job(), SandboxOptions()) == job()


def test_mutations_come_last_and_in_order():
    rules = [
        FaultRule(action="mutate", value="in_list", fields=["Status"]),
        FaultRule(action="unknown_status", value="x"),
    ]
    rules.append(FaultRule(action="mutate", value="duplicate", fields=["Status", "TaskIDs"]))
    body = apply_body_faults({"Status": "success", "TaskIDs": ["a"]}, rules)
    assert body == {"Status": ["x", "x"], "TaskIDs": ["a", "a"]}
    assert with_fault(task(), "mutate", value="in_list") == [task()]
    assert mutate_body({"Error": "x", "Code": 1}, rules) == {"Error": "x", "Code": 1}


def test_actions_of_other_places_leave_the_body_alone():
    assert with_fault(task(), "slow") == task()


@pytest.mark.parametrize("job_id", "abcdefgh")
def test_a_shuffle_never_leaves_the_order_as_it_was(job_id):
    assert with_fault({"JobID": job_id, "TaskIDs": ["1", "2"]}, "shuffle_task_ids")["TaskIDs"] == ["2", "1"]
