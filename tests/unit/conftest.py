"""Provide an in-memory store, a movable clock, a Celery app with caught messages, and a scripted API."""

from __future__ import annotations

import asyncio
import os
import re
import time
import uuid
import weakref
from collections import defaultdict
from types import SimpleNamespace
from unittest.mock import patch

import fakeredis
import fakeredis._socket._base as fake_socket
import fakeredis.commands_mixins.server_mixin as fake_server
import pytest
from celery import _state
from celery.backends import cache
from fakeredis._commands import command as fake_command
from kombu.transport import memory
from redis.exceptions import ConnectionError as RedisConnectionError
from tenacity import wait_none

from scrape_do_celery import routing
from scrape_do_celery.config import Settings
from scrape_do_celery.errors import AsyncAPINotFoundError, AsyncAPIRateLimitError, AsyncAPIServerError
from scrape_do_celery.models import (
    JobCreationRequest,
    JobCreationResponse,
    JobDetails,
    TaskDetails,
    UndetailedTaskResponse,
    UserInformation,
)
from scrape_do_celery.models.sendable import KEPT
from scrape_do_celery.rules.absence import AbsenceTracker
from scrape_do_celery.runs import AppContext, enqueue, make_app
from scrape_do_celery.runs.stand_in_producers import CapturingProducer
from scrape_do_celery.steps.absence_check import AbsenceCheck
from scrape_do_celery.steps.context import WorkerContext
from scrape_do_celery.steps.once import OnceFilter
from scrape_do_celery.steps.rate_limiter import RateLimiter, is_stopping
from scrape_do_celery.store import AsyncStore, Keys, PartId, PartRecord, PartState, RunRecord, RunSpec, Store
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.dispatch import ClaimDue
from scrape_do_celery.store.commands.parts import ClaimPart, FinishPart, UpdatePart, UpdateResult
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ReadRun, ReadSpec, RecordOutcome
from scrape_do_celery.store.declared_keys import declared_keys
from scrape_do_celery.store.fields import OTHER_PART_FIELDS, OTHER_RUN_FIELDS, declared_fields
from scrape_do_celery.store.retention import Expiry


def match_names(declared):
    """Return a pattern of the names of declared fields. A name with `<...>` stands for many fields."""
    return re.compile("|".join(f"{re.escape(one.stem)}{'.+' if '<' in one.name else ''}$" for one in declared))


DECLARED_OF_PARTS = match_names([*declared_fields(PartRecord), *OTHER_PART_FIELDS])
DECLARED_OF_RUNS = match_names([*declared_fields(RunRecord), *OTHER_RUN_FIELDS])
#: The pattern of the name behind the prefix, and the life, of each declared key.
DECLARED_LIVES = [
    (re.compile(re.sub("<[^>]+>", ".*", one.pattern.removeprefix("P:"))), one.life) for one in declared_keys()
]
TOKEN = "token-that-must-not-be-seen"


def is_declared_life(name, life):
    """Return whether the seconds of life of a key, or None, agree with a declaration that names the key."""
    for pattern, declared in DECLARED_LIVES:
        if pattern.fullmatch(name.partition(":")[2]):
            if declared in {Expiry.NEVER, Expiry.DELETED}:
                agrees = life is None
            elif isinstance(declared, Expiry):
                agrees = True
            else:
                agrees = life is not None and life <= declared
            if agrees:
                return True
    return False


class FakeClock:
    """The clock of the in-memory server. The clock also runs by itself until a test stops it."""

    ahead = 0.0
    stopped_at = None

    def __init__(self):
        #: Functions that are called with the seconds of each move.
        self.on_forward = []

    def __getattr__(self, name):
        return getattr(time, name)

    def time(self):
        return (self.stopped_at or time.time()) + self.ahead

    def stop(self):
        self.stopped_at = time.time()

    def forward(self, seconds):
        self.ahead += seconds
        for move in self.on_forward:
            move(seconds)


