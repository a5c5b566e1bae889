"""Test the refusal of servers that are no store."""

from __future__ import annotations

import pytest
from redis.crc import key_slot
from redis.exceptions import NoPermissionError, ResponseError, TryAgainError

from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.store import Keys, Store
from scrape_do_celery.store.commands.rights import Refusal
from scrape_do_celery.store.server_kinds import find_slot, refuse_unfit_server

NOT_LOCAL = "ERR Script attempted to access a non local key in a cluster node script: f_1, on @user_script:1."


@pytest.fixture
def tagged(store):
    return Store(store.redis, Keys("{p}"))


def answer(monkeypatch, client, name, reply):
    def give(*_, **__):
        if isinstance(reply, Exception):
            raise reply
        return reply

    monkeypatch.setattr(client, name, give)


@pytest.mark.parametrize("facts", [{"cluster_enabled": 0}, {}, NoPermissionError("no permissions to run 'info'")])
def test_a_single_server_is_fine(store, monkeypatch, facts):
    answer(monkeypatch, store.redis, "info", facts)
    refuse_unfit_server(store.sync_store)


def test_a_cluster_needs_a_hash_tag(store, tagged, monkeypatch):
    answer(monkeypatch, store.redis, "info", {"cluster_enabled": 1})
    with pytest.raises(ConfigurationError, match="Redis Cluster, and SCRAPE_DO_KEY_PREFIX has no hash tag"):
        refuse_unfit_server(store.sync_store)
    refuse_unfit_server(tagged)


def test_a_cluster_has_one_database(tagged, monkeypatch):
    answer(monkeypatch, tagged.client, "info", ResponseError("SELECT is not allowed in cluster mode"))
    with pytest.raises(ConfigurationError, match="database 0 only"):
        refuse_unfit_server(tagged)


@pytest.mark.parametrize("text", [NOT_LOCAL, "ERR script tried accessing undeclared key", "ERR unknown command 'EVAL'"])
def test_a_server_that_hides_keys_from_scripts_is_refused(tagged, monkeypatch, text):
    answer(monkeypatch, tagged.client, "eval", ResponseError(text))
    with pytest.raises(ConfigurationError, match="does not let a script use keys that it does not declare"):
        refuse_unfit_server(tagged)


def test_a_slot_that_moves_is_no_reason_to_refuse(tagged, monkeypatch):
    answer(monkeypatch, tagged.client, "eval", ResponseError(NOT_LOCAL))
    answer(monkeypatch, tagged.client, "exists", TryAgainError("Multiple keys request"))
    with pytest.raises(TryAgainError):
        refuse_unfit_server(tagged)


def test_a_refusal_that_passes_is_no_reason_to_refuse(tagged, monkeypatch):
    answer(monkeypatch, tagged.client, "eval", ResponseError("BUSY Redis is busy running a script."))
    with pytest.raises(ResponseError, match="BUSY"):
        refuse_unfit_server(tagged)


@pytest.mark.parametrize(
    "error", [NoPermissionError("no permissions to run 'eval'"), ResponseError("ERR ACL failure in script: no key")]
)
def test_a_missing_right_is_left_to_the_check_of_rights(tagged, monkeypatch, error):
    answer(monkeypatch, tagged.client, "eval", error)
    refuse_unfit_server(tagged)


def test_the_slot_of_a_store_is_told_on_a_cluster_only(store, tagged, monkeypatch):
    one = Store.open("redis://127.0.0.1:1/0", "{p}")
    answer(monkeypatch, one.client, "info", {"cluster_enabled": 1})
    assert f"the store is slot {key_slot(b'p')} of a Redis Cluster, now at 127.0.0.1:1;" in find_slot(one)
    one.close()
    answer(monkeypatch, store.redis, "info", {"cluster_enabled": 0})
    assert find_slot(tagged) is None
    assert find_slot(store.sync_store) is None


def test_only_a_missing_right_is_for_good():
    assert Refusal("SET", "NOPERM this user has no permissions").is_for_good
    assert not Refusal("SET", "OOM command not allowed").is_for_good
