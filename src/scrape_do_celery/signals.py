"""Signals of this package, as Celery's own: connect a function to be told."""

from __future__ import annotations

from typing import Any, Final

from celery.utils.dispatch import Signal

run_changed: Final[Any] = Signal(name="run_changed", providing_args={"status"})
"""A run was enqueued, has moved on, or has ended. `sender` is the Celery app, `status` a `RunStatus`.

Sent by the process that enqueues; then by one of the workers: at most every five seconds a run, and when it ends. At
least once: where a receiver raises in a worker, it is called again half a minute later, in that worker or another.
Receivers run in a thread of the worker's main process, so they should be done soon.
"""
