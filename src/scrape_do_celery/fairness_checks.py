"""Check that the settings that fairness needs are set, if runs use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scrape_do_celery.findings import WARNING, Finding
from scrape_do_celery.store.commands.limits import ReadFairnessUse
from scrape_do_celery.store.retention import FAIRNESS_USED_TTL, describe_life

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.config import Settings
    from scrape_do_celery.store import Store

_SAID: Final = f"in the last {describe_life(FAIRNESS_USED_TTL)}, a run has set fairness_key or priority"


def check_fairness(store: Store, settings: Settings) -> Iterator[Finding]:
    """Find settings without which the fairness key and the priority of runs have little or no effect.

    Raises:
        RedisError: the store did not answer.
    """
    if not store.run(ReadFairnessUse()):
        return
    if settings.max_active_jobs is None:
        yield Finding(
            WARNING,
            f"{_SAID}, and SCRAPE_DO_MAX_ACTIVE_JOBS is not set: each job is bought at once, so both have no effect; "
            "set it for all workers, to the number of jobs that may run at a time",
        )
    if "targets_per_job" not in settings.model_fields_set:
        yield Finding(
            WARNING,
            f"{_SAID}, and SCRAPE_DO_TARGETS_PER_JOB is not set: other runs wait while a job of up to "
            f"{settings.targets_per_job:,} targets holds its slot; set it where runs are started, such as to 50",
        )
