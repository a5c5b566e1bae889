"""Test the recognition of refusals that pass, in the words of servers."""

from __future__ import annotations

import pytest
from redis import exceptions

from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.store.batching import WireCommand
from scrape_do_celery.store.deadlines import CallDeadline
from scrape_do_celery.store.pending import PendingCommands
from scrape_do_celery.store.refusals import find_reason, is_passing, is_repeatable

OLD = "Error running script (call to f_d8f2): @user_script:12: -{} "


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (exceptions.ReadOnlyError("You can't write against a read only replica."), "READONLY"),
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "OOM"),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "LOADING"),
        (exceptions.MasterDownError("Link with MASTER is down"), "MASTERDOWN"),
        (exceptions.TryAgainError("Multiple keys request during rehashing of slot"), "TRYAGAIN"),
        (exceptions.ClusterDownError("The cluster is down"), "CLUSTERDOWN"),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), "NOREPLICAS"),
        (exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"), "MISCONF"),
        (exceptions.ResponseError("BUSY Redis is busy running a script."), "BUSY"),
        *[(exceptions.ResponseError(OLD.format(code) + "text"), code) for code in ("OOM", "READONLY", "NOREPLICAS")],
        (exceptions.ResponseError("BUSYKEY Target key name already exists."), ""),
        (exceptions.ResponseError("Error running script (call to f_1): @user_script:1: no -OOMs here"), ""),
        (exceptions.NoPermissionError("this user has no permissions to run the 'get' command"), ""),
        (b"OOM", ""),
        (None, ""),
    ],
)
def test_the_server_s_reason_is_found(error, reason):
    assert find_reason(error) == reason
    assert is_passing(error) == bool(reason)


def test_a_lost_connection_passes_and_a_wrong_password_is_not_tried_again():
    assert is_passing(exceptions.TimeoutError("slow"))
    assert is_repeatable(exceptions.TimeoutError("slow"))
    assert is_passing(exceptions.AuthenticationError("WRONGPASS"))
    assert not is_repeatable(exceptions.AuthenticationError("WRONGPASS"))


def test_a_full_store_is_not_asked_again_at_once():
    assert is_repeatable(exceptions.ReadOnlyError("replica"))
    assert not is_repeatable(exceptions.OutOfMemoryError("full"))
    assert not is_repeatable(b"OOM")


def test_the_last_attempt_that_runs_out_of_time_keeps_the_reason_of_the_first():
    pending, deadline = PendingCommands([WireCommand("", None)], "redis://store"), CallDeadline(60)
    assert pending.note([exceptions.ReadOnlyError("You can't write against a read only replica.")], deadline)
    assert pending.note([exceptions.TimeoutError("slow")], deadline)
    [error] = pending.answers
    assert isinstance(error, StoreUnavailableError)
    assert error.reason == "READONLY"
