"""Make the name of every Redis key of the store. Each method declares the type and the expiry of its key.

Times are seconds since the epoch by Redis `TIME`, or by the watched clock if the key says so. Stop requests and waiters
are fields of the run's hash.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scrape_do_celery.store import retention
from scrape_do_celery.store.encryption import ValuePlace
from scrape_do_celery.store.index_keys import IndexKeys
from scrape_do_celery.store.key_declarations import holds
from scrape_do_celery.store.names import find_hash_tag, join_names, join_tick
from scrape_do_celery.store.part_ids import PartId
from scrape_do_celery.store.retention import Expiry
from scrape_do_celery.store.spend_keys import SpendKeys
from scrape_do_celery.store.webhook_keys import WebhookKeys

if TYPE_CHECKING:
    from scrape_do_celery.store.encryption import Encryptor

RUN_ENTRY = "run"


@dataclass(frozen=True, slots=True)
class Keys(SpendKeys, IndexKeys, WebhookKeys):
    """The names of keys under one prefix, and the encryptor of private values."""

    prefix: str = "scrape_do"
    encryptor: Encryptor | None = field(default=None, compare=False)

    @property
    def cluster_prefix(self) -> str:
        """The prefix if its hash tag puts all keys into one slot of a cluster; empty without a tag."""
        return self.prefix if find_hash_tag(self.prefix) else ""

    def locate_value(self, key: str, name: str) -> ValuePlace:
        """Return the place of the field `name` of `key`: for a page its position, for a job no name."""
        kind, _, owner = key.removeprefix(f"{self.prefix}:").partition(":")
        if kind == "run":
            return ValuePlace(owner, name)
        part_id = PartId.parse(owner)
        return ValuePlace(part_id.run_id, name if kind == "part" else f"{kind} {name}".strip(), part_id.part)

    @holds("hash", Expiry.RECORD)
    def run(self, run_id: str) -> str:
        """Return the key of the record of a run: request, stop request, waiters, outcome."""
        return f"{self.prefix}:run:{run_id}"

    @holds("hash", Expiry.RECORD)
    def part(self, part_id: PartId) -> str:
        """Return the key of the record of a part: state, lease, fence, intent, job, counters."""
        return f"{self.prefix}:part:{part_id}"

    @holds("string", Expiry.RECORD)
    def job(self, part_id: PartId) -> str:
        """Return the key of the last `JobDetails` of a part, packed."""
        return f"{self.prefix}:job:{part_id}"

    @holds("hash", Expiry.CONTENTS)
    def contents(self, part_id: PartId) -> str:
        """Return the key of the contents of a part: task position -> frame of one `TaskDetails`."""
        return f"{self.prefix}:contents:{part_id}"

    @holds("hash", retention.HELD_PAGES_TTL)
    def provisional(self, part_id: PartId) -> str:
        """Return the key of the held pages of unfinished tasks of a part: task position -> frame; and their credits."""
        return f"{self.prefix}:provisional:{part_id}"

    @property
    @holds("zset", Expiry.NEVER)
    def due(self) -> str:
        """The key of the due set: `<run>:<n>` of a part, `<run>:run` of a run -> when it needs a step."""
        return f"{self.prefix}:due"

    @holds("zset", Expiry.NEVER)
    def poll_set(self, account: str) -> str:
        """Return the key of the parts of an account whose jobs are polled by list -> when to poll the job."""
        return f"{self.prefix}:poll_set:{account}"

    @property
    @holds("set", Expiry.NEVER)
    def accounts(self) -> str:
        """The key of the accounts for which jobs were, or are, bought."""
        return f"{self.prefix}:accounts"

    @holds("hash", Expiry.NEVER)
    def list_poll(self, account: str) -> str:
        """Return the key of the list poll of an account: its token, lease, begin and end, pages of other users."""
        return f"{self.prefix}:list_poll:{account}"

    @property
    @holds("zset", Expiry.NEVER)
    def dispatched(self) -> str:
        """The key of the parts with a step message in flight -> when the message counts as lost."""
        return f"{self.prefix}:dispatched"

    @property
    @holds("hash", Expiry.NEVER)
    def queue_delay(self) -> str:
        """The key of the factor by which the redispatch interval is longer than usual, and its start."""
        return f"{self.prefix}:queue_delay"

    @holds("string", Expiry.DELETED)
    def schedule(self, name: str) -> str:
        """Return the key of the last run of a schedule, while it is live."""
        return f"{self.prefix}:schedule:{join_names(name)}"

    @holds("string", Expiry.MARK)
    def tick(self, name: str, tick: str) -> str:
        """Return the key of `<run> <digest>` of a tick of a schedule; empty if the tick was skipped."""
        return f"{self.prefix}:tick:{join_tick(name, tick)}"

    @property
    @holds("zset", retention.SCHEDULE_TTL)
    def schedules(self) -> str:
        """The key of the schedules that have ticked -> when the last tick was decided."""
        return f"{self.prefix}:schedules"

    @holds("hash", retention.SCHEDULE_TTL)
    def schedule_record(self, name: str) -> str:
        """Return the key of the record of a schedule: name, rule, last tick and its decision, last run."""
        return f"{self.prefix}:schedule_record:{join_names(name)}"

    @property
    @holds("hash", Expiry.NEVER)
    def schedule_pauses(self) -> str:
        """The key of the pauses of schedules: name -> when it was paused, by whom, and why."""
        return f"{self.prefix}:schedule_pauses"

    @property
    @holds("zset", Expiry.NEVER)
    def changed(self) -> str:
        """The key of the change feed: changed runs -> when to announce them."""
        return f"{self.prefix}:changed"

    @holds("string", Expiry.IDEMPOTENCY)
    def idempotency(self, key: str) -> str:
        """Return the key of `<run> <digest of its request>` of an idempotency key, which may be any text."""
        return f"{self.prefix}:idem:{hashlib.sha256(key.encode()).hexdigest()}"

    @holds("string", retention.RESERVATION_TTL)
    def reservation(self, key: str) -> str:
        """Return the key of `<run> <digest>` that a transaction has reserved for an idempotency key."""
        return f"{self.idempotency(key)}:reserved"

    @holds("string", Expiry.OWNER)
    def owner(self, job_id: str) -> str:
        """Return the key of `<run>:<n>` of the part that owns a job.

        Servers differ in the case of ids: the key has lower case.
        """
        return f"{self.prefix}:owner:{job_id.lower()}"

    @property
    @holds("zset", Expiry.NEVER)
    def content_expiry(self) -> str:
        """The key of the parts with a job -> when the API deletes its pages."""
        return f"{self.prefix}:content_expiry"

    @holds("string", Expiry.DELETED)
    def target_lock(self, account: str, digest: str) -> str:
        """Return the key of the part that buys these targets now."""
        return f"{self.prefix}:target_lock:{account}:{digest}"

    @holds("zset", retention.TARGET_WAIT_TTL)
    def target_waiters(self, account: str, digest: str) -> str:
        """Return the key of the parts that wait for a target lock -> start of the wait."""
        return f"{self.prefix}:target_waiters:{account}:{digest}"

    @holds("zset", Expiry.NEVER)
    def slots(self, account: str) -> str:
        """Return the key of the parts that hold a job slot -> start of the hold."""
        return f"{self.prefix}:slots:{account}"

    @holds("zset", Expiry.NEVER)
    def slot_waiters(self, account: str) -> str:
        """Return the key of the parts that wait for a job slot -> since when, after their priority; with a key last."""
        return f"{self.prefix}:slot_waiters:{account}"

    @holds("zset", Expiry.NEVER)
    def slot_line(self, account: str, fairness_key: str) -> str:
        """Return the key of the parts of a fairness key that wait for a job slot -> since when, after the priority."""
        return f"{self.prefix}:slot_line:{account}:{fairness_key}"

    @holds("zset", Expiry.NEVER)
    def slot_turns(self, account: str) -> str:
        """Return the key of the fairness keys that wait for job slots or hold some -> turn, in milli-credits."""
        return f"{self.prefix}:slot_turns:{account}"

    @holds("string", Expiry.NEVER)
    def new_turn(self, account: str) -> str:
        """Return the key of the turn that a new fairness key of an account gets."""
        return f"{self.prefix}:new_turn:{account}"

    @property
    @holds("string", retention.FAIRNESS_USED_TTL)
    def fairness_used(self) -> str:
        """The key of the time at which the last run with a priority or a fairness key was written."""
        return f"{self.prefix}:fairness_used"

    @holds("string", Expiry.NEVER)
    def slot_limit(self, account: str) -> str:
        """Return the key of the number of job slots."""
        return f"{self.prefix}:slot_limit:{account}"

    @holds("zset", retention.UNRESOLVED_TTL)
    def unresolved(self, account: str, coarse: str) -> str:
        """Return the key of the unresolved purchases.

        `<run>:<n>:<purchase> <strict> <order>` -> until when it counts.
        """
        return f"{self.prefix}:unresolved:{account}:{coarse}"

    @holds("zset", retention.UNOWNED_TTL)
    def unowned(self, account: str) -> str:
        """Return the key of the jobs that no run owns -> position of the first sighting in the order."""
        return f"{self.prefix}:unowned:{account}"

    @property
    @holds("string", Expiry.NEVER)
    def order(self) -> str:
        """The key of the last position in the order of all intents, first sightings of jobs, and waits for a budget."""
        return f"{self.prefix}:order"

    @holds("zset", retention.REJECTED_TTL)
    def rejected(self, account: str) -> str:
        """Return the key of the purchases that the API rejected -> when to search for their jobs."""
        return f"{self.prefix}:rejected:{account}"

    @holds("hash", Expiry.BREAKER)
    def breaker(self, account: str) -> str:
        """Return the key of the breaker: which token is refused and since when, and the time of the next try."""
        return f"{self.prefix}:breaker:{account}"

    @property
    @holds("hash", Expiry.NEVER)
    def clock(self) -> str:
        """The key of the watched clock, the server's time at its last advance, and its last step back."""
        return f"{self.prefix}:clock"

    @property
    @holds("zset", Expiry.NEVER)
    def expiring(self) -> str:
        """The key of the keys that guard purchases -> when they expire by the watched clock."""
        return f"{self.prefix}:expiring"

    @property
    @holds("string", Expiry.NEVER)
    def epoch(self) -> str:
        """The key of the store epoch: the id of the server process, its last loss of writes, its durability."""
        return f"{self.prefix}:epoch"

    @property
    @holds("zset", Expiry.NEVER)
    def encryption_keys(self) -> str:
        """The key of the names of encryption keys -> when the key was last used."""
        return f"{self.prefix}:encryption_keys"

    @holds("string", Expiry.CALLBACK)
    def once(self, run_id: str, name: str) -> str:
        """Return the key of the mark of a callback that has begun and must not run twice."""
        return f"{self.prefix}:once:{join_names(run_id, name)}"

    @holds("string", retention.MARK_TTL)
    def message_tick(self, message_id: str) -> str:
        """Return the key of the tick that was assigned to a message without a tick."""
        return f"{self.prefix}:once:{join_names(message_id)}:tick"

    @property
    @holds("string", retention.NAMESPACE_TTL)
    def namespace_owner(self) -> str:
        """The key of the application whose workers serve the store."""
        return f"{self.prefix}:namespace_owner"

    @property
    @holds("string", Expiry.DELETED)
    def rights_check(self) -> str:
        """The key of a value that `doctor`, a starting worker and health checks write and delete, to prove rights."""
        return f"{self.prefix}:rights_check"

    @property
    @holds("hash", Expiry.NEVER)
    def quota(self) -> str:
        """The key of the request quotas: process -> requests that it wants, requests that it has got, until when."""
        return f"{self.prefix}:quota"

    @property
    @holds("string", Expiry.TIME)
    def next_request_at(self) -> str:
        """The key of the time at which the next request may start, if there is a limit per second."""
        return f"{self.prefix}:next_request_at"

    @property
    @holds("string", Expiry.TIME)
    def pause(self) -> str:
        """The key of the end of the pause after a 429. Until then, only runs with a stop request call the API."""
        return f"{self.prefix}:pause"

    @property
    @holds("hash", Expiry.NEVER)
    def totals(self) -> str:
        """The key of the totals of all counters, by name: runs, tasks, credits, bytes, requests."""
        return f"{self.prefix}:totals"

    @property
    @holds("hash", Expiry.NEVER)
    def stored(self) -> str:
        """The key of the bytes of pages: hour since the epoch -> bytes of the pages that expire in that hour."""
        return f"{self.prefix}:stored"
