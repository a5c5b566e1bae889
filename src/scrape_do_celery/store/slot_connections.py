"""Connections to the node of a cluster that has the slot of a store. A single server serves all slots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import redis.asyncio as redis_async
from redis.exceptions import ClusterDownError, MovedError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from scrape_do_celery.store.cluster_nodes import ClusterNodes, SlotSearch

#: Errors of a node that another node may not have.
_ELSEWHERE: Final = (RedisConnectionError, RedisTimeoutError, MovedError, ClusterDownError)

if TYPE_CHECKING:
    from redis.asyncio import Connection as _AsyncBase
    from redis.connection import Connection as _Base
else:
    _Base = _AsyncBase = object


class SlotConnection(_Base):
    """A connection for threads to the node with the slot of `nodes.key`. Put this class before one that connects."""

    def __init__(self, *args: Any, nodes: ClusterNodes, **kwargs: Any) -> None:
        self._nodes = nodes
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Connect to one node after the other, until one serves the slot."""
        search = SlotSearch(self._nodes)
        while self._sock is None:
            self.host, self.port = address = search.next_address()
            try:
                super().connect_check_health(*args, **kwargs)
            except _ELSEWHERE as error:
                search.note_error(address, error)

    def on_connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Greet the node, and ask it whether it serves the slot."""
        super().on_connect_check_health(*args, **kwargs)
        self.send_command("EXISTS", self._nodes.key, check_health=False)  # type: ignore[no-untyped-call]
        try:
            self.read_response()
        except ResponseError as error:
            _raise_elsewhere(error)
        if self._nodes.note_owner((self.host, self.port)):
            self.send_command("CLUSTER", "SLOTS", check_health=False)  # type: ignore[no-untyped-call]
            try:
                self._nodes.learn(self.read_response(), (self.host, self.port))
            except ResponseError:
                return  # a single server, or a user without this right: the known addresses are enough

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read a reply. After a node's silence, the next connection asks another node, which may know its successor."""
        try:
            return super().read_response(*args, **kwargs)
        except RedisTimeoutError:
            self._nodes.put_last((self.host, self.port))
            raise


class AsyncSlotConnection(_AsyncBase):
    """A connection for asyncio, as `SlotConnection`."""

    def __init__(self, *args: Any, nodes: ClusterNodes, **kwargs: Any) -> None:
        self._nodes = nodes
        super().__init__(*args, **kwargs)

    async def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Connect to one node after the other, until one serves the slot."""
        search = SlotSearch(self._nodes)
        while not self.is_connected:
            self.host, self.port = address = search.next_address()
            try:
                await super().connect_check_health(*args, **kwargs)
            except _ELSEWHERE as error:
                search.note_error(address, error)

    async def on_connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Greet the node, and ask it whether it serves the slot."""
        await super().on_connect_check_health(*args, **kwargs)
        await self.send_command("EXISTS", self._nodes.key, check_health=False)
        try:
            await self.read_response()
        except ResponseError as error:
            _raise_elsewhere(error)
        if self._nodes.note_owner((self.host, self.port)):
            await self.send_command("CLUSTER", "SLOTS", check_health=False)
            try:
                self._nodes.learn(await self.read_response(), (self.host, self.port))
            except ResponseError:
                return  # as for threads

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read a reply, as for threads."""
        try:
            return await super().read_response(*args, **kwargs)
        except RedisTimeoutError:
            self._nodes.put_last((self.host, self.port))
            raise


class AsyncSlotTcpConnection(AsyncSlotConnection, redis_async.Connection):
    """A connection by TCP for asyncio."""


class AsyncSlotTlsConnection(AsyncSlotConnection, redis_async.SSLConnection):
    """A connection by TLS for asyncio."""


def _raise_elsewhere(error: ResponseError) -> None:
    """Raise the error if another node must be asked.

    A node whose slot is moving away answers `ASK`, and serves the slot until the move ends. A user without a right to
    the probe gets the server's refusal with the first command.
    """
    if isinstance(error, _ELSEWHERE):
        raise error
