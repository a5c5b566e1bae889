"""The store: the Redis keys, the commands that read and change them, and the states of runs and parts."""

from __future__ import annotations

from scrape_do_celery.rules.states import CANCEL, DEADLINE, OUTCOMES, SKIPPED, PartState, RunState
from scrape_do_celery.store import ops
from scrape_do_celery.store.client import AsyncStore, Store
from scrape_do_celery.store.due import DuePart, DueRun
from scrape_do_celery.store.keys import Keys, PartId
from scrape_do_celery.store.ops import Retention
from scrape_do_celery.store.options import RunSpec
from scrape_do_celery.store.records import Claim, PartRecord, RunRecord

__all__ = [
    "CANCEL",
    "DEADLINE",
    "OUTCOMES",
    "SKIPPED",
    "AsyncStore",
    "Claim",
    "DuePart",
    "DueRun",
    "Keys",
    "PartId",
    "PartRecord",
    "PartState",
    "Retention",
    "RunRecord",
    "RunSpec",
    "RunState",
    "Store",
    "ops",
]
