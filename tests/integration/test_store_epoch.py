"""Test with real servers which restarts and failovers count as free of loss: only the log of a durable process does."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.steps.store_health import StoreHealth
from scrape_do_celery.store import AsyncStore, PartId, PartState, RunSpec, Store
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import ClaimPart
from scrape_do_celery.store.commands.purchases import WriteIntent
from tests.support.redis_servers import BINARIES, RedisServer, wait_until

ACCOUNT = "a"


class Site:
    """A durable server with the run `late`, whose intent a dump or a replica may lack."""

    def __init__(self, folder, binary):
        self._folder, self._binary = folder, binary
        self.server = RedisServer(folder / "first", binary, "--appendfsync", "always")

    def open_store(self, server=None):
        return Store.open((server or self.server).url, "p")

    def start_other(self):
        return RedisServer(self._folder / "other", self._binary, "--appendfsync", "always")

    def restart_with(self, *options):
        self.server._options += options
        self.server.restart()


def find_durable_process(server):
    async def go():
        store = AsyncStore.open(server.url, "p")
        try:
            return await StoreHealth(store).find_durable_process()
        finally:
            await store.aclose()

    return asyncio.run(go())


def create(store, run_id):
    store.run(CreateRun(run_id, RunSpec(JobCreationRequest(targets=[f"https://{run_id}.example/1"]))))


def write_intent(store, run_id, durable_process):
    part_id, states = PartId(run_id, 0), list(PartState)
    claim = store.run(ClaimPart(part_id, uuid.uuid4().hex, seconds=0.001, states=states, account=ACCOUNT))
    intent = WriteIntent(claim, uuid.uuid4().hex, 30.0, account=ACCOUNT, durable_process=durable_process)
    return store.run(intent)[0]


@pytest.fixture(params=list(BINARIES))
def site(request, tmp_path):
    made = Site(tmp_path, BINARIES[request.param]())
    with made.server:
        store = made.open_store()
        for run_id in ("first", "late"):
            create(store, run_id)
        process = find_durable_process(made.server)
        assert process == made.server.open_client().info("server")["run_id"]
        assert write_intent(store, "first", process) == "ok"
        assert store.client.get(store.keys.epoch).split()[3] == b"1"
        yield made


def test_restart_from_the_log_of_a_durable_process_loses_nothing(site):
    site.restart_with()
    assert write_intent(site.open_store(), "late", find_durable_process(site.server)) == "ok"


def lose_intent_by_dump(site):
    """Save, write the intent, and restart from the dump."""
    site.server.open_client().save()
    assert write_intent(site.open_store(), "late", find_durable_process(site.server)) == "ok"
    site.restart_with("--appendonly", "no")


def test_restart_without_the_log_counts_as_a_loss(site):
    lose_intent_by_dump(site)
    assert write_intent(site.open_store(), "late", find_durable_process(site.server)) == "maybe_sent"


def test_log_that_began_after_a_restart_without_it_proves_nothing(site):
    """Switch the log on again at once, as an operator does who notices the mistake."""
    lose_intent_by_dump(site)
    client = site.server.open_client()
    client.config_set("appendonly", "yes")
    facts = wait_until(lambda: (found := client.info("persistence"))["aof_rewrite_in_progress"] == 0 and found)
    assert facts["aof_enabled"] == 1
    process = find_durable_process(site.server)
    assert process
    assert write_intent(site.open_store(), "late", process) == "maybe_sent"


def test_replica_that_was_cut_off_lacks_writes(site):
    """Promote a replica that has the note of a durable process, and lacks the intents after it."""
    with site.start_other() as other:
        other.follow(site.server)
        other.promote()
        process = find_durable_process(site.server)
        assert write_intent(site.open_store(), "late", process or "gone") == "durability_pending"
        assert write_intent(site.open_store(other), "late", find_durable_process(other)) == "maybe_sent"


def test_server_that_was_demoted_and_promoted_again_may_lack_writes(site):
    with site.start_other() as other:
        other.follow(site.server)
        other.promote()
        site.server.follow(other)
        site.server.promote()
        assert write_intent(site.open_store(), "late", find_durable_process(site.server)) == "maybe_sent"


@pytest.mark.parametrize("change", ["log", "replica"])
def test_intent_waits_at_once_when_the_server_ceases_to_be_durable(site, change):
    """Write the intent with an answer about durability from before the change."""
    process = find_durable_process(site.server)
    with site.start_other() as other:
        if change == "log":
            site.server.open_client().config_set("appendonly", "no")
        else:
            other.follow(site.server)
        assert write_intent(site.open_store(), "late", process) == "durability_pending"


def test_answer_about_another_process_vouches_for_nothing(site):
    assert write_intent(site.open_store(), "late", "0" * 40) == "durability_pending"
