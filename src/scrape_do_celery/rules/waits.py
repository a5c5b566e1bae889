"""Decide why a live run waits, from its parts and from what the store knows of workers, the API and itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery.errors import APIConnectionError, AsyncAPIRateLimitError
from scrape_do_celery.outside_text import one_line, redact_text
from scrape_do_celery.rules.api_errors import is_auth
from scrape_do_celery.rules.budgets import RUN_PERIOD, STOPPED, show_credits, show_scope
from scrape_do_celery.rules.states import PartState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrape_do_celery.errors import ScrapeDoError

#: Shares of the store's memory limit above which no job is bought, and no page is fetched.
BUY_BELOW, FETCH_BELOW = 0.80, 0.95
#: The policy of a full store that refuses writes. Any other policy deletes keys, so that no job is bought.
NO_EVICTION: Final = "noeviction"
#: Step messages for a part without a claim, after which no worker seems to take them. The third one comes 15 to 20
#: seconds after the first. In a backlog, fewer messages are published, and the time without a claim counts.
_UNTAKEN, _UNTAKEN_FOR = 3, 60.0
#: The text of an error that is encrypted with a key that the reader lacks.
_UNREAD_ERROR: Final = "the error cannot be read with SCRAPE_DO_ENCRYPTION_KEY of this process"
#: The text of a refused value whose error is encrypted with a key that the reader lacks.
_UNREAD_REFUSAL: Final = (
    "a value of the run in the store is refused as plain or forged; to see which, repeat this with "
    "SCRAPE_DO_ENCRYPTION_KEY of the workers, or read their log (event value_refused)"
)


class WaitKind(StrEnum):
    """The kind of a wait. If a run waits for several things, the first one in this order is shown."""

    NO_WORKER = "no_worker"  #: no worker has served the store for 30 seconds
    TOKEN_REFUSED = "token_refused"  # noqa: S105 (a word)  #: the API refuses the token of the account
    VALUE_REFUSED = "value_refused"  #: a value of the run in the store is plain or forged, and is refused
    STORE_FULL = "store_full"  #: the store has too little memory left to buy a job or to fetch pages
    RATE_LIMITED = "rate_limited"  #: the API answered 429, and no request is sent until its pause ends
    STEP_NOT_TAKEN = "step_not_taken"  #: workers are there, and none has taken the next step
    API_UNREACHABLE = "api_unreachable"  #: no connection to the API, or no answer
    API_ERROR = "api_error"  #: the last call failed, and is repeated
    RECONCILING = "reconciling"  #: a job may have been bought, and is searched for
    BUDGET = "budget"  #: a budget or `max_credits` has too little left, or purchases are stopped
    IN_LINE = "in_line"  #: as many jobs run as `SCRAPE_DO_MAX_ACTIVE_JOBS` allows
    SAME_TARGETS = "same_targets"  #: another run buys the same targets now


_ORDER: Final = tuple(WaitKind)


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """The reason why a run waits, with its data. `str()` is the text."""

    #: the kind of the wait
    kind: WaitKind
    #: one line of English, which may name the last error
    text: str
    #: since when; None if no time is known
    since: datetime | None = None
    #: until when, if the end of the wait is known
    until: datetime | None = None
    #: the number of parts before this one that wait for a job slot; only for `in_line`. With a fairness key,
    #: only parts of the key count: nobody knows which parts of other keys come first
    ahead: int | None = None

    def __str__(self) -> str:
        return self.text

    def to_json(self) -> dict[str, Any]:
        """Return the reason as JSON values."""
        return {
            "kind": self.kind.value,
            "text": self.text,
            "since": None if self.since is None else self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
            "ahead": self.ahead,
        }


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """Facts about the store and its workers at one moment. Times are seconds by the store's clock."""

    now: float
    #: whether a worker has served the store within the life of its lease
    has_worker: bool
    #: whether the server has been up for too short a time to know of a worker
    is_young: bool
    paused_until: float | None
    #: used share of the memory limit; 0 without a limit
    used: float
    policy: str