class FakeStore:
    """An in-memory store with a sync and an async shell over the same data, and helpers to read and change it."""

    account = ""

    def __init__(self, clock, server=None, keys=None):
        self.clock, self.server = clock, server or fakeredis.FakeServer()
        # fakeredis makes a database at its first use, without a lock. Threads that connect at the same moment would
        # each get a database of their own, and one of them would keep its writes.
        _ = self.server.dbs[0]
        self.redis = fakeredis.FakeRedis(server=self.server)
        self.sync_store = Store(self.redis, keys or Keys("p"))
        if isinstance(clock, FakeClock):
            clock.on_forward.append(self._advance_watched)

    @property
    def watched(self):
        """The watched clock; the server's time before the first pass of a dispatcher."""
        return float(self.redis.hget(self.keys.clock, "watched") or self.clock.time())

    def _advance_watched(self, seconds):
        """Advance the watched clock with the server's clock, as the passes of a dispatcher would in that time."""
        if self.redis.exists(self.keys.clock):
            for field in ("watched", "last"):
                self.redis.hincrbyfloat(self.keys.clock, field, seconds)

    @property
    def keys(self):
        return self.sync_store.keys

    @keys.setter
    def keys(self, keys):
        self.sync_store.keys = keys

    def run(self, command):
        reply = self.sync_store.run(command)
        assert reply != UpdateResult.FORBIDDEN, "no such transition: `force_state` sets up a state"
        return reply

    def run_async(self, work):
        """Return the result of `work(store)`, which gets the store of an event loop."""

        async def go():
            store = AsyncStore(fakeredis.FakeAsyncRedis(server=self.server), self.keys)
            try:
                return await work(store)
            finally:
                await store.aclose()

        return asyncio.run(go())

    def create_run(
        self,
        run_id="r",
        targets=2,
        *,
        each=None,
        request=None,
        key=None,
        waiter=None,
        signature="",
        start_delay=None,
        tick=None,
        parent=None,
        **run,
    ):
        """Create a run with `targets` generated targets, or with the URLs in `each`. `run` holds its spec's options."""
        spec = RunSpec(JobCreationRequest(targets=each or urls(targets), **(request or {})), **run)
        options = {"key": key, "waiter": waiter, "signature": signature, "start_delay": start_delay, "tick": tick}
        return self.run(CreateRun(run_id, spec, parent=parent, **options))

    def restart_server(self, *, lossless=False):
        """Begin another server process. Unless `lossless`, the previous process lost its last writes."""
        key = self.keys.epoch
        _, since, epoch, _, watched = self.redis.get(key).split()
        self.redis.set(key, b"another-life %s %s %d %s" % (since, epoch, lossless, watched))

    def note_worker(self):
        """Let the store know that a worker serves it, as the dispatcher of a worker does."""
        self.redis.set(self.keys.namespace_owner, "app")

    def run_ids(self):
        """Return the ids of stored runs, without the marks of forgotten runs."""
        found = (key.decode().split(":", 2)[2] for key in self.redis.scan_iter(f"{self.keys.prefix}:run:*"))
        return {run_id for run_id in found if not self.redis.hexists(self.keys.run(run_id), "forgotten")}

    def create_multi_part_run(self, count, run_id="r", **options):
        """Create a run of `count` parts. Each part but the last has 1,000 targets."""
        return self.create_run(run_id, (count - 1) * 1000 + 1, **options)

    def try_claim_part(self, run_id="r", part=0, *, states=PartState, seconds=30.0, token=None, **options):
        part_id, options = PartId(run_id, part), {"account": self.account, "isolated": True, **options}
        token = token or uuid.uuid4().hex
        return self.run(ClaimPart(part_id, token, seconds=seconds, states=states, **options))

    def claim_part(self, run_id="r", part=0, **options):
        """Claim the part, and fail if the store refuses the claim."""
        claim = self.try_claim_part(run_id, part, **options)
        assert claim is not None
        return claim

    def update_part(self, claim, after=None, to=None, **fields):
        return self.run(UpdatePart(claim, fields, to=to, after=after))

    def set_fields(self, run_id="r", part=0, **fields):
        """Write fields without any rule of the store. None removes a field."""
        for name, value in fields.items():
            if value is None:
                self.redis.hdel(self.keys.part(PartId(run_id, part)), name)
            else:
                self.redis.hset(self.keys.part(PartId(run_id, part)), name, value)

    def force_state(self, run_id="r", part=0, state=PartState.RUNNING):
        """Set the state of a part although no transition leads to it, as a shortcut of a test."""
        self.set_fields(run_id, part, state=state)

    def make_running(self, run_id="r", part=0, *, job=None, state=PartState.RUNNING, now=None):
        """Move a part to a state in which its job is known. The part is released and due at once."""
        claim = self.claim_part(run_id, part)
        ids = [f"t{n}" for n in range(claim.part.total)]
        job = job or f"job-{run_id}-{part}"
        self.force_state(run_id, part, state)
        fields = {
            "job": job,
            "tasks": pack(ids),
            "bought_at": f"{(now or claim.now):.4f}",
            "api_failures": 0,
        }
        assert self.run(UpdatePart(claim, fields, after=0.0, owner=job)) == "ok"
        return job

    def finish_part(self, run_id="r", part=0, outcome="succeeded", **options):
        """Move a part to its end."""
        return self.run(FinishPart(self.claim_part(run_id, part), outcome, **options))

    def read_run(self, run_id="r"):
        return self.run(ReadRun(run_id))

    def part(self, run_id="r", part=0):
        return self.read_run(run_id).parts[part]

    def fields(self, key):
        return {name.decode(): value.decode(errors="replace") for name, value in self.redis.hgetall(key).items()}

    def part_fields(self, run_id="r", part=0):
        return self.fields(self.keys.part(PartId(run_id, part)))

    def run_fields(self, run_id="r"):
        return self.fields(self.keys.run(run_id))

    def due_parts(self):
        """Map each part to the seconds from now until it is due."""
        return self._moments(self.keys.due)

    def due_times(self):
        """Map each part to the seconds until it is due, by itself or among the running jobs of its account."""
        return {
            name: at
            for key in (self.keys.due, *self.redis.scan_iter(self.keys.poll_set("*")))
            for name, at in self._moments(key).items()
        }

    def _moments(self, key):
        now = self.clock.time()
        return {name.decode(): score - now for name, score in self.redis.zrange(key, 0, -1, withscores=True)}

    def dispatched(self):
        return {name.decode() for name in self.redis.zrange(self.keys.dispatched, 0, -1)}

    def claim_due(self, *, limit=100, cap=100):
        return self.run(ClaimDue(limit=limit, cap=cap))

    def ttls(self):
        """Map each key of a run to its seconds of life, or to None if the key never expires."""
        keys = sorted(self.redis.scan_iter(f"{self.keys.prefix}:*:*"))
        return {key.decode(): None if (ttl := self.redis.ttl(key)) < 0 else ttl for key in keys}

    def wrong_lives(self):
        """Return the keys whose life is not the declared one."""
        return {name: life for name, life in self.ttls().items() if not is_declared_life(name, life)}

    def undeclared_fields(self):
        """Return the fields of runs and parts that no declaration names."""
        found = set()
        for kind, declared in (("part", DECLARED_OF_PARTS), ("run", DECLARED_OF_RUNS)):
            for key in self.redis.scan_iter(f"{self.keys.prefix}:{kind}:*"):
                names = {name.decode() for name in self.redis.hkeys(key)}
                found |= {f"{kind}: {name}" for name in names if not declared.match(name)}
        return found

    def dump_keys(self):
        return {key: self.redis.dump(key) for key in sorted(self.redis.scan_iter())}


