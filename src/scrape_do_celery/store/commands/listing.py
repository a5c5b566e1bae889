"""The command that lists runs by the index."""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery.errors import NewerRecordError
from scrape_do_celery.rules.outcomes import LIVE_ORDER
from scrape_do_celery.rules.run_filters import find_index_states
from scrape_do_celery.store.command import Command, Encoded
from scrape_do_celery.store.records import RunRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store.keys import Keys

#: Records that one command reads at most, before it returns a short page.
MAX_READS: Final = 1_000
#: The fields of records that a `RunStatus` shows.
_RUN_FIELDS: Final = ("created", "outcome", "ended", "parts", "result", "error", "summary", "key", "tags", "label", "v")
_PART_FIELDS: Final = (
    *("state", "total", "job", "credits", "reported_ok", "reported_failed"),
    *("stored_ok", "stored_failed", "gone", "words"),
)


@dataclass(frozen=True, slots=True)
class RunPosition:
    """The position of a run in the list: when it was written, as the index has it, and its id."""

    at: str
    run_id: str

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{self.at} {self.run_id}".encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> RunPosition:
        """Parse the text that `str()` made.

        Raises:
            ValueError: the text is no position.
        """
        try:
            padded = f"{text}{'=' * (-len(text) % 4)}"
            at, _, run_id = base64.b64decode(padded, altchars=b"-_", validate=True).decode().partition(" ")
            found = cls(at, run_id) if run_id and math.isfinite(float(at)) else None
        except (binascii.Error, UnicodeError, ValueError):
            found = None
        if found is None:
            raise ValueError("cursor must be the cursor of a page that was read before, or None")
        return found


@dataclass(frozen=True, slots=True)
class ListedRuns:
    """A page of runs, the newest first, and the position behind which the next page begins; None behind the end.

    `newer` has the ids of runs whose records a newer version wrote. This version cannot read these records.
    """

    records: tuple[RunRecord, ...]
    newer: tuple[str, ...]
    position: RunPosition | None


@dataclass(frozen=True, slots=True)
class ListRuns(Command[ListedRuns]):
    """List up to `limit` runs that were written at `since` or later, and before `before`.

    `state` is one of `STATE_WORDS`. The page is short, although more runs follow, if many records had to be read.
    """

    limit: int
    _: KW_ONLY
    state: str | None = None
    label: str | None = None
    tag: str | None = None
    since: float | None = None
    before: float | None = None
    position: RunPosition | None = None
    max_reads: int = MAX_READS
    script = "list_runs"

    def encode(self, keys: Keys) -> Encoded:
        question, position = find_index_states(self.state), self.position
        return Encoded(
            (
                *(keys.prefix, " ".join(question.index_states), self.label or "", self.tag or ""),
                question.live_state,
                *("-inf" if self.since is None else f"{self.since:.6f}",),
                *("+inf" if self.before is None else f"{self.before:.6f}",),
                *(("", "") if position is None else (position.at, position.run_id)),
                *(self.limit, self.max_reads, " ".join(LIVE_ORDER)),
                *(" ".join(_RUN_FIELDS), " ".join(_PART_FIELDS)),
            ),
            [keys.clock],
        )

    def decode(self, keys: Keys, reply: Any) -> ListedRuns:
        at, run_id, *rows = reply
        found = [_read_record(keys, row) for row in rows]
        return ListedRuns(
            records=tuple(one for one in found if isinstance(one, RunRecord)),
            newer=tuple(one.run_id for one in found if isinstance(one, NewerRecordError)),
            position=RunPosition(at.decode(), run_id.decode()) if run_id else None,
        )


def _read_record(keys: Keys, row: Sequence[Any]) -> RunRecord | NewerRecordError | None:
    run_id, *hashes = row
    try:
        return RunRecord.from_reply(run_id.decode(), hashes, keys)
    except NewerRecordError as error:
        return error
