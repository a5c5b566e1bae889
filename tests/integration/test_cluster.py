"""Test a store on a real cluster: scripts while a slot moves, processes that follow it, and refused servers."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import ExitStack

import pytest
from redis.exceptions import RedisError

from scrape_do_celery.diagnostics import check_store
from scrape_do_celery.errors import ConfigurationError, StoreUnavailableError
from scrape_do_celery.findings import WRONG
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.store import AsyncStore, Keys, RunSpec, Store
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.runs import ReadRun
from scrape_do_celery.store.refusals import is_slot_refusal
from scrape_do_celery.store.register import StorePlace, find_neighbours, find_owner, register_store
from scrape_do_celery.store.scripts import load_scripts
from scrape_do_celery.store.server_kinds import refuse_unfit_server
from tests.support.redis_servers import BINARIES, RedisCluster, RedisServer, get_valkey, wait_until
from tests.support.tcp_proxies import ServerlessProxy, TlsProxy
from tests.support.time_limits import limit_time
from tests.unit.store.test_scripts import make_sample_commands

PREFIX = "{p}"
KEYS = Keys(PREFIX)
SPEC = RunSpec(JobCreationRequest(targets=["https://a.example/1"]))


@pytest.fixture(scope="module", params=list(BINARIES))
def cluster(request, tmp_path_factory):
    with RedisCluster(tmp_path_factory.mktemp("cluster"), BINARIES[request.param]()) as one:
        yield one


@pytest.fixture
def slot(cluster):
    """Return the slot of the store, which is empty and does not move."""
    for node in cluster.nodes:
        node.open_client().flushall()
    return cluster.slot_of(KEYS.due)


@pytest.fixture
def store(cluster, slot):
    one = Store.open(cluster.url, PREFIX)
    yield one
    one.close()


class HalfMovedSlot:
    """A slot that stays on its way from `source` to `target`, with chosen keys moved."""

    def __init__(self, cluster, slot):
        self.slot, self.source = slot, cluster.owner_of(slot)
        self.target = next(node for node in cluster.nodes if node is not self.source)
        self._ids = [node.open_client().execute_command("CLUSTER MYID") for node in (self.source, self.target)]

    def start(self, data, moved):
        """Put these keys into the store, begin the move, and move some of them."""
        source, target = self.source.open_client(), self.target.open_client()
        for client in (source, target):
            client.execute_command("CLUSTER SETSLOT", self.slot, "STABLE")
            client.flushall()
        with source.pipeline(transaction=False) as pipe:
            for key, value in data.items():
                pipe.restore(key, 0, value)
            pipe.execute()
        target.execute_command("CLUSTER SETSLOT", self.slot, "IMPORTING", self._ids[0])
        source.execute_command("CLUSTER SETSLOT", self.slot, "MIGRATING", self._ids[1])
        if moved:
            source.execute_command("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "KEYS", *moved)

    def stop(self):
        for node in (self.source, self.target):
            node.open_client().execute_command("CLUSTER SETSLOT", self.slot, "STABLE")
            node.open_client().flushall()

    def read(self):
        """Return the keys of both nodes with their values."""
        return [dump(self.source.open_client(), ()), dump(self.target.open_client(), ("ASKING",))]

    def call(self, node, *words):
        """Return the reply or the error of a call. The target serves keys that it has after `ASKING` only."""
        with node.open_client().pipeline(transaction=False) as pipe:
            if node is self.target:
                pipe.execute_command("ASKING")
            pipe.execute_command(*words)
            return pipe.execute(raise_on_error=False)[-1]


def dump(client, before):
    found = {}
    for key in sorted(client.scan_iter(f"{PREFIX}:*")):
        with client.pipeline(transaction=False) as pipe:
            for word in before:
                pipe.execute_command(word)
            pipe.dump(key)
            found[key] = pipe.execute()[-1]
    return found


def make_data(store):
    """Return the keys of a store in which most scripts find something to write."""
    client = store.client
    client.flushall()
    for script in ("create_run", "accept_run"):
        store.run(next(command for command in make_sample_commands() if command.script == script))
    part = KEYS.part("r:0")
    client.hset(part, mapping={"fence": 1, "state": "queued", "account": "a", "locks": "d", "slot": "a", "lease": 0})
    client.hset(part, mapping={"purchases": 1, "purchase_status": "open", "intent": time.time(), "strict": "d"})
    client.hset(part, mapping={"poll_set": KEYS.poll_set("a"), "coarse": "d", "order": 1, "stored_failed": 1})
    client.set(KEYS.order, 7)
    client.zadd(KEYS.slots("a"), {"r:0": 1})
    client.zadd(KEYS.slot_waiters("a"), {"r:0": 1})
    client.zadd(KEYS.poll_set("a"), {"r:0": 1})
    client.zadd(KEYS.due, {"r:0": 1, "r:run": 1})
    client.zadd(KEYS.content_expiry, {"r:0": 1})
    client.hset(KEYS.contents("r:0"), mapping={"0": "x"})
    client.hset(KEYS.provisional("r:0"), mapping={"0": "x"})
    client.hset(KEYS.totals, mapping={"accepted": 1})
    client.sadd(KEYS.accounts, "a")
    client.zadd(KEYS.unresolved("a", "d"), {"r:0:1 d 1": "+inf"})
    client.zadd(KEYS.rejected("a"), {"x": 1})
    client.hset(KEYS.list_poll("a"), mapping={"token": "token", "until": 0, "began": time.time()})
    return dump(client, ())


def find_unsafe(cluster, slot, store, scripts):
    """Return the scripts that wrote and were refused, and the scripts that ran, on a node with a part of the slot."""
    data, half, half_applied, served = make_data(store), HalfMovedSlot(cluster, slot), set(), set()
    for command in make_sample_commands():
        encoded = command.encode(KEYS)
        declared = [key for key in (key.encode() for key in encoded.keys) if key in data]
        others = [key for key in data if key not in declared]
        for moved in ([], declared, others, [*data][::2], [*data]):
            half.start(data, moved)
            before = half.read()
            for node in (half.source, half.target):
                call = ("EVAL", scripts[command.script], len(encoded.keys), *encoded.keys, *encoded.args)
                reply = half.call(node, *call)
                has_written = half.read() != before
                if has_written or not is_slot_refusal(reply):
                    (half_applied if isinstance(reply, RedisError) else served).add(command.script)
                    half.start(data, moved)
    half.stop()
    return half_applied, served


@pytest.mark.long
def test_each_script_is_refused_whole_while_the_slot_moves(cluster, slot, store):
    assert find_unsafe(cluster, slot, store, load_scripts(cluster_prefix=PREFIX)) == (set(), set())


@pytest.mark.long
def test_scripts_without_the_probe_would_stay_half_applied(cluster, slot, store):
    """Show that the trial can fail. Reading each key first is not enough: `note_unowned` counts anew on the target."""
    half_applied, served = find_unsafe(cluster, slot, store, load_scripts())
    assert {"finish_part", "finish_list_poll"} <= half_applied
    assert "note_unowned" in served


def move(cluster, slot, pause=0.0):
    target = next(node for node in cluster.nodes if node is not cluster.owner_of(slot))
    cluster.migrate_slot(slot, target, pause)


def test_threads_and_loops_follow_a_slot(cluster, slot, store):
    async def write(number):
        loop_store = AsyncStore.open(cluster.url, PREFIX)
        made = []
        for moved in range(3):
            made += await asyncio.gather(*(loop_store.run(CreateRun(f"a{number}-{moved}-{n}", SPEC)) for n in range(9)))
            await asyncio.to_thread(move, cluster, slot)
        await loop_store.aclose()
        return made

    assert all(one.new for one in asyncio.run(write(0)))
    for moved in range(3):
        assert all(one.new for one in store.run_all([CreateRun(f"t{moved}-{n}", SPEC) for n in range(9)]))
        move(cluster, slot)
    assert store.run(CreateRun("last", SPEC)).new
    owner = cluster.owner_of(slot)
    assert len(list(owner.open_client().scan_iter(KEYS.run("*")))) == 55
    assert store.client.info("server")["tcp_port"] == owner.port


@pytest.mark.long
def test_writes_of_threads_survive_slow_moves(cluster, slot):
    """Write without a pause while the slot moves back and forth. Each write happens once, or names its reason."""
    is_over, written, errors = threading.Event(), set(), []

    def write(thread):
        store = Store.open(cluster.url, PREFIX, timeout=1.5)
        number = 0
        while not is_over.is_set():
            number += 1
            time.sleep(0.02)
            while f"{thread}-{number}" not in written:
                try:
                    store.run_all([CreateRun(f"{thread}-{number}{part}", SPEC) for part in "ab"])
                    written.add(f"{thread}-{number}")
                except StoreUnavailableError as error:
                    errors.append(error.reason)
        store.close()

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for pause in (0.0, 0.004, 0.0, 0.01):
        time.sleep(0.4)
        move(cluster, slot, pause)
    is_over.set()
    for thread in threads:
        thread.join()
    assert errors, "some moves are slower than a call"
    assert set(errors) <= {"ASK", "MOVED", "TRYAGAIN", "CLUSTERDOWN"}
    client = cluster.owner_of(slot).open_client()
    runs = {key.decode().removeprefix(KEYS.run("")) for key in client.scan_iter(KEYS.run("*"), count=1000)}
    assert runs == {f"{one}{part}" for one in written for part in "ab"}
    parts = {key.decode().removeprefix(f"{PREFIX}:part:") for key in client.scan_iter(f"{PREFIX}:part:*", count=1000)}
    assert parts == {f"{run}:0" for run in runs}
    assert {name.decode() for name in client.zrange(KEYS.due, 0, -1)} == parts, "records and due set agree"


def test_a_slot_that_moves_at_once_refuses_nothing(tmp_path):
    """Move the slot by the command of Valkey 9, which hands all keys over in one moment."""
    with RedisCluster(tmp_path / "valkey", get_valkey()) as cluster:
        slot = cluster.slot_of(KEYS.due)
        source = cluster.owner_of(slot)
        target = next(node for node in cluster.nodes if node is not source)
        target_id = target.open_client().execute_command("CLUSTER MYID")
        store, number = Store.open(cluster.url, PREFIX), 0
        store.run_all([CreateRun(f"before{number}", SPEC) for number in range(50)])
        move = ("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target_id)
        source.open_client().execute_command(*move)
        while cluster.owner_of(slot) is not target:
            number += 1
            assert store.run(CreateRun(f"during{number}", SPEC)).new
        assert store.run(CreateRun("after", SPEC)).new
        assert len(list(target.open_client().scan_iter(KEYS.run("*"), count=1000))) == 51 + number
        store.close()


def read(store, number):
    try:
        return store.run(ReadRun(f"r{number}"))
    except ConfigurationError as error:
        return error


def test_a_prefix_without_a_hash_tag_is_refused(cluster, slot):
    store = Store.open(cluster.url, "p")
    with pytest.raises(ConfigurationError, match="has no hash tag"):
        refuse_unfit_server(store)
    with pytest.raises(ConfigurationError, match="has no hash tag"):
        store.run(CreateRun("r", SPEC))
    # The first node has some of the slots.
    refused = [read(store, number) for number in range(20)]
    assert 0 < sum(isinstance(one, ConfigurationError) for one in refused) <= 20
    store.close()


def test_a_database_number_is_refused(cluster):
    store = Store.open(cluster.url.removesuffix("0") + "3", PREFIX)
    with pytest.raises(ConfigurationError, match="has database 0 only"):
        refuse_unfit_server(store)
    store.close()


def test_a_process_that_starts_while_a_node_is_silent_asks_another(cluster, slot):
    first, second = cluster.nodes[0], cluster.nodes[1]
    if cluster.owner_of(slot) is first:
        cluster.migrate_slot(slot, second)
    first.pause()
    try:
        store = Store.open(f"{first.url};{second.url}", PREFIX, timeout=4.0)
        assert store.run(CreateRun("r", SPEC)).new
        store.close()
    finally:
        first.resume()


@pytest.mark.parametrize("prefix", [PREFIX, "p"])
@pytest.mark.parametrize(
    "refusal", ["Script attempted to access a non local key in a cluster node", "script tried accessing undeclared key"]
)
def test_a_server_that_hides_keys_from_scripts_is_refused(cluster, tmp_path, prefix, refusal):
    """Let a proxy stand before a server, as for serverless offers. Some call themselves clusters, and some do not."""
    options = ("--cluster-enabled", "yes") if prefix == PREFIX else ()
    with (
        RedisServer(tmp_path / "one", cluster.binary, *options) as server,
        ServerlessProxy(server.port, refusal) as proxy,
    ):
        if options:
            server.open_client().execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
            wait_until(lambda: server.open_client().set(PREFIX, 1), hint="a cluster of one node")
        store = Store.open(f"redis://127.0.0.1:{proxy.port}/0", prefix)
        with pytest.raises(ConfigurationError, match="does not let a script use keys that it does not declare"):
            refuse_unfit_server(store)
        found = list(check_store(store))
        assert [one.level for one in found] == [WRONG]
        assert refusal in found[0].text
        store.close()


def test_a_user_with_the_rights_of_one_prefix_follows_the_slot(cluster, slot):
    for node in cluster.nodes:
        rights = ("on", ">secret", f"~{PREFIX}:*", "+@read", "+@write", "-@dangerous", "+eval", "+evalsha", "+time")
        node.open_client().execute_command("ACL", "SETUSER", "limited", "reset", *rights)
    store = Store.open(cluster.url.replace("://", "://limited:secret@"), PREFIX)
    refuse_unfit_server(store)
    for moved in range(2):
        assert store.run(CreateRun(f"r{moved}", SPEC)).new
        move(cluster, slot)
    assert store.run(CreateRun("last", SPEC)).new
    store.close()
    wrong = Store.open(cluster.url.replace("://", "://limited:wrong@"), PREFIX)
    with pytest.raises(StoreUnavailableError, match=r"(?i)wrongpass|invalid username"):
        wrong.run(ReadRun("last"))
    wrong.close()


@pytest.fixture
def relays(cluster, tmp_path):
    """Provide a TLS relay before each node. Each node names the port of its relay as its own."""
    with ExitStack() as stack:
        made = []
        for number, node in enumerate(cluster.nodes):
            (folder := tmp_path / f"relay{number}").mkdir()
            made.append(stack.enter_context(TlsProxy(node.port, folder)))
        announce(cluster, [one.port for one in made])
        yield made
        announce(cluster, [node.port for node in cluster.nodes])


def announce(cluster, ports):
    """Let each node name a port. Wait until the other nodes know the port."""
    for node, port in zip(cluster.nodes, ports, strict=True):
        node.open_client().config_set("cluster-announce-port", port)
    for number, node in enumerate(cluster.nodes):
        others = {port for other, port in enumerate(ports) if other != number}
        wait_until(lambda node=node, others=others: others <= set(read_ports(node)), hint="the ports of the nodes")


def read_ports(node):
    return [one[2][1] for one in node.open_client().execute_command("CLUSTER SLOTS")]


def test_a_slot_is_followed_by_tls(cluster, slot, relays, tmp_path):
    authorities = tmp_path / "all.pem"
    authorities.write_text("".join(relay.ca_file.read_text() for relay in relays))
    url = f"rediss://127.0.0.1:{relays[0].port}/0?ssl_ca_certs={authorities}"
    store = Store.open(url, PREFIX)
    for moved in range(3):
        assert store.run(CreateRun(f"r{moved}", SPEC)).new
        move(cluster, slot)
    store.close()

    async def write():
        loop_store = AsyncStore.open(url, PREFIX)
        made = []
        for moved in range(3):
            made.append(await loop_store.run(CreateRun(f"a{moved}", SPEC)))
            await asyncio.to_thread(move, cluster, slot)
        await loop_store.aclose()
        return made

    assert all(one.new for one in asyncio.run(write()))
    assert all(relay.accepted for relay in relays if relay.target == cluster.owner_of(slot).port)


def test_two_stores_of_one_cluster_notice_their_account(cluster, slot, store):
    other = Store.open(cluster.url, "{other}")
    assert cluster.slot_of("{other}") != slot
    register_store(store, ["f"])
    register_store(other, ["f"])
    assert find_neighbours(store, ["f"]) == [StorePlace(0, "{other}")]
    assert find_neighbours(other, ["f"]) == [StorePlace(0, PREFIX)]
    cluster.owner_of(cluster.slot_of("{other}")).open_client().set(other.keys.owner("job"), "r:0")
    assert find_owner(store, [StorePlace(0, "{other}")], "job") == StorePlace(0, "{other}")
    assert find_owner(store, [StorePlace(0, "{other}")], "unknown") is None
    other.close()


@pytest.mark.parametrize("name", list(BINARIES))
def test_a_prefix_with_a_hash_tag_works_on_a_single_server(name, tmp_path):
    with RedisServer(tmp_path / "one", BINARIES[name]()) as server:
        store = Store.open(f"{server.url.removesuffix('0')}3", PREFIX)
        refuse_unfit_server(store)
        assert store.run(CreateRun("r", SPEC)).new
        register_store(store, ["f"])
        assert server.open_client().hlen("scrape_do:stores") == 1
        store.close()


@pytest.mark.long
@pytest.mark.parametrize("end", ["kill", "pause"])
@pytest.mark.parametrize("name", list(BINARIES))
def test_a_promoted_replica_serves_at_once_and_begins_a_new_epoch(name, end, tmp_path):
    """Let a node die or freeze. Its replica may lack the last intents, so a new epoch begins."""
    with RedisCluster(tmp_path / "cluster", BINARIES[name]()) as cluster:
        owner = cluster.owner_of(cluster.slot_of(KEYS.due))
        replica = cluster.add_replica(owner)
        store = Store.open(owner.url, PREFIX)
        assert store.run_all([CreateRun("r", SPEC), CreateRun("q", SPEC)])
        before = store.client.get(KEYS.epoch).split()[2]
        wait_until(lambda: replica.open_client().dbsize() == owner.open_client().dbsize(), hint="a copy of the store")
        getattr(owner, end)()
        wait_until(lambda: replica.role == "master", 60.0, "a promoted replica")
        with limit_time(10):
            assert store.run(CreateRun("s", SPEC)).new
            assert asyncio.run(write_in_loop(cluster, "t")).new
        assert store.client.info("server")["tcp_port"] == replica.port
        assert store.client.get(KEYS.epoch).split()[2] != before
        assert store.run(ReadRun("r")).parts[0].state == "queued"
        store.close()


async def write_in_loop(cluster, run_id):
    store = AsyncStore.open(";".join(node.url for node in cluster.nodes), PREFIX)
    made = await store.run(CreateRun(run_id, SPEC))
    await store.aclose()
    return made