@dataclass(frozen=True, slots=True)
class PartFacts:
    """Facts about a live part. Times are seconds by the store's clock, None if they do not apply."""

    state: PartState
    #: the kind of the last failed call, its error, and since when calls fail for this reason
    trouble: str | None = None
    error: str | None = None
    trouble_since: float | None = None
    #: when the part needed its next step
    due_at: float | None = None
    #: since when no step has the part although it needs one, and the step messages since then that no step has claimed
    untaken_since: float | None = None
    dispatches: int = 0
    #: since when a purchase is in doubt, and why
    in_doubt_since: float | None = None
    submit_error: str | None = None
    #: whether another part buys the same targets
    is_locked: bool = False
    #: since when the API refuses the token of the part's account
    refused_since: float | None = None
    #: when the runs of that account fail, if the token is still refused; whether the reader has another token
    fails_at: float | None = None
    has_other_token: bool = False
    #: the budget that refused the part: its amount, its period and its scope
    budget: str | None = None
    #: parts before this one that wait for a job slot, and since when the part waits
    ahead: int | None = None
    in_line_since: float | None = None
    #: whether these parts are only those of its fairness key
    has_fairness_key: bool = False


def kind_of_trouble(error: ScrapeDoError) -> WaitKind:
    """Return the kind of the wait after a call that failed."""
    if is_auth(error):
        return WaitKind.TOKEN_REFUSED
    if isinstance(error, AsyncAPIRateLimitError):
        return WaitKind.RATE_LIMITED
    return WaitKind.API_UNREACHABLE if isinstance(error, APIConnectionError) else WaitKind.API_ERROR


def decide_wait(parts: Sequence[PartFacts], store: StoreFacts | None) -> WaitingFor | None:
    """Return why a live run waits; None if nothing holds it back. Without `store`, only its parts are judged.

    If several reasons hold, the reason that keeps the others from ending comes first. If several parts wait for the
    same reason, the part that waited first is shown.
    """
    if store is not None and (wait := _wait_for_worker(store)) is not None:
        return wait
    found = [wait for part in parts for wait in _waits_of(part, store)]
    return min(found, key=lambda wait: (_ORDER.index(wait.kind), wait.since or _NEVER), default=None)


_NEVER: Final = datetime.max.replace(tzinfo=UTC)


def list_waits(part: PartFacts, store: StoreFacts) -> list[WaitingFor]:
    """Return all reasons why a part waits, also those that another reason hides in `decide_wait`."""
    wait = _wait_for_worker(store)
    return [*([] if wait is None else [wait]), *_waits_of(part, store)]


def _wait_for_worker(store: StoreFacts) -> WaitingFor | None:
    if store.has_worker or store.is_young:
        return None
    text = "no worker has served the store for 30 s or more; start a worker, or check that it uses this store"
    return WaitingFor(WaitKind.NO_WORKER, text)


def _waits_of(part: PartFacts, store: StoreFacts | None) -> Iterator[WaitingFor]:
    if store is not None:
        yield from _waits_of_all(part, store)
    if _is_untaken(part, store):
        since = _time(part.untaken_since)
        text = (
            f"no worker has taken the next step{spell_since(since)}; workers are busy, do not consume the queue, or "
            "lack the token or the encryption key of the run"
        )
        yield WaitingFor(WaitKind.STEP_NOT_TAKEN, text, since)
    if part.trouble is not None and (wait := _wait_after_error(part, store)) is not None:
        yield wait
    if part.state is PartState.RECONCILING:
        since, why = _time(part.in_doubt_since), _clean(part.submit_error) or "the step died"
        text = f"a job may have been bought{spell_since(since)}, and the search for the job goes on: {why}"
        yield WaitingFor(WaitKind.RECONCILING, text, since)
    if part.budget is not None and part.state is PartState.QUEUED:
        yield _over_budget(part.budget)
    if part.ahead is not None:
        which = " of its fairness key" if part.has_fairness_key else ""
        text = f"{part.ahead:,} parts{which} wait before it for a job slot (SCRAPE_DO_MAX_ACTIVE_JOBS)"
        yield WaitingFor(WaitKind.IN_LINE, text, _time(part.in_line_since), ahead=part.ahead)
    if part.is_locked and part.state is PartState.QUEUED:
        yield WaitingFor(WaitKind.SAME_TARGETS, "another run buys the same targets now")


def _over_budget(budget: str) -> WaitingFor:
    amount, period, scope = budget.split(" ", 2)
    if period == STOPPED:
        text = f"purchases of {show_scope(scope)} are stopped; to go on: scrape-do budgets resume {scope}"
        return WaitingFor(WaitKind.BUDGET, text)
    needs = f"the next part reserves {show_credits(int(amount))} credits"
    if period == RUN_PERIOD:
        text = f"{needs}, and max_credits of the run has too little left until the costs of its other parts are known"
        return WaitingFor(WaitKind.BUDGET, text)
    text = (
        f"{needs}, and the limit of {show_scope(scope)} for this {period} has too little left until the limit rises, "
        f"other purchases cost less than they reserved, or the next {period} (UTC) begins; "
        "to see it: scrape-do budgets list"
    )
    return WaitingFor(WaitKind.BUDGET, text)


