"""Start the child of a run: a run for the inputs of a lineage that have no page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

from scrape_do_celery.errors import RunError
from scrape_do_celery.local_variables import without_locals
from scrape_do_celery.rules.skips import SkipReason
from scrape_do_celery.runs import results
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.runs.handle import RunHandle
from scrape_do_celery.runs.idempotency import check_run_id
from scrape_do_celery.runs.lineage import live_run_error, read_lineage
from scrape_do_celery.runs.plugin_answers import answered_indexes
from scrape_do_celery.runs.start_calls import start_run
from scrape_do_celery.store.commands.runs import ReadSpec
from scrape_do_celery.store.request_inputs import wire_inputs_of

if TYPE_CHECKING:
    from scrape_do_celery.config import Settings
    from scrape_do_celery.models import JobCreationRequest
    from scrape_do_celery.store import RunRecord, RunSpec, Store
    from scrape_do_celery.store.options import RunOptions


@dataclass(frozen=True, slots=True)
class ChildDraft:
    """A child that is not written yet. `parent` is the newest run of the lineage."""

    parent: str
    #: what the child buys
    spec: RunSpec

    def start(self, *, run_id: str | None = None, settings: Settings | None = None) -> RunHandle:
        """Start the child, unless the parent has one by now. Return the handle of the child.

        If the child is new, its id is `run_id`.
        """
        key = f"retry of {self.parent}"
        return start_run(self.spec, idempotency_key=key, run_id=run_id, parent=self.parent, settings=settings)


@without_locals
def retry_failed(
    run_id: str, *, trust_order: bool = False, settings: Settings | None = None, **options: Unpack[RunOptions]
) -> RunHandle:
    """Start a run for the inputs that have no page, with the same options and the same `meta`.

    The new run is the child of the run. A run, its child, the child of that child, and so on, are a lineage. Each of
    their ids means the whole lineage: the child buys what no run of the lineage has a page for. While a child is live,
    each call returns this child. After its end, the next call starts the next one. `RunHandle.merged` gives the pages
    of all runs.

    With `dedupe`, each target is bought once, and the child has an entry for each of its inputs. Tasks of a plugin show
    no URL. So a run of a plugin is retried only if the answers show to which parameter set each belongs: if all or none
    succeeded, or if each answer repeats its parameters, as those of `google/search` do.

    Args:
        run_id: a run that has ended, or any earlier run of its lineage.
        trust_order: for a run of a plugin, take the order of the job's tasks as that of the parameter sets. The API
            does not document it. If the order is another, you pay twice for some answers and never get others.
        settings: settings of this call. None takes those of the framework or of the environment.
        **options: options of the child (`RunOptions`) in place of those of the run. If the child exists already, its
            own options stand.

    Returns:
        A handle of the child.

    Raises:
        ValueError: an option is wrong, or there is no such option.
        ResultNotReadyError: the run has not ended.
        RunError: every input has its page; or a purchase is in doubt and could be paid again; or the tasks do not show
            which target or parameter set they belong to.
        RunNotFoundError: the store has no record of the run (any more).
        ResultExpiredError: the pages of the run have expired.
        BudgetExceededError: the child is larger than its own limit or than a whole budget. Nothing was written.
        StoreUnavailableError: Redis did not answer. If you repeat the call, no page is bought twice.
    """
    child = draft_child(run_id, trust_order=trust_order, settings=settings, **options)
    return child if isinstance(child, RunHandle) else child.start(settings=settings)


@without_locals
def draft_child(
    run_id: str, *, trust_order: bool = False, settings: Settings | None = None, **options: Unpack[RunOptions]
) -> ChildDraft | RunHandle:
    """Return the live child, or the child that `retry_failed` would start. Nothing is written.

    Raises:
        ScrapeDoError: the errors of `retry_failed`.
    """
    store = AppContext.for_app(settings=settings).store
    newest = read_newest(store, check_run_id(run_id))
    if newest.outcome is None:
        if newest.run_id == run_id:
            raise live_run_error(newest)
        return RunHandle(newest.run_id, settings=settings)
    draft = draft_next(store, newest, trust_order=trust_order, **options)
    if isinstance(draft, SkipReason):
        raise _skip_error(newest.run_id, draft)
    return draft


def read_newest(store: Store, run_id: str) -> RunRecord:
    """Return the newest run of a lineage. It alone shows what the lineage lacks: each run buys what the others lack.

    Raises:
        RunNotFoundError: the store has no such run (any more).
    """
    return results.read_record(store, read_lineage(store, run_id)[-1])


@without_locals
def draft_next(
    store: Store, newest: RunRecord, *, trust_order: bool = False, **options: Unpack[RunOptions]
) -> ChildDraft | SkipReason:
    """Return the child of the newest run of a lineage, which has ended; or why nothing may be bought again.

    Raises:
        ScrapeDoError: the errors of `retry_failed`.
    """
    if newest.is_in_doubt:
        return SkipReason.IN_DOUBT
    spec = store.run(ReadSpec(newest.run_id, newest.part_count))
    if spec is None:
        raise results.run_not_found_error(store, newest.run_id)
    missing = find_missing(store, newest, spec, trust_order=trust_order)
    return ChildDraft(newest.run_id, spec.select_targets(missing, **options)) if missing else SkipReason.COMPLETE


def _skip_error(run_id: str, reason: SkipReason) -> RunError:
    if reason is SkipReason.IN_DOUBT:
        return RunError(
            f"run {run_id} may have bought a job that was not found; check the error's `.candidates` and the account's "
            "job list, also ended jobs, before you enqueue the targets yourself",
            run_id,
        )
    return RunError(
        f"run {run_id} has an answer for each target, so nothing is bought again; fetch pages over the limit with "
        "`scrape-do refetch`",
        run_id,
    )


def find_missing(store: Store, record: RunRecord, spec: RunSpec, *, trust_order: bool = False) -> list[int]:
    """Return the indexes of the targets, or parameter sets, for which no answer contained a page."""
    readers = {reader.part_id.part: reader for reader in results.part_readers(store, record)}
    missing: list[int] = []
    first = 0
    for number, part in enumerate(spec.parts()):
        reader = readers.get(number)
        if reader is None:
            successful: set[int] | None = set()
        elif part.plugin is not None:
            successful = answered_indexes(reader, store, wire_inputs_of(part), trust_order=trust_order)
        else:
            successful = reader.successful_indexes(store)
        if successful is None:
            raise _unmatched_error(record.run_id, part)
        missing += [first + index for index in range(part.size) if index not in successful]
        first += part.size
    return missing


def _unmatched_error(run_id: str, part: JobCreationRequest) -> RunError:
    if part.plugin is None:
        return RunError(
            f"run {run_id}: its tasks cannot be matched to its targets; `enqueue` buys ALL targets again; stored pages "
            "stay readable",
            run_id,
        )
    return RunError(
        f"run {run_id} used the plugin {part.plugin.key}, and its answers do not show which parameter sets failed; "
        "compare them and enqueue these sets yourself; if you are sure that the job has a task for each set, in the "
        "same order, call retry_failed(..., trust_order=True)",
        run_id,
    )
