"""Test requests that are objects of other libraries' pydantic models."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import (
    BaseModel,
    Field,
    Secret,
    SecretBytes,
    SecretStr,
    TypeAdapter,
    ValidationError,
    create_model,
    field_serializer,
)
from scrape_do.models.browser_actions import BrowserAction as PeerAction
from scrape_do.models.browser_actions import WaitAction

from scrape_do_celery import GoogleSearch, JobCreationRequest, Plugin, Render, Wait
from scrape_do_celery.client.base import as_request
from tests.unit.models.test_peer_requests import ACTIONS

URL = "https://a.example/"
HIDDEN = "s3cret"


def foreign(**values: Any) -> BaseModel:
    return create_model("Theirs", **{name: (Any, value) for name, value in values.items()})()


@pytest.mark.parametrize("secret", [SecretStr(HIDDEN), SecretBytes(HIDDEN.encode()), Secret(HIDDEN)])
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (
            lambda one: JobCreationRequest.model_validate(foreign(targets=[URL], set_cookies=one)),
            "set_cookies of Theirs",
        ),
        (
            lambda one: JobCreationRequest.model_validate(foreign(targets=[URL], headers={"Authorization": one})),
            "headers.Authorization of Theirs",
        ),
        (lambda one: JobCreationRequest(targets=[URL], render=foreign(wait_selector=one)), "wait_selector of Theirs"),
        (
            lambda one: Render(actions=[foreign(Action="Fill", Selector="#a", Value=one)]),
            "Value of Theirs",
        ),
        (
            lambda one: JobCreationRequest(plugin=foreign(key="google/search", params=[{"q": "a"}, {"q": one}])),
            r"params\[1\]\.q of Theirs",
        ),
        (lambda one: GoogleSearch([{"q": "a"}, foreign(q=one)]), r"plugin\.params\[1\]\.q of Theirs"),
        (lambda one: Plugin("new/key", [foreign(q=foreign(deep=one))]), r"plugin\.params\[0\]\.q\.deep of Theirs"),
        (lambda one: as_request(foreign(targets=[URL], body=one), {}), "body of Theirs"),
    ],
)
@pytest.mark.filterwarnings("ignore::scrape_do_celery.RequestWarning")
def test_a_secret_is_never_sent_as_asterisks(make, named, secret):
    with pytest.raises(ValidationError, match=f"{named} is a secret of pydantic") as error:
        make(secret)
    assert HIDDEN not in str(error.value)


@pytest.mark.parametrize("one", ACTIONS, ids=lambda one: one["Action"])
def test_actions_of_the_peer_are_taken(one):
    theirs = TypeAdapter(PeerAction).validate_python(one)
    sent = [{"Action": "Wait", "Timeout": 5}, one]
    for render in (
        Render(actions=[Wait(5), theirs], return_json=True),
        Render(play_with_browser=iter([{"Action": "Wait", "Timeout": 5}, theirs]), return_json=True),
        Render.model_validate({"PlayWithBrowser": (Wait(5), theirs), "ReturnJSON": True}),
    ):
        assert render.to_wire() == {"PlayWithBrowser": sent, "ReturnJSON": True}
    options = {"actions": [WaitAction(Timeout=5), theirs], "return_json": True}
    request = JobCreationRequest(targets=[URL], render=options)
    assert request.to_wire()["Render"] == {"PlayWithBrowser": sent, "ReturnJSON": True}


def test_a_secret_that_its_model_writes_itself_is_sent():
    class Theirs(BaseModel):
        targets: list[str] = [URL]
        cookies: SecretStr = Field(default=SecretStr("a=1"), alias="SetCookies")
        body: SecretStr = SecretStr("")
        method: str = "POST"

        @field_serializer("cookies", when_used="json")
        def _write(self, value: SecretStr) -> str:
            return value.get_secret_value()

    assert JobCreationRequest.model_validate(Theirs()).to_wire() == {
        "Targets": [URL],
        "SetCookies": "a=1",
        "Body": "",
        "Method": "POST",
    }
