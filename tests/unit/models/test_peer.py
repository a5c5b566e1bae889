"""Test that our models read the same payloads as the peer SDK's, with the same values."""

from __future__ import annotations

import base64
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from scrape_do.async_api import models as peer

from scrape_do_celery import models as ours

STATUSES = ["queuing", "queued", "pending", "rotating", "success", "error", "canceled"]
words = st.text(st.characters(codec="utf-8"), max_size=12)
ids = st.uuids().map(str)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001
times = st.one_of(
    moments.map(lambda moment: f"{moment.isoformat()}Z"),
    moments.map(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S}.123456789Z"),
    moments.map(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S}+05:30"),
    moments.map(datetime.isoformat),
    st.none(),
)
numbers = st.one_of(st.integers(0, 10**12), st.integers(0, 999).map(str), st.integers(0, 99).map(float))
flags = st.one_of(st.booleans(), st.sampled_from([0, 1, "true", "no"]))
status = st.sampled_from(STATUSES)
maps = st.dictionaries(words, words, max_size=4)
noise = {"Unknown": st.none() | words | st.integers()}
summary = st.fixed_dictionaries({"TaskID": ids, "URL": words, "Status": status}, optional=noise)
job = st.fixed_dictionaries(
    {"JobID": ids, "Status": status},
    optional={
        "TaskIDs": st.lists(ids, max_size=3),
        "StartTime": times,
        "EndTime": times,
        "AcquiredConcurrency": numbers,
        "LimitConcurrency": numbers,
        "Canceled": flags,
        "Tasks": st.lists(summary, max_size=3),
        **noise,
    },
)
task = st.fixed_dictionaries(
    {"TaskID": ids, "JobID": ids, "URL": words, "Status": status},
    optional={
        "StartTime": times,
        "EndTime": times,
        "UpdateTime": times,
        "ExpiresAt": times,
        "Base64EncodedContent": flags,
        "StatusCode": numbers,
        "ResponseHeaders": maps,
        "Scrape.do": maps,
        "Content": st.one_of(st.none(), words, st.binary(max_size=20).map(lambda raw: base64.b64encode(raw).decode())),
        "ErrorMessage": st.none() | words,
        **noise,
    },
)
creation = st.fixed_dictionaries(
    {"JobID": ids}, optional={"TaskIDs": st.lists(ids, max_size=3), "Message": st.none() | words, **noise}
)
account = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("TotalConcurrency", "FreeConcurrency", "ActiveJobs", "AvaliableCredits"), numbers)
)
listing = st.fixed_dictionaries(
    {},
    optional={
        "Jobs": st.lists(job, max_size=3),
        **dict.fromkeys(("TotalCount", "PageSize", "PageNumber", "TotalPages"), numbers),
    },
)
payloads = {
    "JobCreationResponse": creation,
    "UndetailedTaskResponse": summary,
    "JobDetails": job,
    "TaskDetails": task,
    "UserInformation": account,
    "JobsListResponse": listing,
    "JobResult": st.fixed_dictionaries({"job": job}, optional={"tasks": st.lists(task, max_size=2)}),
}
PROPERTIES = ("is_terminal", "is_success", "is_terminal_failure", "is_expired")


def plain(value: Any) -> Any:
    """Return the value without its model, with times in UTC."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return value


def duration(model: Any) -> timedelta | None:
    start, end = plain(model.start_time), plain(model.end_time)
    return None if start is None or end is None else end - start


def raised(model: Any) -> str | None:
    try:
        model.raise_for_status()
    except Exception as error:  # noqa: BLE001
        return type(error).__name__
    return None


def page(model: Any) -> bytes | str | None:
    try:
        return model.decoded_content()
    except ValueError:
        return "ValueError"


@pytest.mark.parametrize("name", payloads)
def test_same_values_as_the_peer(name):
    @settings(max_examples=150)
    @given(payloads[name])
    def check(payload):
        theirs = getattr(peer, name).model_validate(payload)
        mine = getattr(ours, name).model_validate(payload)
        compare(mine, theirs)

    check()


def compare(mine: Any, theirs: Any) -> None:
    seen = plain(mine)
    for field, value in plain(theirs).items():
        assert subset(seen[field], value), field
    for name in PROPERTIES:
        if hasattr(type(theirs), name):
            assert getattr(mine, name) == getattr(theirs, name), name
    if hasattr(type(theirs), "duration"):
        assert mine.duration == duration(theirs)
        assert raised(mine) == raised(theirs)
    # Plain Base64 only: the peer silently drops stray characters, and refuses Base64 without padding.
    if hasattr(theirs, "decoded_content") and not (theirs.base64_encoded_content and not standard(theirs.content)):
        assert page(mine) == page(theirs)


def standard(content: str | None) -> bool:
    """Return whether the content is Base64 in the standard alphabet, with its padding."""
    try:
        base64.b64decode(content or "", validate=True)
    except ValueError:
        return False
    return True


def subset(mine: Any, theirs: Any) -> bool:
    """Return whether our value has all that the peer's has. Our nested models have more fields."""
    if isinstance(theirs, dict) and isinstance(mine, dict):
        return all(key in mine and subset(mine[key], value) for key, value in theirs.items())
    if isinstance(theirs, list):
        return len(mine) == len(theirs) and all(map(subset, mine, theirs))
    return bool(mine == theirs)


