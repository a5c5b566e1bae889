"""Start a run for the targets of an ended run that have no page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.errors import ResultNotReadyError, RunError, RunNotFoundError
from scrape_do_celery.rules.outcomes import may_have_bought
from scrape_do_celery.runs import results
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.runs.enqueue import enqueue
from scrape_do_celery.store.commands.runs import ReadRun, ReadSpec
from scrape_do_celery.store.options import targets_of

if TYPE_CHECKING:
    from scrape_do_celery.config import Settings
    from scrape_do_celery.runs.handle import RunHandle
    from scrape_do_celery.store import RunRecord, RunSpec, Store


def retry_failed(run_id: str, *, settings: Settings | None = None) -> RunHandle:
    """Start a run for the targets of an ended run that have no page, with the same options.

    A second call for the same run returns the same new run.

    Args:
        run_id: the run that has ended.
        settings: settings of this call. None takes those of the framework or of the environment.

    Returns:
        A handle of the new run.

    Raises:
        ResultNotReadyError: the run has not ended.
        RunError: every target has its page; or a purchase is in doubt and could be paid again; or the run is of a
            plugin; or the tasks do not show which target they belong to.
        RunNotFoundError: the store has no record of the run (any more).
        ResultExpiredError: the pages of the run have expired.
    """
    app_context = AppContext.for_app(settings=settings)
    store = app_context.store
    record = store.run(ReadRun(run_id))
    spec = store.run(ReadSpec(run_id, len(record.parts))) if record else None
    if record is None or spec is None:
        raise RunNotFoundError(f"the store has no run {run_id}: the id is wrong, or the run has expired", run_id)
    if record.outcome is None:
        raise ResultNotReadyError(
            f"run {run_id} is {record.state} and has not ended; wait longer, or try again later", run_id
        )
    if any(may_have_bought(part.outcome, purchases=part.purchases, job_id=part.job_id) for part in record.parts):
        raise RunError(
            f"run {run_id} may have bought a job that was not found; check `scrape-do orphans`, then enqueue the "
            "targets yourself",
            run_id,
        )
    if spec.request.plugin is not None:
        raise RunError(
            f"run {run_id} used a plugin, and its tasks do not show which parameters failed; enqueue these parameters "
            "yourself",
            run_id,
        )
    targets = without_page(store, record, spec)
    if not targets:
        raise RunError(
            f"run {run_id} has an answer for each target, so nothing is bought again; fetch pages over the limit with "
            "`scrape-do refetch`",
            run_id,
        )
    return enqueue(
        spec.request.with_targets(targets),
        idempotency_key=f"retry of {run_id}",
        settings=settings,
        **spec.run_options,
    )


def without_page(store: Store, record: RunRecord, spec: RunSpec) -> list[str]:
    """Return the targets of a run for which no answer contained a page, in input order."""
    readers = {reader.part_id.part: reader for reader in results.part_readers(store, record)}
    missing: list[str] = []
    for number, part in enumerate(spec.parts()):
        targets = targets_of(part)
        reader = readers.get(number)
        successful = reader.successful_indexes(store) if reader else set()
        if successful is None:
            raise RunError(
                f"run {record.run_id}: its tasks cannot be matched to its targets; enqueue the targets yourself",
                record.run_id,
            )
        missing += [target for index, target in enumerate(targets) if index not in successful]
    return missing
