"""Find the node of a Redis Cluster that has the slot of a store. A prefix with a hash tag keeps a store in one slot.

A client for all slots would split each pipeline, and follow `ASK` to a node that has a part of the keys only. A store
needs one node, as on a single server, so each connection goes to that node, and `ASK` counts as a refusal.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import AuthenticationError, AuthorizationError, MovedError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Address = tuple[str, int]

#: Redirections that a connection follows. Nodes that disagree about a slot would send it back and forth.
_MAX_HOPS: Final = 5
#: Hosts of a node that does not know its own address. The node is reached by the host that was asked.
_UNKNOWN_HOSTS: Final = ("", "?")
#: Errors with which the search ends: a wrong password, and a silent node, which has used the time up.
_FINAL: Final = (AuthenticationError, AuthorizationError, RedisTimeoutError)


class ClusterNodes:
    """The addresses of the nodes that all connections of a client share. The node with the slot stands first."""

    def __init__(self, addresses: Iterable[Address], key: str) -> None:
        self.key = key
        self._lock = threading.Lock()
        self._addresses = list(dict.fromkeys(addresses))
        self._owner: Address | None = None

    @property
    def addresses(self) -> list[Address]:
        """The addresses, the most promising one first."""
        with self._lock:
            return list(self._addresses)

    def put_first(self, address: Address) -> None:
        """Note that a node is said to have the slot."""
        with self._lock:
            self._addresses = [address, *(one for one in self._addresses if one != address)]

    def put_last(self, address: Address) -> None:
        """Note that a node did not answer. The next search begins with another one."""
        with self._lock:
            self._addresses = [*(one for one in self._addresses if one != address), address]

    def note_owner(self, address: Address) -> bool:
        """Note that a node serves the slot. Return whether it is another one than before, so that nodes may be new."""
        self.put_first(address)
        is_new, self._owner = self._owner != address, address
        return is_new

    def learn(self, ranges: Any, asked: Address) -> None:
        """Add the nodes of a reply to `CLUSTER SLOTS`. If the first address fails later, another one is asked."""
        named = [_read_node(node, asked) for one in ranges for node in one[2:]]
        with self._lock:
            self._addresses = list(dict.fromkeys([*self._addresses, *named]))


def _read_node(node: Sequence[Any], asked: Address) -> Address:
    host = node[0].decode() if isinstance(node[0], bytes) else (node[0] or "")
    return (asked[0] if host in _UNKNOWN_HOSTS else host), int(node[1])


class SlotSearch:
    """The search of one connection for the node with the slot."""

    def __init__(self, nodes: ClusterNodes) -> None:
        self._nodes, self._left, self._hops = nodes, nodes.addresses, 0

    def next_address(self) -> Address:
        """Return the address to try next."""
        return self._left.pop(0)

    def note_error(self, address: Address, error: RedisError) -> None:
        """Note why a node does not serve the slot.

        Raises:
            RedisError: no other node is left to try, or a further try is of no use.
        """
        if isinstance(error, MovedError):
            self._hops += 1
            if self._hops > _MAX_HOPS:
                raise error
            host = address[0] if error.host in _UNKNOWN_HOSTS else error.host
            target = (host, int(error.port))
            self._nodes.put_first(target)
            self._left = [target, *(one for one in self._left if one != target)]
            return
        self._nodes.put_last(address)
        if isinstance(error, _FINAL) or not self._left:
            raise error