@settings(max_examples=100)
@given(task, st.sampled_from(["StatusCode", "ResponseHeaders", "Scrape.do", "Base64EncodedContent", "Status"]))
def test_ours_read_what_the_peer_cannot(payload, key):
    broken = {**payload, key: "brand-new" if key == "Status" else None}
    with pytest.raises(ValidationError):
        peer.TaskDetails.model_validate(broken)
    ours.TaskDetails.model_validate(broken)


@pytest.mark.parametrize("name", payloads)
def test_the_peers_attributes_and_methods_are_all_there(name):
    theirs, mine = getattr(peer, name), getattr(ours, name)
    assert set(theirs.model_fields) <= set(mine.model_fields)
    public = {key for key, member in vars(theirs).items() if not key.startswith("_") and callable(member)}
    public |= {key for key, member in vars(theirs).items() if isinstance(member, property)}
    assert {key for key in public if key != "model_config"} <= set(dir(mine))


# The peer also accepts maps that no header can hold.
sendable_maps = st.dictionaries(st.sampled_from(["Accept", "x-a", "X_B"]), st.sampled_from(["", "a", "ü\t1"]))
render = st.fixed_dictionaries(
    {},
    optional={
        "block_resources": st.none() | st.booleans(),
        "wait_until": st.sampled_from(["domcontentloaded", "networkidle0", "networkidle2", "load"]),
        "custom_wait": st.integers(-1, 35001),
        "wait_selector": st.none() | words,
        "play_with_browser": st.lists(
            st.sampled_from(
                [
                    {"Action": "Click", "Selector": "#a"},
                    {"Action": "Wait", "Timeout": 5},
                    {"Action": "Fill", "Selector": "#a", "Value": ""},
                    {"Action": "ScreenShot", "fullScreenShot": True},
                    {"Action": "ScreenShot", "fullScreenShot": True, "particularScreenShot": "#a"},
                ]
            ),
            max_size=2,
        ),
        **dict.fromkeys(
            ("return_json", "show_websocket_requests", "show_frames", "screenshot", "full_screenshot"), st.booleans()
        ),
        "particular_screenshot": st.none() | words,
    },
)
options = st.fixed_dictionaries(
    {},
    optional={
        "targets": st.lists(st.integers(0, 9).map(lambda n: f"https://shop.example/p/{n}"), min_size=1, max_size=4),
        "plugin": st.sampled_from(
            [
                {"key": "shein", "params": [{"url": "https://shein.com/a"}]},
                {"Key": "amazon/pdp", "Params": [{"asin": "B0", "geocode": "us", "zipcode": "10001"}]},
            ]
        ),
        "method": st.sampled_from(["GET", "POST", "PUT", "get"]),
        "body": st.none() | words,
        "headers": st.none() | sendable_maps,
        "forward_headers": st.booleans(),
        "set_cookies": st.sampled_from([None, "", "a=1; b=ü"]),
        "geo_code": st.sampled_from([None, "us", "DE"]),
        "regional_geo_code": st.sampled_from([None, "europe", "northamerica"]),
        "super": st.none() | st.booleans(),
        "session_id": st.integers(-1, 1_000_001),
        "device": st.sampled_from(["desktop", "mobile", "tablet"]),
        "timeout": st.sampled_from([None, 4999, 5000, 120000, 120001]),
        "retry_timeout": st.sampled_from([None, 4999, 5000, 55000, 55001]),
        **dict.fromkeys(("disable_retry", "transparent_response", "disable_redirection"), st.booleans()),
        "output": st.sampled_from(["raw", "markdown"]),
        "render": st.none() | render,
        "webhook_url": st.sampled_from([None, "https://hooks.example/x"]),
        "webhook_headers": st.none() | sendable_maps,
    },
)


def accepted(model: Any, values: dict[str, Any]) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError:
        return None


@settings(max_examples=400)
@given(options, st.randoms(use_true_random=False))
def test_same_request_on_the_wire(values, rng):
    # Most full sets contradict themselves, so try smaller ones as well.
    few = {key: values[key] for key in rng.sample(sorted(values), min(3, len(values)))} | {
        "targets": ["https://shop.example/"]
    }
    for chosen in (values, few):
        theirs = accepted(peer.JobCreationRequest, chosen)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            mine = accepted(ours.JobCreationRequest, chosen)
        if theirs is None:
            # Rules that only the peer has give a warning.
            assert mine is None or said
        else:
            assert mine.to_wire() == theirs.model_dump(mode="json", by_alias=True, exclude_none=True)
