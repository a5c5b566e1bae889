"""The store: the Redis keys, the records, and the two classes that carry out `store.commands`."""

from __future__ import annotations

from scrape_do_celery.rules.outcomes import OUTCOMES, SKIPPED, RunState
from scrape_do_celery.rules.states import CANCEL, DEADLINE, PartState
from scrape_do_celery.store.claims import Claim
from scrape_do_celery.store.client import AsyncStore, Store
from scrape_do_celery.store.keys import Keys
from scrape_do_celery.store.options import RunSpec
from scrape_do_celery.store.part_ids import PartId
from scrape_do_celery.store.part_records import PartRecord
from scrape_do_celery.store.records import RunRecord
from scrape_do_celery.store.retention import Retention

__all__ = [
    "CANCEL",
    "DEADLINE",
    "OUTCOMES",
    "SKIPPED",
    "AsyncStore",
    "Claim",
    "Keys",
    "PartId",
    "PartRecord",
    "PartState",
    "Retention",
    "RunRecord",
    "RunSpec",
    "RunState",
    "Store",
]
