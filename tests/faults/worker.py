"""The application that the lab's workers run: ours, with a point on either side of each call."""

from __future__ import annotations

import os

from scrape_do_celery.worker import app
from tests.faults.mutants import take_away
from tests.faults.plans import Plans
from tests.faults.seams import Seams
from tests.faults.times import RESTORE, hasten

hasten()
app.conf.broker_transport_options = {**app.conf.broker_transport_options, **RESTORE}
if without := os.environ.get("LAB_WITHOUT"):
    take_away(without)
Seams(Plans(os.environ["LAB_FOLDER"])).install()

__all__ = ["app"]
