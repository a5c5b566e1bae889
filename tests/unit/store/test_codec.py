"""Test how records, requests and pages look in Redis, and that reading restores them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.models import JobCreationRequest, PluginRequest, RenderOptions, TaskDetails
from scrape_do_celery.store import RunSpec
from scrape_do_celery.store.codec import PLAIN, ZSTD, pack, pack_bytes, pack_task, unpack, unpack_bytes, unpack_task
from scrape_do_celery.store.options import RUN_OPTIONS
from scrape_do_celery.store.request_inputs import inputs_of, targets_of

text = st.text(st.characters(exclude_categories=["Cs"]))
broken = st.sampled_from(["QUJD\nREVG", "QUI", "QUJD=", "=", " QUJD", "QR==", "☂", "QUJD\r\n"])
pages = st.one_of(
    st.tuples(st.none() | text | text.map(lambda t: t * 500), st.just(False)),
    st.tuples(st.binary(max_size=900).map(lambda raw: base64.b64encode(raw).decode()), st.booleans()),
    st.tuples(broken, st.just(True)),
    st.tuples(text, st.just(True)),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)


@given(pages)
def test_a_page_comes_back_to_the_letter(page):
    content, encoded = page
    task = TaskDetails(task_id="t", job_id="j", status="success", content=content, base64_encoded_content=encoded)
    assert unpack_task(pack_task(task)) == task


@given(
    st.dictionaries(text, text | st.lists(text, max_size=3), max_size=4),
    st.dictionaries(text, text, max_size=3),
    st.sampled_from(["success", "error", "canceled", "brand-new"]),
    st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)) | st.none(),  # noqa: DTZ001
    text,
    st.booleans(),
)
def test_fields_beside_the_page_are_restored(headers, telemetry, status, moment, message, gone):
    task = TaskDetails(
        task_id="t",
        job_id="j",
        status=status,
        status_code=404,
        content="<p>",
        response_headers=headers,
        scrape_do_metadata=telemetry,
        end_time=moment,
        expires_at=moment,
        error_message=message,
        gone=gone,
        url="https://a.example/ü",
    )
    assert unpack_task(pack_task(task)) == task


def test_base64_is_kept_as_the_bytes_that_it_stands_for():
    raw = bytes(range(256)) * 40
    task = TaskDetails(
        task_id="t", job_id="j", status="success", base64_encoded_content=True, content=base64.b64encode(raw).decode()
    )
    assert raw in unpack_bytes(pack_task(task))
    assert unpack_task(pack_task(task)).decoded_content() == raw


def test_pages_are_compressed():
    task = TaskDetails(task_id="t", job_id="j", status="success", content="<p>the same again</p>" * 5_000)
    assert len(pack_task(task)) < 2_000


@given(st.binary(max_size=600))
def test_bytes_come_back(raw):
    packed = pack_bytes(raw)
    assert unpack_bytes(packed) == raw
    assert packed[:1] == (PLAIN if len(raw) < 256 else ZSTD)


@given(json_values)
def test_json_comes_back(data):
    assert unpack(pack(data)) == data


def back(spec):
    options, parts = spec.packed()
    return RunSpec.unpacked(options, parts)


@pytest.mark.parametrize(
    "request_",
    [
        JobCreationRequest(targets=["https://a.example/ü?q=☂", "http://b.example"]),
        JobCreationRequest(
            targets=["https://a.example/"], session_id=7, super=True, geo_code="us", headers={"Cookie": "a=1"},
            method="POST", body="x", webhook_url="https://hooks.example/", webhook_headers={"X-A": "ü"},
        ),
        JobCreationRequest(targets=["https://a.example/"], render=RenderOptions()),
        JobCreationRequest(targets=["https://a.example/"], set_cookies="a=1; b=2", output="markdown", timeout=5000),
        JobCreationRequest(
            plugin=PluginRequest(
                key="google/search", params=[{"q": "a", "start": 1}, {"q": "b", "extra": {"deep": [1.5, None]}}]
            )
        ),
    ],
    ids=["plain", "headers", "render", "cookies", "plugin"],
)  # fmt: skip
def test_a_request_comes_back(request_):
    spec = RunSpec(request_, raise_on_task_failure=True, max_wait=12.5)
    again = back(spec)
    assert again == spec
    assert again.digest == spec.digest
    assert again.differing_fields(spec) == ()


def test_a_request_of_many_targets_comes_back_part_by_part():
    targets = [f"https://a.example/{n}" for n in range(2_001)]
    spec = RunSpec(JobCreationRequest(targets=targets, super=True))
    options, parts = spec.packed()
    assert [len(unpack(part)) for part in parts] == [1000, 1000, 1]
    assert RunSpec.unpacked(options, parts) == spec
    assert RunSpec.unpacked(options, parts[1:2]).request == spec.parts()[1]
    assert b"https://a.example/" not in unpack_bytes(options)


def test_a_plugin_is_split_and_comes_back_too():
    params = [{"q": str(n)} for n in range(1_001)]
    spec = RunSpec(JobCreationRequest(plugin=PluginRequest(key="google/search", params=params)))
    assert [part.size for part in spec.parts()] == [1000, 1]
    assert back(spec) == spec


def test_inputs_serve_as_a_fingerprint():
    plugin = JobCreationRequest(
        plugin=PluginRequest(key="shein", params=[{"url": "https://shein.com/", "timeout": 5000}])
    )
    assert inputs_of(plugin) == [{"url": "https://shein.com/", "timeout": 5000}]
    assert targets_of(plugin) == ['{"timeout": 5000, "url": "https://shein.com/"}']
    assert targets_of(JobCreationRequest(targets=["http://a.example"])) == ["http://a.example"]


def test_digests_tell_requests_apart_and_not_orders_of_options():
    one = RunSpec(JobCreationRequest(targets=["http://a.example"], super=True, geo_code="us"), max_wait=5.0)
    same = RunSpec(JobCreationRequest(geo_code="us", super=True, targets=["http://a.example"]), max_wait=5.0)
    other = RunSpec(JobCreationRequest(targets=["http://a.example"], geo_code="de"), True, 6.0)
    assert one.digest == same.digest
    assert one.digest != other.digest
    assert other.differing_fields(one) == ("geo_code", "super", "raise_on_task_failure", "max_wait")


def test_digest_of_a_plain_request_never_changes():
    # The store keeps digests with idempotency keys, retries and ticks. If a version changes this digest, all keys that
    # were written before the upgrade conflict, and callers who then take another key pay twice.
    assert RunSpec.from_arguments(["https://a.example/"], geo_code="us").digest == "a4dc2473497507dd786f71488340d517"


@dataclass(frozen=True)
class LaterSpec(RunSpec):
    """A spec of a later version, with one more run option."""

    patience: int | None = None


class LaterRequest(JobCreationRequest):
    """A request of a later version, with one more field."""

    patience: int | None = None


@given(
    size=st.sampled_from([1, 49, 50]),
    fields=st.fixed_dictionaries({}, optional={"geo_code": st.sampled_from(["us", "de"]), "super": st.booleans()}),
    options=st.fixed_dictionaries(
        {},
        optional={
            "raise_on_task_failure": st.booleans(),
            "max_wait": st.none() | st.integers(1, 90),
            "early": st.none() | st.booleans(),
        },
    ),
)
def test_new_option_that_is_unset_leaves_digests_equal(size, fields, options):
    fields["targets"] = [f"https://a.example/{n}" for n in range(size)]
    digest = RunSpec(JobCreationRequest(**fields), **options).digest
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scrape_do_celery.store.options.RUN_OPTIONS", (*RUN_OPTIONS, "patience"))
        assert LaterSpec(LaterRequest(**fields), **options).digest == digest
        assert LaterSpec(LaterRequest(**fields), **options, patience=1).digest != digest
        assert LaterSpec(LaterRequest(**fields, patience=1), **options).digest != digest


@pytest.mark.parametrize("max_wait", [0, -1, -0.5])
def test_a_max_wait_must_be_a_time(max_wait):
    with pytest.raises(ValueError, match="max_wait"):
        RunSpec(JobCreationRequest(targets=["http://a.example"]), max_wait=max_wait)
