"""Commands for what is known before a purchase: learned prices, the account's concurrency, the time of a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.rules.polling import ACCOUNT_INTERVAL
from scrape_do_celery.rules.prices import LearnedPrice
from scrape_do_celery.store.command import Command, Encoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.models import UserInformation
    from scrape_do_celery.store.keys import Keys

#: Totals of the tasks whose start and end the API named, and of the seconds between both.
TIMED_TASKS, TASK_SECONDS = "task_seconds:count", "task_seconds:sum"


@dataclass(frozen=True, slots=True)
class ReadPrices(Command[dict[str, LearnedPrice]]):
    """Read the learned prices of an account under these names. The result lacks names without a price."""

    account: str
    names: Sequence[str]

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HMGET", keys.prices(self.account), *self.names))

    def decode(self, keys: Keys, reply: Any) -> dict[str, LearnedPrice]:
        found = zip(self.names, reply, strict=True)
        return {name: LearnedPrice.parse(value.decode()) for name, value in found if value is not None}


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """The figures of an account that a worker has read: tasks at once, credits left, and when, by the store's clock."""

    concurrency: int
    credits_left: float
    read_at: float


@dataclass(frozen=True, slots=True)
class ReadAccountFigures(Command[AccountFigures | None]):
    """Read the figures of an account; None if no worker has read them."""

    account: str

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HMGET", keys.account(self.account), "concurrency", "credits", "at"))

    def decode(self, keys: Keys, reply: Any) -> AccountFigures | None:
        if None in reply:
            return None
        concurrency, left, at = reply
        return AccountFigures(int(concurrency), float(left), float(at))


@dataclass(frozen=True, slots=True)
class NoteAccountFigures(Command[None]):
    """Note the figures of an account. The first credits of each hour are kept as its balance."""

    account: str
    figures: AccountFigures
    script = "note_account"

    @classmethod
    def of(cls, account: str, user: UserInformation, now: float) -> NoteAccountFigures:
        """Return the note of an answer of the API, at this time of the store's clock."""
        return cls(account, AccountFigures(user.total_concurrency, user.available_credits, now))

    def encode(self, keys: Keys) -> Encoded:
        one = self.figures
        return Encoded(
            (one.concurrency, one.credits_left, f"{one.read_at:.4f}"),
            [keys.account(self.account), keys.balance(self.account)],
        )

    def decode(self, keys: Keys, reply: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class ReadBalance(Command[list[tuple[int, float]]]):
    """Read the credits that an account had left: each hour since the epoch with a reading, and its first reading."""

    account: str

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HGETALL", keys.balance(self.account)))

    def decode(self, keys: Keys, reply: Any) -> list[tuple[int, float]]:
        return sorted((int(hour), float(left)) for hour, left in reply.items())


@dataclass(frozen=True, slots=True)
class ClaimAccountReading(Command[bool]):
    """Claim the next reading of an account's figures. One process gets the claim in each `ACCOUNT_INTERVAL`."""

    account: str

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("SET", keys.account_reading(self.account), 1, "EX", ACCOUNT_INTERVAL, "NX"))

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class ReadTaskSeconds(Command[float | None]):
    """Read the mean of the seconds that a task takes at the API; None if no task was timed."""

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HMGET", keys.totals, TIMED_TASKS, TASK_SECONDS))

    def decode(self, keys: Keys, reply: Any) -> float | None:
        count, seconds = (float(value or 0) for value in reply)
        return seconds / count if count else None
