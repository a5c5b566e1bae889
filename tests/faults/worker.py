"""The application of the lab's workers: ours, with a point before and after each call."""

from __future__ import annotations

import os

from scrape_do_celery.worker import app
from tests.faults.fault_plan import FaultPlan
from tests.faults.instrumentation import Instrumentation
from tests.faults.mutants import MUTANTS, apply_mutant
from tests.faults.timings import RESTORE, shorten_times

shorten_times()
app.conf.broker_transport_options = {**app.conf.broker_transport_options, **RESTORE}
if (mutant := os.environ.get("LAB_MUTANT", "")) in MUTANTS:
    apply_mutant(mutant)
Instrumentation(FaultPlan(os.environ["LAB_FOLDER"])).install()

__all__ = ["app"]