def _is_untaken(part: PartFacts, store: StoreFacts | None) -> bool:
    if part.untaken_since is None or store is None:
        return False
    waited = store.now - part.untaken_since
    return waited > _UNTAKEN_FOR or (waited > 0 and part.dispatches >= _UNTAKEN)


def _waits_of_all(part: PartFacts, store: StoreFacts) -> Iterator[WaitingFor]:
    """Yield the waits that hold back every part in this state, not only the part whose call failed."""
    if part.refused_since is not None:
        yield _refused(part, store)
    if part.state is PartState.QUEUED and store.policy != NO_EVICTION:
        text = f"maxmemory-policy of the store is {store.policy}: no job is bought until it is {NO_EVICTION}"
        yield WaitingFor(WaitKind.STORE_FULL, text)
    limits = {PartState.QUEUED: (BUY_BELOW, "no job is bought"), PartState.FETCHING: (FETCH_BELOW, "fetching pauses")}
    below, what = limits.get(part.state, (None, ""))
    if below is not None and store.used >= below:
        text = f"the store uses {100 * store.used:.0f} % of its memory limit: {what} until less is used"
        yield WaitingFor(WaitKind.STORE_FULL, text)
    if store.paused_until is not None and store.paused_until > store.now:
        yield _limited(store.paused_until)


def _wait_after_error(part: PartFacts, store: StoreFacts | None) -> WaitingFor | None:
    since, error = _time(part.trouble_since), _clean(part.error) or _UNREAD_ERROR
    if part.trouble == WaitKind.TOKEN_REFUSED:
        # The step that notes a refusal notes it for the account first. Since then, a token was accepted.
        return None
    if part.trouble == WaitKind.VALUE_REFUSED:
        return WaitingFor(WaitKind.VALUE_REFUSED, _clean(part.error) or _UNREAD_REFUSAL, since)
    if part.trouble == WaitKind.RATE_LIMITED:
        is_over = part.due_at is None or (store is not None and part.due_at <= store.now)
        return None if is_over or part.due_at is None else _limited(part.due_at)
    if part.trouble == WaitKind.API_UNREACHABLE:
        return WaitingFor(WaitKind.API_UNREACHABLE, f"the API is unreachable{spell_since(since)}: {error}", since)
    return WaitingFor(
        WaitKind.API_ERROR, f"a call of the API fails{spell_since(since)}, and is repeated: {error}", since
    )


def _refused(part: PartFacts, store: StoreFacts) -> WaitingFor:
    since, until = _time(part.refused_since), _time(part.fails_at)
    which, todo = (
        ("another token than that of this process", "start the workers again with this one")
        if part.has_other_token
        else ("the token", "check SCRAPE_DO_API_KEY and the credits of the account")
    )
    text = f"the API refuses {which}{spell_since(since)}; {todo}{describe_grace(part.fails_at, store.now)}"
    return WaitingFor(WaitKind.TOKEN_REFUSED, text, since, until)


def used_share(used: bytes | str | int | None, limit: bytes | str | int | None) -> float:
    """Return the used share of a memory limit, in the words of a server. Without a limit, the share is 0."""
    return int(used or 0) / int(limit or 0) if int(limit or 0) else 0.0


def describe_grace(fails_at: float | None, now: float) -> str:
    """Return the end of a sentence about a refused token: when the runs that wait for the token fail."""
    if fails_at is None:
        return ""
    if fails_at <= now:
        return "; SCRAPE_DO_AUTH_GRACE is over: if the next try is refused too, the run fails"
    return f"; at {_time(fails_at):%Y-%m-%d %H:%M:%S} UTC, runs that still wait fail (SCRAPE_DO_AUTH_GRACE)"


def _limited(at: float) -> WaitingFor:
    until = _time(at)
    text = f"the API answered 429: no request is sent until {until:%H:%M:%S} UTC"
    return WaitingFor(WaitKind.RATE_LIMITED, text, until=until)


def _clean(text: str | None) -> str:
    """Return a text that may quote the API in the form for logs, monitors and databases."""
    return redact_text(one_line(text or ""))


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def spell_since(moment: datetime | float | None) -> str:
    """Return the words that tell since when, with a space before them; empty if no time is known."""
    found = _time(moment) if isinstance(moment, float) else moment
    return "" if found is None else f" since {found:%Y-%m-%d %H:%M:%S} UTC"
