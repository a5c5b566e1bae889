"""Apply the settings of the process that starts a run to the spec of the run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scrape_do_celery.config.webhook_settings import find_missing
from scrape_do_celery.store.option_checks import has_own_webhook

if TYPE_CHECKING:
    from scrape_do_celery.config import Settings
    from scrape_do_celery.store.options import RunSpec


def apply_settings(spec: RunSpec, settings: Settings) -> RunSpec:
    """Return the spec with the size of its parts, and with its webhooks on or off.

    Raises:
        ValueError: the run shall have webhooks, and the settings lack what they need.
    """
    return replace(spec.split_by(settings.targets_per_job), webhook=_decide_webhook(spec, settings))


def _decide_webhook(spec: RunSpec, settings: Settings) -> bool:
    if spec.webhook is None:
        # The caller's own webhook stands: the setting is only a default.
        return settings.webhooks and not has_own_webhook(spec.request)
    if spec.webhook and (missing := find_missing(settings.webhook_base_url, settings.webhook_keys)):
        raise ValueError(
            f"webhook=True needs {missing}; set both where runs are started and in workers, or give webhook=False"
        )
    return spec.webhook
