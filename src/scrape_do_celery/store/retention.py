"""How long keys live: lives in seconds, and the expiries that settings decide. The other constants of Lua scripts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from scrape_do_celery.config import budget_limits
from scrape_do_celery.rules import prices, states
from scrape_do_celery.store import versions

_DAY = 86_400

#: Longest advance of the watched clock in one pass of a dispatcher. A dispatcher that could not reach the store does
#: not know how long others were at work.
LONGEST_ADVANCE: Final = 5
#: Seconds by which the server's clock may be set back before the times in the store are rewound. A shorter step delays
#: work by no more than that.
LONGEST_REWIND: Final = 60
#: Days that keys which guard purchases outlive their time, if no dispatcher deletes them. A step of the server's clock
#: that is longer frees them.
SPARE_TTL: Final = 35 * _DAY

#: Seconds of an hour. Bytes of pages are counted by the hour in which they expire.
HOUR: Final = 3600

#: Life of the mark of a deleted run, and of the owner of its job: a redelivered message must not buy again.
MARK_TTL: Final = 7 * _DAY
#: Seconds between two announcements of a live run, at least.
CHANGE_DELAY: Final = 5
#: Seconds for which no intent is written after a server has stopped to sync every write. The note of that change is
#: itself written without a sync.
DURABILITY_DELAY: Final = 3
#: Life of an unresolved purchase whose job two full listings did not show.
NOT_FOUND_TTL: Final = HOUR
#: Life of the register of unresolved purchases. The API keeps a job for less time.
UNRESOLVED_TTL: Final = 39 * _DAY
#: Life of a day of the ledger.
LEDGER_TTL: Final = 91 * _DAY
#: Life of the spend of a day or a month, after its last change; tags without a limit that a period counts at most.
SPEND_TTL: Final = LEDGER_TTL
MAX_SPEND_TAGS: Final = 1_000
#: Hosts and plugins of a day whose costs are counted apart. The others count together.
MAX_SPEND_HOSTS: Final = 500
#: Life of the record of a schedule, after its last tick; schedules that the store remembers at most.
SCHEDULE_TTL: Final = 91 * _DAY
MAX_SCHEDULES: Final = 1_000
#: Longest time after which a part that waits for a budget asks again by itself; parts of a line that one event sees.
BUDGET_RECHECK: Final = 6 * HOUR
BUDGET_WAKES: Final = 100
#: Share of a limit from which a budget warns.
BUDGET_WARNING: Final = 0.8
#: Life of the jobs of an account that no run owns, after the last such job was seen. The API keeps a job for less time.
UNOWNED_TTL: Final = 39 * _DAY
#: Life of the held pages of a part that does not end, after the last page was held. The API keeps a page for less time.
HELD_PAGES_TTL: Final = 39 * _DAY
#: Seconds that the taker of a delivery, or the step that releases its part, has to publish a step message by itself.
HINT_PUBLISH: Final = 5
#: Seconds between two polls of a job that deliveries for unknown tasks demand. A flood must not cost requests.
JOB_LOOK_INTERVAL: Final = 5
#: Delivered pages of an account that are fetched and compared: the first ones, and later one in each of this number.
FIRST_CHECKS: Final = 20
CHECK_SPACING: Final = 100
#: Life of an id that a transaction has reserved for an idempotency key.
RESERVATION_TTL: Final = _DAY
#: Life of the claim of the store by an application, after a worker of the application renewed it for the last time.
NAMESPACE_TTL: Final = 30
#: Life of the note that a token is refused, after the last try and `auth_grace`. While runs wait and a worker lives, a
#: try comes each minute. Nobody tries a token that was replaced, so its note must end by itself.
BREAKER_TTL: Final = 600
#: Life of the list of parts that wait for a target lock, after the last part was added. Before that, each part tries
#: the lock again by itself.
TARGET_WAIT_TTL: Final = _DAY
#: Life of the rejected purchases of an account, after the last purchase was added.
REJECTED_TTL: Final = _DAY

#: Seconds, or a tenth of `record_ttl` if that is less, by which a run leaves the index before its record expires. The
#: dispatcher, each new run and each list remove such runs, in pieces.
INDEX_MARGIN: Final = HOUR
#: Runs that a new run removes from the index at most. More than one, so that the index shrinks without a dispatcher.
INDEX_PRUNES: Final = 10

#: Distinct costs of one learned price, and the samples from which on the old ones count half.
LEARNED_COSTS: Final = 8
LEARNED_SAMPLES: Final = 200
#: Samples from which on a learned price counts in full in a reservation. Until then, it counts up to this multiple of
#: the published price.
LEARNED_TRUST: Final = prices.TRUSTED_SAMPLES
LEARNED_FACTOR: Final = prices.LARGEST_FACTOR
#: Learned prices of one account.
LEARNED_PRICES: Final = 1000

#: Distance of two priorities in the order of the parts that wait for a job slot: more than any time since the epoch.
PRIORITY_SPAN: Final = 10**10
#: Place from which parts with a fairness key stand in the list of all waiters. Parts without a key stand below,
#: with any priority.
KEYED_FROM: Final = 100 * PRIORITY_SPAN
#: Life of the note that a run has set a priority or a fairness key, after the last such run.
FAIRNESS_USED_TTL: Final = 7 * _DAY

#: Seconds of a day. The ledger has one key for each day.
SECONDS_PER_DAY: Final = _DAY
#: The year in which days begin to count.
EPOCH_YEAR: Final = 1970
#: Budgets count thousandths of a credit, so that sums have no rounding errors.
MC_PER_CREDIT: Final = budget_limits.MC_PER_CREDIT
#: Redis takes some expiries in milliseconds.
MS_PER_SECOND: Final = 1000
#: The newest version of a record that the scripts read.
RECORD_VERSION: Final = versions.RECORD_VERSION
#: A prime. The remainder of a part id decides which of its polls reads the job itself instead of the list.
SPREAD_PRIME: Final = 1_000_003
#: The transitions that a state may make, as a Lua text with a space before and after each.
ALLOWED_TRANSITIONS: Final = (
    f"' {' '.join(f'{before}>{after}' for before, others in states.TRANSITIONS.items() for after in others)} '"
)

#: The constants that Lua may name. `scripts` writes the constants of a script before its text.
SCRIPT_CONSTANTS: Final = {
    name: value for name, value in globals().items() if name.isupper() and not name.startswith("_")
}


def describe_life(seconds: int) -> str:
    """Return the text of a life: in days, unless these are not whole."""
    days, rest = divmod(seconds, _DAY)
    return f"{seconds} s" if rest else f"{days} day{'s' if days > 1 else ''}"


class Expiry(StrEnum):
    """The expiry of a key without a fixed life, as the table of keys words it."""

    NEVER = "never"
    DELETED = "never: a script deletes it"
    RECORD = "`record_ttl` after delivery"
    CONTENTS = "`result_ttl` after delivery"
    IDEMPOTENCY = "`idempotency_ttl` after delivery, by the watched clock"
    MARK = f"{describe_life(MARK_TTL)} by the watched clock"
    OWNER = f"`record_ttl` after delivery, at least {describe_life(MARK_TTL)}"
    CALLBACK = "`record_ttl` after the callback began"
    BREAKER = f"`auth_grace` and {BREAKER_TTL} s after the last try"
    INDEX = "with the last run in it; of live runs, never"
    TIME = "at the time that it holds, or shortly after"


@dataclass(frozen=True, slots=True)
class Retention:
    """The seconds for which the data of an ended run are kept."""

    contents: int
    record: int
    idempotency: int
