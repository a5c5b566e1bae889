"""The loop of bulk calls: act on all runs with some properties, page by page, so that another call can carry on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypedDict

from scrape_do_celery.errors import (
    ConfigurationError,
    EncryptionKeyError,
    NewerRecordError,
    RunNotFoundError,
    ScrapeDoError,
    StoreUnavailableError,
)
from scrape_do_celery.rules.skips import SkipReason, fix_until
from scrape_do_celery.runs.bulk_actions import NO_COST
from scrape_do_celery.runs.bulk_reports import BulkReport, GrowingGroups
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.runs.listing import cursor_behind, list_runs, read_time
from scrape_do_celery.store.commands.stats import ReadClock
from scrape_do_celery.store.option_checks import check_flag

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from scrape_do_celery.rules.outcomes import RunState
    from scrape_do_celery.runs.bulk_actions import BulkAction, RunDraft

#: Runs that are read at a time.
_PAGE: Final = 100
#: The filters of which a call needs one. `until` is none of them: who repeats a call with its `until` may forget a tag.
_NARROWING: Final = ("state", "tag", "label", "since")


class RunFilters(TypedDict, total=False):
    """The properties of the runs of a bulk call, as `list_runs` takes them."""

    state: RunState | str | None
    tag: str | None
    label: str | None
    since: datetime | None
    until: datetime | None


class BulkCall:
    """A bulk call under way. `iter_reports` does the work, one run after the other.

    Args:
        action: what to do to each run.
        filters: the properties of the runs.
        everything: whether all runs of the store are meant.
        dry_run: whether nothing is written.
        limit: the number of runs to look at. None for all.
        cursor: the cursor of an earlier report.
        counted: the ids of the runs to act on, as a dry run has counted them. None for all that the filters find.

    Raises:
        ValueError: no filter is given, or `everything` and a filter; or an argument is wrong.
        StoreUnavailableError: the store did not answer.
    """

    def __init__(  # noqa: PLR0913 (one argument for each option)
        self,
        action: BulkAction,
        filters: RunFilters,
        *,
        everything: bool = False,
        dry_run: bool = False,
        limit: int | None = None,
        cursor: str | None = None,
        counted: Collection[str] | None = None,
    ) -> None:
        _check_consent(action.name, filters, everything=check_flag("everything", everything))
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise ValueError("limit must be a whole number of runs from 1 on, or None")
        self._action, self._limit, self._cursor = action, limit, cursor
        self.dry_run = check_flag("dry_run", dry_run)
        self._wanted = counted
        #: the ids of the runs that a dry run would change
        self.counted: set[str] = set()
        until = read_time("until", filters.get("until"))
        self._until = fix_until(AppContext.for_app(settings=action.settings).store.run(ReadClock()), until)
        self._filters: dict[str, Any] = {
            **filters,
            "state": action.default_state if filters.get("state") is None else filters["state"],
            "until": datetime.fromtimestamp(self._until, UTC),
            "settings": action.settings,
        }
        self._runs = self._tasks = self._pages = 0
        self._estimate = NO_COST
        self._skipped, self._failed = GrowingGroups(), GrowingGroups()

    @property
    def report(self) -> BulkReport:
        """What was done by now. Its cursor stands behind the last run that the call has looked at."""
        return BulkReport(
            runs=self._runs,
            tasks=self._tasks,
            pages=self._pages,
            estimate=self._estimate if self.dry_run else None,
            skipped=self._skipped.freeze(),
            failed=self._failed.freeze(),
            until=self._filters["until"],
            cursor=self._cursor,
        )

    def iter_reports(self) -> Iterator[BulkReport]:
        """Act on the runs, and yield a report after each run.

        Raises:
            ValueError: a filter is wrong. Nothing was written.
            StoreUnavailableError: the store did not answer.
        """
        left = self._limit
        while left is None or left > 0:
            page = list_runs(limit=min(_PAGE, left or _PAGE), cursor=self._cursor, **self._filters)
            for run_id in page.newer:
                self._skip(run_id, SkipReason.NEWER)
            for status in page.runs:
                self._handle(status.run_id)
                self._cursor = cursor_behind(status)
                yield self.report
            self._cursor = page.cursor
            if page.cursor is None:
                return
            left = None if left is None else left - len(page.runs) - len(page.newer)

    def finish(self) -> BulkReport:
        """Act on all runs, and return the last report.

        Raises:
            ValueError: a filter is wrong. Nothing was written.
            StoreUnavailableError: the store did not answer. The text says how to carry on.
        """
        try:
            for _ in self.iter_reports():
                pass
        except StoreUnavailableError as error:
            found = self.report
            advice = f"until=datetime.fromisoformat({found.until.isoformat()!r}), cursor={found.cursor!r}"
            if self._limit is not None:
                advice += f", limit={self._limit - found.found}"
            text = f"{error}; {found.runs:,} runs are done: to carry on, repeat the call with {advice}"
            raise StoreUnavailableError(text, error.reason, error.run_ids, error.may_be_written) from error
        return self.report

    def _handle(self, run_id: str) -> None:
        try:
            draft = self._action.draft(run_id, self._until)
            skip = draft if isinstance(draft, SkipReason) else self._act(draft)
        except NewerRecordError:
            skip = SkipReason.NEWER
        except RunNotFoundError:
            skip = SkipReason.UNKNOWN
        except ScrapeDoError as error:
            if not _is_of_one_run(error):
                raise
            self._failed.add(run_id, type(error).__name__, str(error))
            return
        if skip is not None:
            self._skip(run_id, skip)

    def _act(self, draft: RunDraft) -> SkipReason | None:
        if self._wanted is not None and draft.run_id not in self._wanted:
            # The error of a refused run says more.
            draft.estimate()
            return SkipReason.UNCOUNTED
        if self.dry_run:
            self._estimate += draft.estimate()
            self.counted.add(draft.run_id)
        elif skip := draft.carry_out():
            return skip
        self._runs += 1
        self._tasks += draft.tasks
        self._pages += draft.pages
        return None

    def _skip(self, run_id: str, reason: SkipReason) -> None:
        self._skipped.add(run_id, reason.value, reason.text)


def _is_of_one_run(error: ScrapeDoError) -> bool:
    """Return whether an error says nothing of other runs: the call goes on after it."""
    return isinstance(error, EncryptionKeyError) or not isinstance(error, StoreUnavailableError | ConfigurationError)


def find_narrowing(filters: Mapping[str, Any]) -> list[str]:
    """Return the names of the given filters that narrow a call."""
    return [name for name in _NARROWING if filters.get(name) is not None]


def _check_consent(name: str, filters: RunFilters, *, everything: bool) -> None:
    """Refuse a call that means all runs of the store by a forgotten argument.

    Raises:
        ValueError: no filter is given, or `everything` and a filter.
    """
    given = find_narrowing(filters)
    if not given and not everything:
        raise ValueError(
            f"{name} needs a filter ({', '.join(_NARROWING)}): without one, pass everything=True, for all runs of the "
            "store"
        )
    if given and everything:
        raise ValueError(f"{name} takes everything=True or filters, not both: leave out {', '.join(given)}")
