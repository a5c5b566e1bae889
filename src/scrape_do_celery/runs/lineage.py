"""The methods of a run's handle for its lineage: a run, its child, the child of that child, and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.errors import ResultNotReadyError
from scrape_do_celery.runs import results
from scrape_do_celery.runs.async_handle import aiter_in_threads
from scrape_do_celery.runs.merging import Lineage
from scrape_do_celery.runs.threads import call_in_thread
from scrape_do_celery.store.commands.runs import ReadLineage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrape_do_celery.runs.context import AppContext
    from scrape_do_celery.runs.merging import MergedEntry, MergedResult
    from scrape_do_celery.store import RunRecord, Store


class LineageMethods:
    """The methods of `RunHandle` that read the runs of a lineage together. Each run of a lineage gives the same."""

    if TYPE_CHECKING:
        run_id: str
        _app_context: AppContext

    @property
    def lineage(self) -> tuple[str, ...]:
        """The ids of the runs of the lineage, from the first run to the newest child."""
        with self._app_context.limited_call():
            return tuple(read_lineage(self._app_context.store, self.run_id))

    def merged(self, *, partial: bool = False) -> MergedResult:
        """Return one entry for each input of the first run, with the newest page that any run of the lineage has.

        The outcomes of the runs raise nothing here: pages that were fetched before a failure count too.

        Args:
            partial: whether a live child counts with the tasks that are fetched by now.

        Returns:
            The entries in input order, the ids of the runs, and what all of them cost.

        Raises:
            ResultNotReadyError: the newest run has not ended, and `partial` is not set.
            RunNotFoundError: the store has no such run (any more), or the first run was forgotten.
            ResultExpiredError: the pages have expired.
        """
        with self._app_context.limited_call(by_progress=True):
            return self._read_merged(partial=partial).read_result()

    def iter_merged(self, *, partial: bool = False) -> Iterator[MergedEntry]:
        """Yield the entries of `merged` in input order, with few tasks in memory at a time.

        Args:
            partial: as in `merged`.

        Raises:
            ScrapeDoError: the errors of `merged`.
        """
        yield from self._read_merged(partial=partial).iter_entries()

    async def amerged(self, *, partial: bool = False) -> MergedResult:
        """Return the merged result as `merged` does, in async code.

        Args:
            partial: as in `merged`.

        Returns:
            The result, as from `merged`.

        Raises:
            ScrapeDoError: the errors of `merged`.
        """
        return await call_in_thread(lambda: self.merged(partial=partial))

    async def aiter_merged(self, *, partial: bool = False) -> AsyncIterator[MergedEntry]:
        """Yield the entries of `merged` as `iter_merged` does, in async code.

        Args:
            partial: as in `merged`.

        Raises:
            ScrapeDoError: the errors of `merged`.
        """
        async for entry in aiter_in_threads(self.iter_merged(partial=partial)):
            yield entry

    def _read_merged(self, *, partial: bool) -> Lineage:
        store = self._app_context.store
        records = [results.read_record(store, run_id) for run_id in read_lineage(store, self.run_id)]
        if records[-1].outcome is None and not partial:
            raise live_run_error(records[-1])
        return Lineage(store, records)


def read_lineage(store: Store, run_id: str) -> list[str]:
    """Return the ids of the runs of a lineage, from the first run to the newest child.

    Raises:
        RunNotFoundError: the store has no such run (any more).
    """
    found = store.run(ReadLineage(run_id))
    if not found:
        raise results.run_not_found_error(store, run_id)
    return found


def live_run_error(record: RunRecord) -> ResultNotReadyError:
    """Return the error for a run that must end first."""
    return ResultNotReadyError(
        f"run {record.run_id} is {record.state} and has not ended; wait longer, or try again later; if the state does "
        "not change, run `scrape-do doctor`",
        record.run_id,
    )