class ScriptedAPI:
    """The API client's methods, answered from a script. The last answer of a method is repeated."""

    def __init__(self):
        self.calls, self._answers, self.posts = [], defaultdict(list), 0

    def script(self, **answers):
        for method, given in answers.items():
            self._answers[method] = list(given) if isinstance(given, list) else [given]
        return self

    def called(self, method):
        return [arguments for name, *arguments in self.calls if name == method]

    async def post_job(self, job, *, before_send, timeout):  # noqa: ASYNC109 (the client's own name)
        request = JobCreationRequest.model_validate_json(job.body, context=KEPT)
        await before_send()
        self.posts += 1
        return await self._answer("create_job", request)

    async def get_job(self, job_id):
        return await self._answer("get_job", job_id)

    async def cancel_job(self, job_id):
        return await self._answer("cancel_job", job_id)

    async def list_jobs(self, **filters):
        return await self._answer("list_jobs", filters)

    async def get_user_info(self):
        return await self._answer("get_user_info")

    async def get_task(self, job_id, task_id):
        return await self._answer("get_task", job_id, task_id)

    async def aclose(self):
        self.calls.append(("aclose",))

    async def _answer(self, method, *arguments):
        self.calls.append((method, *arguments))
        answers = self._answers[method]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            answer = answer(*arguments)
        if asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeStoreHealth:
    """A store with the durability and the free memory that a test sets."""

    durable, used, refusals = True, 0.0, 0

    async def find_durable_process(self):
        return "0123456789abcdef" if self.durable else ""

    async def is_below(self, below):
        return self.used < below

    def note_write_refused(self):
        self.refusals += 1


