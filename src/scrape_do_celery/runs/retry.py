"""Start a run for the targets of an ended run that have no page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.errors import ResultNotReadyError, RunError
from scrape_do_celery.local_variables import without_locals
from scrape_do_celery.rules.outcomes import may_have_bought
from scrape_do_celery.runs import results
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.runs.start_calls import start_run
from scrape_do_celery.store.commands.runs import ReadRun, ReadSpec

if TYPE_CHECKING:
    from scrape_do_celery.config import Settings
    from scrape_do_celery.runs.handle import RunHandle
    from scrape_do_celery.store import RunRecord, RunSpec, Store


@without_locals
def retry_failed(run_id: str, *, settings: Settings | None = None) -> RunHandle:
    """Start a run for the targets of an ended run that have no page, with the same options and the same `meta`.

    With `dedupe`, each of these targets is bought once, and the new run has an entry for each of their inputs. A second
    call for the same run returns the same new run.

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
        raise results.run_not_found_error(store, run_id)
    if record.outcome is None:
        raise ResultNotReadyError(
            f"run {run_id} is {record.state} and has not ended; wait longer, or try again later; if the state does not "
            "change, run `scrape-do doctor`",
            run_id,
        )
    if any(may_have_bought(part.outcome, purchases=part.purchases, job_id=part.job_id) for part in record.parts):
        raise RunError(
            f"run {run_id} may have bought a job that was not found; check the error's `.candidates` and the account's "
            "job list, also ended jobs, before you enqueue the targets yourself",
            run_id,
        )
    if spec.request.plugin is not None:
        raise RunError(
            f"run {run_id} used a plugin, and its tasks do not show which parameters failed; enqueue these parameters "
            "yourself",
            run_id,
        )
    missing = find_missing(store, record, spec)
    if not missing:
        raise RunError(
            f"run {run_id} has an answer for each target, so nothing is bought again; fetch pages over the limit with "
            "`scrape-do refetch`",
            run_id,
        )
    return start_run(spec.select_targets(missing), idempotency_key=f"retry of {run_id}", settings=settings)


def find_missing(store: Store, record: RunRecord, spec: RunSpec) -> list[int]:
    """Return the indexes of the targets for which no answer contained a page."""
    readers = {reader.part_id.part: reader for reader in results.part_readers(store, record)}
    missing: list[int] = []
    first = 0
    for number, part in enumerate(spec.parts()):
        reader = readers.get(number)
        successful = reader.successful_indexes(store) if reader else set()
        if successful is None:
            raise RunError(
                f"run {record.run_id}: its tasks cannot be matched to its targets; `enqueue` buys ALL targets again; "
                "stored pages stay readable",
                record.run_id,
            )
        missing += [first + index for index in range(part.size) if index not in successful]
        first += part.size
    return missing
