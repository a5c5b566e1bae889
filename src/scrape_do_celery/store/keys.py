"""Every Redis key of ours, with its type and its life.

| key | type | holds | life |
|---|---|---|---|
| `P:run:<run>` | hash | the record of a run: request, stop request, waiters, outcome | live: none; then `record_ttl` |
| `P:part:<run>:<n>` | hash | the record of a part: state, lease, fence, intent, job, counters | as the run |
| `P:job:<run>:<n>` | string | the part's last `JobDetails`, packed | as the run |
| `P:contents:<run>:<n>` | hash | task position -> frame of one `TaskDetails` | while live: none; then `result_ttl` |
| `P:provisional:<run>:<n>` | hash | task position -> frame of a page held back, its credits | until the part ends |
| `P:due` | zset | `<run>:<n>` of a part, `<run>:run` of a run -> when to look at it | for ever |
| `P:poll_set:<account>` | zset | parts whose job runs, instead of in `due` -> when to look at it | for ever |
| `P:accounts` | set | the accounts that have, or had, running jobs | for ever |
| `P:list_poll:<account>` | hash | the list poll: its holder, its lease, the duration of the last one | for ever |
| `P:dispatched` | zset | parts with a step message under way -> when it counts as lost | for ever |
| `P:queue_delay` | hash | how many times longer than usual step messages lie in the queue, and since when | for ever |
| `P:schedule:<name>` | string | the last run of a schedule, if any goes on | until that has ended |
| `P:tick:<name>:<tick>` | string | `<run> <digest>` of a tick of it, or nothing where it was left out | 7 days |
| `P:changed` | zset | runs that have moved -> when to tell of them | until it is told |
| `P:idem:<sha256 of key>` | string | `<run> <digest of its request>` | while live: none; then `idempotency_ttl` |
| `P:idem:<sha256 of key>:reserved` | string | the id that the key's run will have: a transaction has it | a day |
| `P:owner:<job>` | string | `<run>:<n>` that owns a job of the API | while live: none; then 7 days or more |
| `P:content_expiry` | zset | parts with a job -> when the API forgets its pages | for ever |
| `P:target_lock:<account>:<digest>` | string | the part that buys these targets now | until that is resolved |
| `P:target_waiters:<account>:<digest>` | zset | parts that wait for that lock -> since when | a day |
| `P:slots:<account>` | zset | parts whose jobs may run, where only so many may -> since when | for ever |
| `P:slot_waiters:<account>` | zset | parts that wait for one of those to end -> since when | for ever |
| `P:slot_limit:<account>` | string | how many may run | for ever |
| `P:unresolved:<account>:<coarse>` | zset | `<run>:<n>:<purchase> <strict> <place>` -> until when it counts | 4 days |
| `P:unowned:<account>` | zset | jobs of the API that no run owns -> place of the first sighting in the order | 4 days |
| `P:order` | string | the last place in the order of all intents and first sightings | for ever |
| `P:rejected:<account>` | zset | purchases that the API rejected -> when its list is read for their jobs | until then |
| `P:breaker:<account>` | hash | the account's token was refused: since when, when to try again | until it is accepted |
| `P:ledger:<day>` | hash | `<run>:<n>:<purchase>` -> time, fate, targets, estimate, job, credits, outcome | 91 days |
| `P:epoch` | string | the server's own id, its last loss of writes, and whether it may lose some | for ever |
| `P:encryption_keys` | zset | names of the keys that values were encrypted with -> when last | for ever |
| `P:once:<run>:<name>` | string | a callback that must not run twice has begun | `record_ttl` |
| `P:once:<message>:tick` | string | the tick that a message which names none was taken for | 7 days |
| `P:namespace_owner` | string | the application whose workers serve the store | 30 s after its last worker |
| `P:quota` | hash | process -> requests that it wants, its share of them, until when that stands | for ever |
| `P:next_request_at` | string | when the next request may start, where there is a limit a second | a moment |
| `P:pause` | string | until when no API call is made (429) | its own |
| `P:totals` | hash | what was counted, by name: runs, tasks, credits, bytes, requests | for ever |
| `P:stored` | hash | hour since the epoch -> bytes of pages that expire in it | for ever |

Times are seconds since the epoch by Redis `TIME`. A stop request and waiters are fields of the run's hash.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scrape_do_celery.store.encryption import ENCRYPTED_PREFIX, key_name_of, missing_key_error

if TYPE_CHECKING:
    from scrape_do_celery.store.encryption import Encryptor

RUN_ENTRY = "run"


@dataclass(frozen=True, slots=True)
class Keys:
    """Names of keys under one prefix, and the encryptor of private values."""

    prefix: str = "scrape_do"
    encryptor: Encryptor | None = field(default=None, compare=False)

    def encrypt(self, key: str, name: str, value: bytes) -> bytes:
        """A private value as it is kept in a key, under a field of it."""
        return value if self.encryptor is None else self.encryptor.encrypt(value, f"{key} {name}")

    def encrypt_text(self, key: str, name: str, text: str) -> bytes | str:
        """As `encrypt`; an empty text stays empty, for scripts to see."""
        return self.encrypt(key, name, text.encode()) if text and self.encryptor is not None else text

    def decrypt(self, key: str, name: str, value: bytes) -> bytes:
        """The value that was kept there, encrypted or not.

        Raises:
            EncryptionKeyError: the value is encrypted, and cannot be decrypted here.
        """
        if value[:1] != ENCRYPTED_PREFIX:
            return value
        if self.encryptor is None:
            raise missing_key_error(key_name_of(value))
        return self.encryptor.decrypt(value, f"{key} {name}")

    @property
    def key_names(self) -> list[str]:
        """The names of the encryption keys of this process, the encrypting one first."""
        return [] if self.encryptor is None else self.encryptor.key_names

    @property
    def encryption_keys(self) -> str:
        """Names of the encryption keys that are in use."""
        return f"{self.prefix}:encryption_keys"

    def run(self, run_id: str) -> str:
        """The record of a run."""
        return f"{self.prefix}:run:{run_id}"

    def part(self, run_id: str, part: int) -> str:
        """The record of a part."""
        return f"{self.prefix}:part:{run_id}:{part}"

    def job(self, run_id: str, part: int) -> str:
        """The last `JobDetails` of a part."""
        return f"{self.prefix}:job:{run_id}:{part}"

    def contents(self, run_id: str, part: int) -> str:
        """The contents of a part's job."""
        return f"{self.prefix}:contents:{run_id}:{part}"

    def provisional(self, run_id: str, part: int) -> str:
        """What answers contained of tasks of a part that have not ended."""
        return f"{self.prefix}:provisional:{run_id}:{part}"

    def idempotency(self, key: str) -> str:
        """The run of an idempotency key; hashed, so that any text will do."""
        return f"{self.prefix}:idem:{hashlib.sha256(key.encode()).hexdigest()}"

    def owner(self, job_id: str) -> str:
        """Who owns a job of the API. A server may write an id in another letter case."""
        return f"{self.prefix}:owner:{job_id.lower()}"

    def unowned(self, account: str) -> str:
        """Jobs of an account that no run owns."""
        return f"{self.prefix}:unowned:{account}"

    def rejected(self, account: str) -> str:
        """Purchases of an account that the API rejected."""
        return f"{self.prefix}:rejected:{account}"

    def once(self, run_id: str, name: str) -> str:
        """The mark of a callback that has begun."""
        return f"{self.prefix}:once:{run_id}:{name}"

    def schedule(self, name: str) -> str:
        """The last run of a schedule."""
        return f"{self.prefix}:schedule:{name}"

    def tick(self, name: str, tick: str) -> str:
        """What became of a tick of a schedule."""
        return f"{self.prefix}:tick:{name}:{tick}"

    def breaker(self, account: str) -> str:
        """The breaker of an account."""
        return f"{self.prefix}:breaker:{account}"

    def poll_set(self, account: str) -> str:
        """The parts of an account whose jobs run."""
        return f"{self.prefix}:poll_set:{account}"

    @property
    def accounts(self) -> str:
        """Accounts that have running jobs."""
        return f"{self.prefix}:accounts"

    def list_poll(self, account: str) -> str:
        """The look at all running jobs of an account."""
        return f"{self.prefix}:list_poll:{account}"

    def ledger(self, day: int) -> str:
        """The purchases of one day, counted from the epoch."""
        return f"{self.prefix}:ledger:{day}"

    @property
    def content_expiry(self) -> str:
        """When pages that were paid for are forgotten by the API."""
        return f"{self.prefix}:content_expiry"

    @property
    def namespace_owner(self) -> str:
        """Whose workers serve the store."""
        return f"{self.prefix}:namespace_owner"

    @property
    def due(self) -> str:
        """When to look at what."""
        return f"{self.prefix}:due"

    @property
    def changed(self) -> str:
        """Runs of which is to be told."""
        return f"{self.prefix}:changed"

    @property
    def dispatched(self) -> str:
        """Step messages under way."""
        return f"{self.prefix}:dispatched"

    @property
    def queue_delay(self) -> str:
        """How long step messages lie in the queue."""
        return f"{self.prefix}:queue_delay"

    @property
    def quota(self) -> str:
        """Who makes how many requests."""
        return f"{self.prefix}:quota"

    @property
    def next_request_at(self) -> str:
        """When the next request may start."""
        return f"{self.prefix}:next_request_at"

    @property
    def pause(self) -> str:
        """Until when the API is left alone."""
        return f"{self.prefix}:pause"

    @property
    def totals(self) -> str:
        """What was counted."""
        return f"{self.prefix}:totals"

    @property
    def stored(self) -> str:
        """Bytes of pages by the hour of their end."""
        return f"{self.prefix}:stored"


@dataclass(frozen=True, slots=True, order=True)
class PartId:
    """A part of a run, as step messages and the due set name it."""

    run_id: str
    part: int

    def __str__(self) -> str:
        return f"{self.run_id}:{self.part}"

    @classmethod
    def parse(cls, text: str) -> PartId:
        """The part that `str()` wrote; a run's id may itself hold colons."""
        run_id, _, part = text.rpartition(":")
        return cls(run_id, int(part))