class StepHarness(FakeStore):
    """An app context and a worker context over the in-memory store, with caught messages and a scripted API."""

    def __init__(self, clock, monkeypatch, settings):
        super().__init__(clock, keys=Keys(settings.key_prefix))
        self.settings, self.api, self.sent = settings, ScriptedAPI(), []
        self.health, self.job_list, self.account = FakeStoreHealth(), None, settings.account_id
        self.once, self.absent = OnceFilter(), AbsenceTracker()
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(
            Store, "open", lambda url, prefix, encryptor=None, **_: Store(self.redis, Keys(prefix, encryptor))
        )
        monkeypatch.setattr(AsyncStore, "open", lambda url, prefix, encryptor=None, **_: self.async_store())
        monkeypatch.setattr("scrape_do_celery.steps.context.wait_random_exponential", lambda **_: wait_none())
        # A loaded machine may take longer than the second in which a step reads the store's clock.
        monkeypatch.setattr("scrape_do_celery.steps.context.AT_ONCE", 60.0)
        for name in ("AsyncScrapeDoAsyncAPIClient", "SubmitClient"):
            monkeypatch.setattr(f"scrape_do_celery.steps.context.{name}", self._client)
        self.app = self.catch_messages(make_app(settings))
        self.app_context = AppContext.for_app(self.app)

    def _client(self, api_key, **options):
        self.client_options = {"api_key": api_key, **options}
        return self.api

    def catch_messages(self, app):
        """Return the app after replacing its publisher by a recorder."""

        def send_task(name, args=None, kwargs=None, **options):
            if isinstance(options.get("producer"), CapturingProducer):
                return
            self.sent.append(SimpleNamespace(name=name, args=args, kwargs=kwargs, options=options))

        self._monkeypatch.setattr(app, "send_task", send_task)
        return app

    def async_store(self):
        return AsyncStore(fakeredis.FakeAsyncRedis(server=self.server), self.keys)

    def step_messages(self):
        """Return the messages since the last call, as (step, names)."""
        caught, self.sent[:] = [(m.name, m.args[0]) for m in self.sent], []
        return caught

    def run_step(self, handler, claim, *, broken=None, times=1):
        """Return the answer of a step's handler for a claim.

        The store fails at the command `broken`, `times` times, and does not carry the command out.
        """

        async def go(store):
            # A test may have changed the settings of its harness.
            self.app_context.settings = self.settings
            context = WorkerContext(
                self.app_context,
                store=store,
                client=self.api,
                submit_client=self.api,
                rate_limiter=RateLimiter(store, here=10, limit=10),
                loop=None,
                health=self.health,
                job_list=self.job_list,
                absences=AbsenceCheck(self.absent, tolerance=self.settings.api_clock_tolerance),
                once=self.once,
            )
            failures = [RedisConnectionError("away")] * times
            run = store.run

            async def sometimes(command):
                if broken is not None and broken == command.script and failures:
                    raise failures.pop()
                return await run(command)

            store.run = sometimes
            # `run_step` sets this flag for every step.
            is_stopping.set(getattr(claim, "stop_reason", None) is not None)
            return await handler(context, claim)

        return self.run_async(go)

    def store_content(self, run_id="r", part=0, position=0, **fields):
        return self.run(StoreContent(PartId(run_id, part), position, task(position, **fields)))


