"""Test the search for the node of a cluster that has a store's slot."""

from __future__ import annotations

import pytest
from redis.exceptions import AuthenticationError, ClusterDownError, MovedError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from scrape_do_celery.store.cluster_nodes import ClusterNodes, SlotSearch

A, B, C = ("a", 1), ("b", 2), ("c", 3)


@pytest.fixture
def nodes():
    return ClusterNodes([A, B, A], "{p}:due")


def test_a_redirection_is_followed_and_remembered(nodes):
    search = SlotSearch(nodes)
    assert search.next_address() == A
    search.note_error(A, MovedError("7 c:3"))
    assert search.next_address() == C
    assert nodes.note_owner(C)
    assert not nodes.note_owner(C)
    assert SlotSearch(nodes).next_address() == C


@pytest.mark.parametrize("host", ["", "?"])
def test_a_node_that_does_not_know_its_address_has_the_host_that_was_asked(nodes, host):
    search = SlotSearch(nodes)
    search.note_error(search.next_address(), MovedError(f"7 {host}:9"))
    assert search.next_address() == ("a", 9)
    nodes.learn([[0, 16383, [host.encode(), 4, b"id"], [None, 5, b"id"]]], A)
    assert {("a", 4), ("a", 5)} <= set(nodes.addresses)


def test_nodes_that_disagree_end_the_search(nodes):
    search = SlotSearch(nodes)
    for _ in range(5):
        search.note_error(address := search.next_address(), MovedError("7 b:2" if address == A else "7 a:1"))
    with pytest.raises(MovedError):
        search.note_error(A, MovedError("7 b:2"))


@pytest.mark.parametrize("error", [RedisConnectionError("refused"), ClusterDownError("The cluster is down")])
def test_other_nodes_are_asked_after_a_dead_one(nodes, error):
    search = SlotSearch(nodes)
    search.note_error(search.next_address(), error)
    assert search.next_address() == B
    with pytest.raises(type(error)):
        search.note_error(B, error)


def test_a_silent_node_ends_the_search_and_comes_last_in_the_next_one(nodes):
    search = SlotSearch(nodes)
    with pytest.raises(RedisTimeoutError):
        search.note_error(search.next_address(), RedisTimeoutError("slow"))
    assert SlotSearch(nodes).next_address() == B


def test_a_wrong_password_ends_the_search(nodes):
    search = SlotSearch(nodes)
    with pytest.raises(AuthenticationError):
        search.note_error(search.next_address(), AuthenticationError("WRONGPASS"))


def test_nodes_of_the_cluster_are_learned_once(nodes):
    nodes.learn([[0, 5, [b"b", 2, b"x"], [b"c", 3, b"y", []]], [6, 9, [b"a", 1, b"z"]]], A)
    assert nodes.addresses == [A, B, C]
