"""The signals of this package. Connect a receiver to one as to a signal of Celery."""

from __future__ import annotations

from typing import Any, Final

from celery.utils.dispatch import Signal

run_changed: Final[Any] = Signal(name="run_changed", providing_args={"status"})
"""A run was enqueued, has changed, or has ended. `sender` is the Celery app, `status` a `RunStatus`.

The process that enqueues the run sends the signal first. Later one of the workers sends it: at most every five seconds
for a live run, and when the run ends. A worker delivers at least once: if a receiver raises, a worker calls it again
half a minute later, not always the same worker. Receivers should return soon, because they run in a thread of the
worker's main process.
"""

budget_warning: Final[Any] = Signal(name="budget_warning", providing_args={"budget"})
"""A budget has used 80 % of its limit: spent and reserved together. `sender` is the Celery app, `budget` a `Budget`.

Of all workers, one sends the signal, once in each period of the budget, and again after a change of its limit. If that
worker dies before its receivers have run, no other worker sends the signal. The error of a receiver is logged.
Receivers should return soon, because they run in a thread of the worker's main process.
"""
