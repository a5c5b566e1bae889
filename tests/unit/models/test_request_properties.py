"""Test that an accepted request can be sent and read back, and that a refusal names the field."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scrape_do_celery.client import endpoints
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.store import RunSpec
from tests.unit.models import odd

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def accepted(fields: dict[str, Any]) -> JobCreationRequest | None:
    try:
        return JobCreationRequest(**fields)
    except ValidationError as error:
        text = str(error)
        # Loggers and terminals write the text, so it must be valid text, and must name a field.
        text.encode()
        assert any(name in text for name in [*fields, "targets"])
        assert "input_value" not in text
        return None


def assert_sendable(request: JobCreationRequest) -> None:
    wire = request.to_wire()
    record = request.to_fields()
    assert request.model_validate(record) == request
    assert request.model_validate(request.model_dump(exclude_none=True)) == request
    assert request.model_validate_json(json.dumps(record)) == request
    if wire == record:
        # The API's form does not tell which fields are new.
        assert request.model_validate(wire) == request
        assert request.model_validate_json(request.canonical()) == request
    spec = RunSpec(request)
    read = RunSpec.unpacked(*spec.packed())
    assert (read, read.digest) == (spec, spec.digest)
    with warnings.catch_warnings():
        # A worker sends what it read, and has no caller to warn.
        warnings.simplefilter("error")
        for part in read.parts():
            assert json.loads(endpoints.create_job(part).body.decode()) == part.to_wire()
    assert wire == json.loads(json.dumps(wire, allow_nan=False))


@settings(max_examples=400)
@given(odd.requests)
def test_accepted_request_survives_a_round_trip(fields):
    if (request := accepted(fields)) is not None:
        assert_sendable(request)


@pytest.mark.parametrize("name", JobCreationRequest.model_fields)
def test_each_field_by_itself(name):
    taken = []

    @settings(max_examples=100)
    @given(odd.all_fields[name])
    def check(value):
        fields = {name: value} if name == "plugin" else {"targets": ["https://a.example/"], name: value}
        if (request := accepted(fields)) is not None and getattr(request, name) is not None:
            taken.append(name)
            assert_sendable(request)

    check()
    # The property is empty unless values are accepted. A region needs another field.
    assert taken or name == "regional_geo_code"


@settings(max_examples=200)
@given(odd.requests.filter(lambda fields: "targets" in fields), odd.all_fields["targets"])
def test_with_targets_takes_what_the_request_itself_takes(fields, targets):
    held = list(targets) if type(targets).__name__ == "generator" else targets
    base = accepted({**fields, "targets": ["https://a.example/"]})
    if base is None:
        return
    direct = accepted({**fields, "targets": held})
    try:
        through = base.with_targets(held)
    except ValidationError:
        through = None
    assert through == direct


@given(st.sampled_from(["headers", "webhook_headers", "set_cookies", "body"]), odd.texts, odd.texts)
def test_no_refusal_shows_a_value(name, before, after):
    secret = f"{before}s3cret{after}"
    value = secret if name in {"set_cookies", "body"} else {"A": secret}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            JobCreationRequest(targets=["https://a.example/"], **{name: value})
        except ValidationError as error:
            shown = str(error)
        else:
            shown = ""
    assert "s3cret" not in shown
