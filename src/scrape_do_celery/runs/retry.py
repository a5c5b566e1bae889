"""Start a run for the targets of an ended run that have no page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.errors import ResultNotReadyError, RunError
from scrape_do_celery.local_variables import without_locals
from scrape_do_celery.rules.outcomes import may_have_bought
from scrape_do_celery.runs import results
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.runs.idempotency import check_run_id
from scrape_do_celery.runs.plugin_answers import answered_indexes
from scrape_do_celery.runs.start_calls import start_run
from scrape_do_celery.store.commands.runs import ReadRun, ReadSpec
from scrape_do_celery.store.request_inputs import wire_inputs_of

if TYPE_CHECKING:
    from scrape_do_celery.config import Settings
    from scrape_do_celery.models import JobCreationRequest
    from scrape_do_celery.runs.handle import RunHandle
    from scrape_do_celery.store import RunRecord, RunSpec, Store


@without_locals
def retry_failed(run_id: str, *, trust_order: bool = False, settings: Settings | None = None) -> RunHandle:
    """Start a run for the targets of an ended run that have no page, with the same options and the same `meta`.

    With `dedupe`, each of these targets is bought once, and the new run has an entry for each of their inputs. A second
    call for the same run returns the same new run. Tasks of a plugin show no URL. So a run of a plugin is retried only
    if the answers show to which parameter set each belongs: if all or none succeeded, or if each answer repeats its
    parameters, as those of `google/search` do.

    Args:
        run_id: the run that has ended.
        trust_order: for a run of a plugin, take the order of the job's tasks as that of the parameter sets. The API
            does not document it. If the order is another, you pay twice for some answers and never get others.
        settings: settings of this call. None takes those of the framework or of the environment.

    Returns:
        A handle of the new run.

    Raises:
        ResultNotReadyError: the run has not ended.
        RunError: every target has its page; or a purchase is in doubt and could be paid again; or the tasks do not show
            which target or parameter set they belong to.
        RunNotFoundError: the store has no record of the run (any more).
        ResultExpiredError: the pages of the run have expired.
    """
    check_run_id(run_id)
    app_context = AppContext.for_app(settings=settings)
    store = app_context.store
    record = store.run(ReadRun(run_id))
    spec = store.run(ReadSpec(run_id, record.part_count)) if record else None
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
    missing = find_missing(store, record, spec, trust_order=trust_order)
    if not missing:
        raise RunError(
            f"run {run_id} has an answer for each target, so nothing is bought again; fetch pages over the limit with "
            "`scrape-do refetch`",
            run_id,
        )
    return start_run(spec.select_targets(missing), idempotency_key=f"retry of {run_id}", settings=settings)


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
