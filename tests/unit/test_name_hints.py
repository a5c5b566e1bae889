"""Test that a misspelt name is met by the nearest right name, in each place where users write names."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from scrape_do_celery import Settings, aenqueue, enqueue, enqueue_many, scheduled_run
from scrape_do_celery.config.secrets import with_credentials
from scrape_do_celery.contrib.settings_dict import problems_of
from scrape_do_celery.errors import InvalidRequestError
from scrape_do_celery.name_hints import suggest_name

URLS = ["https://a.example/"]


def test_nearest_name_is_suggested_in_its_own_spelling():
    assert suggest_name("GEO_COD", ["geo_code", "device"]) == "; did you mean geo_code?"
    assert suggest_name("GeoCod", ["geo_code"], others={"GeoCode": "geo_code"}) == "; did you mean geo_code?"
    assert suggest_name("tokn", [], "SCRAPE_DO_", others={"token": "API_KEY"}) == "; did you mean SCRAPE_DO_API_KEY?"
    assert suggest_name("zzz", ["geo_code"]) == suggest_name("x", []) == ""


CALLS = {
    "enqueue": lambda **options: enqueue(URLS, **options),
    "aenqueue": lambda **options: asyncio.run(aenqueue(URLS, **options)),
    "enqueue_many": lambda **options: enqueue_many([URLS], **options),
    "enqueue_many of nothing": lambda **options: enqueue_many([], **options),
    "scheduled_run": lambda **options: scheduled_run("prices", timedelta(hours=1), URLS, **options),
}
OF_EACH = {"geo_cod": "geo_code", "max_wiat": "max_wait", "GeoCod": "geo_code", "on_succes": "on_success"}
OF_ONE = {"idempotency_ky": "idempotency_key", "runid": "run_id"}
MISSPELT = {
    "enqueue": {**OF_EACH, **OF_ONE, "settinggs": "settings"},
    "aenqueue": {**OF_EACH, **OF_ONE, "settinggs": "settings"},
    "enqueue_many": {**OF_EACH, "idempotency_key": "idempotency_keys", "run_id": "run_ids"},
    "enqueue_many of nothing": OF_EACH,
    "scheduled_run": {**OF_EACH, "if_runing": "if_running", "credential": "credentials"},
}


@pytest.mark.parametrize("call", CALLS)
def test_misspelt_argument_of_a_call_names_the_right_one(call, start_run, step_harness):
    for wrong, right in MISSPELT[call].items():
        with pytest.raises(ValueError, match=rf"^no option '{wrong}'; did you mean {right}\? A field that is newer"):
            CALLS[call](**{wrong: "x"})
    with pytest.raises(
        ValueError, match=r"^no option 'zzz'\. A field that is newer than this package goes into extra={'Zzz': \.\.\.}$"
    ):
        CALLS[call](zzz=1)
    with pytest.raises(ValueError, match=r"no option 'block_resources'; put this field into render"):
        CALLS[call](block_resources=True)
    assert step_harness.redis.keys() == []


def test_misspelt_argument_of_a_message_is_in_the_result_of_the_task(scrape_task):
    with pytest.raises((ValueError, InvalidRequestError), match=r"no option 'max_wiat'; did you mean max_wait\?"):
        scrape_task.delay(URLS, max_wiat=3)
    with pytest.raises((ValueError, InvalidRequestError), match=r"no option 'credential'; did you mean credentials\?"):
        scrape_task.delay(URLS, credential="shop")


def test_misspelt_value_names_the_right_one():
    with pytest.raises(ValueError, match=r"cancel_previous: 'cancel_last'; did you mean cancel_previous\?"):
        scheduled_run("prices", timedelta(hours=1), URLS, if_running="cancel_last")
    credentials = Settings(credentials={"shop": {"body": "x"}}).credentials
    with pytest.raises(ValueError, match=r"'shpo' is not in .*; did you mean shop\?"):
        with_credentials(credentials, "shpo", {})


def test_misspelt_key_of_a_framework_s_dict_names_the_right_key():
    found = problems_of({"REDIS_ULR": "x", "TOKN": "secret", "MIRRROR": True, "ZZZ": 1, "queue": "q"}, ["MIRROR"])
    assert found == {
        "REDIS_ULR": "unknown key; did you mean REDIS_URL?",
        "TOKN": "unknown key; did you mean API_KEY?",
        "MIRRROR": "unknown key; did you mean MIRROR?",
        "ZZZ": "unknown key",
        "queue": "write the key in capitals: QUEUE",
    }
