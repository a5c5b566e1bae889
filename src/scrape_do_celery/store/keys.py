"""Make the name of every Redis key of the store.

| key | type | holds | expiry |
|---|---|---|---|
| `P:run:<run>` | hash | the record of a run: request, stop request, waiters, outcome | `record_ttl` after delivery |
| `P:part:<run>:<n>` | hash | the record of a part: state, lease, fence, intent, job, counters | as the run |
| `P:job:<run>:<n>` | string | the last `JobDetails` of the part, packed | as the run |
| `P:contents:<run>:<n>` | hash | task position -> frame of one `TaskDetails` | `result_ttl` after delivery |
| `P:provisional:<run>:<n>` | hash | task position -> frame of a held page, its credits | until the part ends |
| `P:due` | zset | `<run>:<n>` of a part, `<run>:run` of a run -> when it needs a step | never |
| `P:poll_set:<account>` | zset | parts whose jobs are polled by list -> when to poll the job | never |
| `P:accounts` | set | the accounts that have, or had, running jobs | never |
| `P:list_poll:<account>` | hash | the list poll: its token, lease, begin and end, pages of other users | never |
| `P:dispatched` | zset | parts with a step message in flight -> when the message counts as lost | never |
| `P:queue_delay` | hash | the factor by which the redispatch interval is longer than usual, and since when | never |
| `P:schedule:<name>` | string | the last run of the schedule, while it is live | until the run has ended |
| `P:tick:<name>:<tick>` | string | `<run> <digest>` of a tick of the schedule; empty if the tick was skipped | 7 days |
| `P:changed` | zset | changed runs -> when to announce them | until they are announced |
| `P:idem:<sha256 of key>` | string | `<run> <digest of its request>` | `idempotency_ttl` after delivery |
| `P:idem:<sha256 of key>:reserved` | string | `<run> <digest>` that a transaction has reserved for the key | a day |
| `P:owner:<job>` | string | `<run>:<n>` of the part that owns a job of the API | 7 days or more after delivery |
| `P:content_expiry` | zset | parts with a job -> when the API deletes its pages | never |
| `P:target_lock:<account>:<digest>` | string | the part that buys these targets now | until its purchase is resolved |
| `P:target_waiters:<account>:<digest>` | zset | parts that wait for the target lock -> since when | a day |
| `P:slots:<account>` | zset | parts that hold a job slot -> since when | never |
| `P:slot_waiters:<account>` | zset | parts that wait for a job slot -> since when | never |
| `P:slot_limit:<account>` | string | the number of job slots | never |
| `P:unresolved:<account>:<coarse>` | zset | `<run>:<n>:<purchase> <strict> <order>` -> until when it counts | 4 days |
| `P:unowned:<account>` | zset | jobs that no run owns -> position of the first sighting in the order | 4 days |
| `P:order` | string | the last position in the order of all intents and first sightings of jobs | never |
| `P:rejected:<account>` | zset | purchases that the API rejected -> when to search for their jobs | a day |
| `P:breaker:<account>` | hash | since when the token is refused, when to try it next | until the API takes the token |
| `P:ledger:<day>` | hash | `<run>:<n>:<purchase>` -> time, status, targets, estimate, job, credits, outcome | 91 days |
| `P:epoch` | string | the id of the server process, its last loss of writes, whether it may lose writes | never |
| `P:encryption_keys` | zset | names of encryption keys -> when the key was last used | never |
| `P:once:<run>:<name>` | string | the mark of a callback that has begun and must not run twice | `record_ttl` |
| `P:once:<message>:tick` | string | the tick that was assigned to a message without a tick | 7 days |
| `P:namespace_owner` | string | the application whose workers serve the store | 30 s after its last worker |
| `P:quota` | hash | process -> requests that it wants, requests that it has got, until when | never |
| `P:next_request_at` | string | when the next request may start, if there is a limit per second | shortly after |
| `P:pause` | string | until when no worker calls the API after a 429 | until then |
| `P:totals` | hash | totals of all counters, by name: runs, tasks, credits, bytes, requests | never |
| `P:stored` | hash | hour since the epoch -> bytes of pages that expire in that hour | never |

Times are seconds since the epoch by Redis `TIME`. Stop requests and waiters are fields of the run's hash.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scrape_do_celery.store.encryption import PrivateValues

if TYPE_CHECKING:
    from scrape_do_celery.store.encryption import Encryptor

RUN_ENTRY = "run"


@dataclass(frozen=True, slots=True)
class Keys(PrivateValues):
    """The names of keys under one prefix, and the encryptor of private values."""

    prefix: str = "scrape_do"
    encryptor: Encryptor | None = field(default=None, compare=False)

    @property
    def encryption_keys(self) -> str:
        """The key of the names of encryption keys that are in use."""
        return f"{self.prefix}:encryption_keys"

    def run(self, run_id: str) -> str:
        """Return the key of a run's record."""
        return f"{self.prefix}:run:{run_id}"

    def part(self, run_id: str, part: int) -> str:
        """Return the key of a part's record."""
        return f"{self.prefix}:part:{run_id}:{part}"

    def job(self, run_id: str, part: int) -> str:
        """Return the key of the last `JobDetails` of a part."""
        return f"{self.prefix}:job:{run_id}:{part}"

    def contents(self, run_id: str, part: int) -> str:
        """Return the key of the contents of a part's job."""
        return f"{self.prefix}:contents:{run_id}:{part}"

    def provisional(self, run_id: str, part: int) -> str:
        """Return the key of the pages that earlier answers contained for unfinished tasks of a part."""
        return f"{self.prefix}:provisional:{run_id}:{part}"

    def idempotency(self, key: str) -> str:
        """Return the key of the run of an idempotency key. A hash lets callers use any text."""
        return f"{self.prefix}:idem:{hashlib.sha256(key.encode()).hexdigest()}"

    def owner(self, job_id: str) -> str:
        """Return the key of the owner of a job, in lower case: a server may write an id in another letter case."""
        return f"{self.prefix}:owner:{job_id.lower()}"

    def unowned(self, account: str) -> str:
        """Return the key of the jobs of an account that no run owns."""
        return f"{self.prefix}:unowned:{account}"

    def rejected(self, account: str) -> str:
        """Return the key of the purchases of an account that the API rejected."""
        return f"{self.prefix}:rejected:{account}"

    def once(self, run_id: str, name: str) -> str:
        """Return the key of the mark of a callback that has begun."""
        return f"{self.prefix}:once:{run_id}:{name}"

    def schedule(self, name: str) -> str:
        """Return the key of the last run of a schedule."""
        return f"{self.prefix}:schedule:{name}"

    def tick(self, name: str, tick: str) -> str:
        """Return the key of the run of a tick, or of the note that the tick was skipped."""
        return f"{self.prefix}:tick:{name}:{tick}"

    def breaker(self, account: str) -> str:
        """Return the key of the breaker of an account."""
        return f"{self.prefix}:breaker:{account}"

    def poll_set(self, account: str) -> str:
        """Return the key of the parts of an account whose jobs run and are polled by list."""
        return f"{self.prefix}:poll_set:{account}"

    @property
    def accounts(self) -> str:
        """The key of the accounts that have, or had, running jobs."""
        return f"{self.prefix}:accounts"

    def list_poll(self, account: str) -> str:
        """Return the key of the list poll of an account."""
        return f"{self.prefix}:list_poll:{account}"

    def ledger(self, day: int) -> str:
        """Return the key of the ledger of a day, which is counted from the epoch."""
        return f"{self.prefix}:ledger:{day}"

    @property
    def content_expiry(self) -> str:
        """The key of the times at which the API deletes pages that were paid for."""
        return f"{self.prefix}:content_expiry"

    @property
    def namespace_owner(self) -> str:
        """The key of the application whose workers use the store."""
        return f"{self.prefix}:namespace_owner"

    @property
    def due(self) -> str:
        """The key of the due set."""
        return f"{self.prefix}:due"

    @property
    def changed(self) -> str:
        """The key of the change feed."""
        return f"{self.prefix}:changed"

    @property
    def dispatched(self) -> str:
        """The key of the parts with a step message in flight."""
        return f"{self.prefix}:dispatched"

    @property
    def queue_delay(self) -> str:
        """The key of the factor by which the redispatch interval is longer than usual."""
        return f"{self.prefix}:queue_delay"

    @property
    def quota(self) -> str:
        """The key of the request quotas of all processes."""
        return f"{self.prefix}:quota"

    @property
    def next_request_at(self) -> str:
        """The key of the time at which the next request may start."""
        return f"{self.prefix}:next_request_at"

    @property
    def pause(self) -> str:
        """The key of the time until which no worker calls the API."""
        return f"{self.prefix}:pause"

    @property
    def totals(self) -> str:
        """The key of the totals of all counters."""
        return f"{self.prefix}:totals"

    @property
    def stored(self) -> str:
        """The key of the bytes of pages, by the hour in which the pages expire."""
        return f"{self.prefix}:stored"


@dataclass(frozen=True, slots=True, order=True)
class PartId:
    """The id of a part, as step messages and the due set name it."""

    run_id: str
    part: int

    def __str__(self) -> str:
        return f"{self.run_id}:{self.part}"

    @classmethod
    def parse(cls, text: str) -> PartId:
        """Parse the text that `str()` made. The id of a run may itself contain colons."""
        run_id, _, part = text.rpartition(":")
        return cls(run_id, int(part))