def urls(count, start=0):
    return [f"https://shop.example/{n}" for n in range(start, start + count)]


def task(position=0, *, job="job-r-0", status="success", content="<html>", **fields):
    """Make a fetched task in the form of the API."""
    fields = {"url": f"https://shop.example/{position}", "status_code": 200, **fields}
    return TaskDetails(task_id=f"t{position}", job_id=job, status=status, content=content, **fields)


def job(status="pending", count=2, *, tasks=None, job_id="job-r-0", summary=True, start=0):
    """Make a job of the API. `tasks` sets the statuses of its tasks, if they differ from the job's status."""
    statuses = tasks or [status] * count
    return JobDetails(
        job_id=job_id,
        status=status,
        task_ids=[f"t{n}" for n in range(len(statuses))],
        tasks=[
            UndetailedTaskResponse(task_id=f"t{n}", url=f"https://shop.example/{n + start}", status=one)
            for n, one in enumerate(statuses)
        ]
        if summary
        else [],
    )


def created(job_id="job-r-0", count=2):
    return JobCreationResponse(job_id=job_id, task_ids=[f"t{n}" for n in range(count)])


def refusal(status, retry_after=None):
    """Make the error of an HTTP status."""
    kind = {404: AsyncAPINotFoundError, 429: AsyncAPIRateLimitError, 500: AsyncAPIServerError}.get(status)
    kind = kind or AsyncAPINotFoundError.for_status(status)
    return kind(f"GET /x: {status}", status, "no", None, retry_after, "no")


#: The facts of a server process that has read its append-only file, by the section of `INFO`.
SERVER_INFO = {
    b"server": b"run_id:0123456789abcdef\r\n",
    b"replication": b"role:master\r\nconnected_slaves:0\r\nmaster_replid2:0000\r\nrepl_backlog_active:0\r\n",
    b"persistence": b"aof_enabled:1\r\naof_rewrite_in_progress:0\r\naof_last_rewrite_time_sec:-1\r\n",
}


@fake_command((), (bytes,))
def info(self, *sections):
    """Return a section of `INFO`, which fakeredis leaves out."""
    return SERVER_INFO.get(sections[0].lower(), b"") if sections else b"".join(SERVER_INFO.values())


# Set permanently, because fakeredis reads a command's signature at its declaration.
fake_server.ServerCommandsMixin.info = info


@pytest.fixture
def server_info():
    """Return the sections of `INFO` of the in-memory server. A test may change them, and add others."""
    with patch.dict(SERVER_INFO):
        yield SERVER_INFO


@pytest.fixture
def clock(monkeypatch):
    moved = FakeClock()
    monkeypatch.setattr(fake_socket, "time", moved)
    monkeypatch.setattr(fake_server, "time", moved)
    return moved


@pytest.fixture
def store(clock):
    made = FakeStore(clock)
    yield made
    assert made.undeclared_fields() == set(), "declare the field in store/records.py or store/fields.py"
    assert made.wrong_lives() == {}, "declare the life in store/keys.py"


@pytest.fixture(scope="session")
def make_store():
    """Make another in-memory store with a real clock, for tests that need a store per example."""
    return lambda keys: FakeStore(time, keys=keys)


