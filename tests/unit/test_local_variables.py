"""Test that errors leave no local variables behind, and that representations show names and sizes only."""

from __future__ import annotations

import asyncio
import traceback

import pytest

from scrape_do_celery import JobCreationRequest
from scrape_do_celery.client.endpoints import create_job
from scrape_do_celery.config.secrets import NamedCredentials
from scrape_do_celery.local_variables import clear_locals, without_locals
from scrape_do_celery.store import RunSpec
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.keys import Keys

SECRET = "that-is-private"


def shown_locals(error):
    """Return the names of all local variables in the frames of an error and of its causes, except in tests."""
    found, waiting = [], [error]
    while waiting:
        one = waiting.pop()
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if not frame.f_code.co_name.startswith("test_"):
                found += [name for name, value in frame.f_locals.items() if SECRET in repr(value)]
        waiting += filter(None, (one.__cause__, one.__context__))
    return found


def fail_below(secret):
    try:
        return int(secret)
    except ValueError as error:
        raise RuntimeError("wrapped") from error


@without_locals
def fail(secret):
    return fail_below(secret)


@without_locals
async def fail_async(secret):
    await asyncio.sleep(0)
    return fail_below(secret)


@pytest.mark.parametrize("call", [fail, lambda secret: asyncio.run(fail_async(secret))], ids=["sync", "async"])
def test_frames_below_a_public_function_are_cleared(call):
    with pytest.raises(RuntimeError) as caught:
        call(secret=SECRET)
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert names[-1] == "fail_below"
    assert [name for name in shown_locals(caught.value) if name != "secret" or call is fail] == []


def test_function_keeps_its_name_and_its_value():
    kept = without_locals(fail_below)
    assert (kept.__name__, kept("7")) == ("fail_below", 7)
    assert asyncio.iscoroutinefunction(fail_async)


def test_all_errors_of_a_group_are_cleared():
    errors = []
    for _ in range(2):
        with pytest.raises(RuntimeError) as caught:
            fail_below(SECRET)
        errors.append(caught.value)
    assert shown_locals(errors[1])
    # A cause that leads back to its error must not be walked for ever.
    errors[0].__cause__.__cause__ = errors[0]
    clear_locals(ExceptionGroup("both", errors))
    errors[0].__cause__.__cause__ = None
    assert [shown_locals(error) for error in errors] == [[], []]


def test_representations_show_names_and_sizes():
    request = JobCreationRequest(
        targets=["https://a.example/"],
        method="POST",
        headers={"X-Mine": SECRET},
        body=SECRET,
        webhook_url=f"https://hook.example/{SECRET}",
        webhook_headers={"X-Hook": SECRET},
    )
    command = CreateRun("r-1", RunSpec(request), signature=SECRET)
    endpoint = create_job(request)
    credentials = NamedCredentials(headers={"X-Mine": SECRET}, set_cookies=SECRET, webhook_headers={}, body=SECRET)
    encoded = command.encode(Keys("p"))
    for one in (request, command, endpoint, credentials, encoded):
        assert SECRET not in f"{one!r} {one}"
    assert repr(endpoint) == f"Endpoint(POST /api/v1/jobs, body of {len(endpoint.body)} bytes)"
    assert repr(encoded).startswith(f"Encoded({len(encoded.args)} arguments with {encoded.size} bytes, keys=")


def test_a_task_that_waits_with_the_same_error_goes_on():
    """Before Python 3.13, to clear the frame of a coroutine that waits would end it, and its task would never end."""
    went_on = []

    async def wait_only(shared):
        await shared

    async def handle(shared):
        try:
            await shared
        except ValueError:
            await asyncio.sleep(0.01)
            went_on.append(True)

    async def go():
        shared = asyncio.get_running_loop().create_future()
        first, second = asyncio.ensure_future(wait_only(shared)), asyncio.ensure_future(handle(shared))
        await asyncio.sleep(0)
        shared.set_exception(ValueError("of both"))
        await asyncio.wait([first])
        clear_locals(first.exception())
        await asyncio.wait([second], timeout=5)

    asyncio.run(go())
    assert went_on == [True]
