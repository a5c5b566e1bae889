"""Starting the run of a schedule's tick."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Any

from scrape_do_celery import tracing
from scrape_do_celery.config.credentials import with_credentials
from scrape_do_celery.runs.enqueueing import read_spec, ring_submit
from scrape_do_celery.runs.handle import RunHandle
from scrape_do_celery.store import ops

if TYPE_CHECKING:
    from scrape_do_celery.runs.producer import Producer
    from scrape_do_celery.store import Store

log = logging.getLogger(__name__)

#: Seconds after which a ticker looks whether the run that a queued one waits for has ended: should its end be missed.
_LOOK = 60.0


def start_tick(producer: Producer, name: str, tick: str, if_running: str, request: dict[str, Any]) -> str | None:
    """The run of a tick; None where it was left out. Doing it twice changes nothing.

    Raises:
        ValueError: the request is wrong, or its credentials are unknown here.
    """
    store, options = producer.store, dict(request)
    spec = read_spec(**with_credentials(producer.settings, options.pop("credentials", None), options))
    before, key = store.run(ops.last_of(store.keys, name)), f"schedule {name} {tick}"
    goes_on = before is not None and store.run(ops.outcome(store.keys, before)) == (True, None)
    held = store.run(ops.held(store.keys, key))
    if held is not None and _was_started(store, held.run_id):
        if not goes_on:
            store.run(ops.set_last(store.keys, name, held.run_id, producer.settings.record_ttl))
        return held.run_id
    if goes_on and held is None and if_running == "skip":
        log.info("schedule %s: the tick %s is left out, run %s goes on", name, tick, before)
        return None
    if goes_on and if_running == "cancel_previous":
        RunHandle(str(before), producer=producer).cancel()
    waits = goes_on and if_running == "queue"
    hold = _LOOK if waits else None
    op = ops.create(store.keys, str(uuid.uuid4()), spec, key=key, hold=hold, trace=tracing.current())
    run_id = store.run(op).run_id
    if waits and store.run(ops.follow(store.keys, run_id, str(before))):
        log.info("schedule %s: run %s of the tick %s waits for run %s", name, run_id, tick, before)
    else:
        ring_submit(producer, run_id, store.run(ops.accept(store.keys, run_id)))
    store.run(ops.set_last(store.keys, name, run_id, producer.settings.record_ttl))
    return run_id


def _was_started(store: Store, run_id: str) -> bool:
    """Whether the run of a tick is on its way, or waits for another; what died before that is gone on with."""
    record = store.run(ops.view(store.keys, run_id))
    return record is None or record.accepted is not None or record.after is not None