@pytest.fixture
def clean_environment(monkeypatch):
    """Remove settings from the environment, and the Celery app and the messages of another test."""
    for name in [name for name in os.environ if name.upper().startswith(("SCRAPE_DO_", "CELERY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("scrape_do_celery.config.variables._warned", set())
    monkeypatch.setattr(_state, "_apps", weakref.WeakSet())
    monkeypatch.setattr(_state, "default_app", None)
    monkeypatch.setattr(_state._tls, "current_app", None)
    monkeypatch.setattr("scrape_do_celery.runs.celery_app._own_apps", {})
    monkeypatch.setattr(cache, "_DUMMY_CLIENT_CACHE", {})
    monkeypatch.setattr(memory.Channel, "queues", {})


@pytest.fixture
def settings(clean_environment):
    """Return settings without randomness and without a server."""
    return Settings(
        api_key=TOKEN,
        redis_url="redis://store.invalid/0",
        broker_url="memory://",
        result_backend="cache+memory://",
        key_prefix="p",
        poll_jitter=False,
    )


@pytest.fixture
def step_harness(clock, monkeypatch, settings):
    made = StepHarness(clock, monkeypatch, settings)
    # Only a worker loads the steps by itself. Without this line, a test may need another test that has loaded them.
    made.app.loader.import_task_module("scrape_do_celery.tasks")
    yield made
    WorkerContext.close_for_app(made.app)
    assert made.undeclared_fields() == set(), "declare the field in store/records.py or store/fields.py"


@pytest.fixture
def credits_left(monkeypatch):
    """Return the answers for the credits that are left, in order. The last one is repeated."""
    answers = [1000]

    class Client:
        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def get_user_info(self):
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, Exception):
                raise answer
            return UserInformation(available_credits=answer)

    monkeypatch.setattr("scrape_do_celery.metrics.account.ScrapeDoAsyncAPIClient", Client)
    return answers


@pytest.fixture
def make():
    """Return makers of API answers: `make.job`, `make.task`, `make.created`, `make.refusal`, `make.urls`."""
    return SimpleNamespace(job=job, task=task, created=created, refusal=refusal, urls=urls, token=TOKEN)


@pytest.fixture
def start_run(step_harness, monkeypatch):
    """Return `enqueue`, with the harness's app as the app of this process."""
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)
    return enqueue


@pytest.fixture
def scrape_task(step_harness):
    """Return the step from the harness's app."""
    return step_harness.app.tasks[routing.SCRAPE]


@pytest.fixture
def recorded_view(monkeypatch):
    """Return a view on the progress of commands, which keeps what it was shown."""
    # Most tests need no command, and the commands load slowly.
    from scrape_do_celery.cli.progress import QuietView

    class RecordedView(QuietView):
        def __init__(self):
            self.shown = []

        def show(self, figures):
            self.shown.append((figures.text, figures.done, figures.total))

    view = RecordedView()
    monkeypatch.setattr("scrape_do_celery.cli.progress.choose_view", lambda: view)
    return view


@pytest.fixture
def end_run(step_harness, make):
    """Return a function that ends a run of one part. `pages` tells for each task whether it has a page.

    With `retention`, the outcome is delivered.
    """

    def end(run_id, *pages, outcome, retention=None):
        urls = step_harness.run(ReadSpec(run_id, 1)).request.targets
        step_harness.make_running(run_id, state=PartState.FETCHING)
        claim, job_id = step_harness.claim_part(run_id), f"job-{run_id}-0"
        job = make.job("success", count=len(pages), summary=False, job_id=job_id)
        step_harness.run(UpdatePart(claim, {}, job=job))
        for position, (url, has_page) in enumerate(zip(urls, pages, strict=True)):
            status = "success" if has_page else "error"
            page = make.task(position, job=job_id, url=url, status=status, content="<html>" if has_page else None)
            step_harness.run(StoreContent(PartId(run_id, 0), position, page))
        step_harness.run(FinishPart(claim, outcome))
        step_harness.run(RecordOutcome(run_id, outcome, {}))
        if retention is not None:
            step_harness.run(AcknowledgeDelivery(run_id, run_id, retention))

    return end
