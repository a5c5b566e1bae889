"""`AppContext`, by which a process writes runs and publishes step messages: app, settings and store."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery import routing
from scrape_do_celery.config.secrets import encryption_keys
from scrape_do_celery.config.urls import masked
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.runs.application import name_application
from scrape_do_celery.runs.celery_app import (
    find_app,
    find_user_app,
    forget_own_app,
    refuse_missing_servers,
    settings_of,
    swap_settings,
)
from scrape_do_celery.runs.hooks import hooks
from scrape_do_celery.runs.publishing import DeadlineProducer
from scrape_do_celery.runs.timing import ProcessTiming
from scrape_do_celery.store import PartId, Retention, Store
from scrape_do_celery.store.commands.dispatch import PARTS_PER_MESSAGE
from scrape_do_celery.store.commands.runs import RequestStop
from scrape_do_celery.store.deadlines import limited_time
from scrape_do_celery.store.encryption import Encryptor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from celery import Celery

    from scrape_do_celery.config import Settings
    from scrape_do_celery.store.deadlines import CallDeadline

log = get_logger(__name__)

_ATTRIBUTE = "scrape_do_app_context"
#: Retry a publication once and briefly: a web request may wait for it, and the dispatcher publishes the step anyway.
ONCE_MORE = {"retry": True, "retry_policy": {"max_retries": 1, "interval_start": 0.05, "interval_max": 0.1}}
#: Parts or runs per message, at most.
BATCH = PARTS_PER_MESSAGE
_lock = threading.RLock()


@dataclass(frozen=True, slots=True)
class StepMessage:
    """A message to publish: a step, and the ids of its parts or runs."""

    step: str
    ids: tuple[str, ...]


class AppContext:
    """The app, settings and store of one process. The Celery app holds its context."""

    def __init__(self, app: Celery, settings: Settings, timing: ProcessTiming | None = None) -> None:
        self.app, self.settings, self.timing = app, settings, timing or ProcessTiming()
        keys = encryption_keys(settings.encryption_key)
        self.store = Store.open(
            settings.redis_url,
            settings.key_prefix,
            Encryptor(keys, allow_plain=settings.allow_plain) if keys else None,
            timeout=settings.store_timeout,
            clock_offset_key=self.timing.clock_offset_key,
        )
        self.producer = DeadlineProducer(app, settings.publish_timeout)
        self.pid = os.getpid()

    @property
    def application(self) -> str:
        """The name of this process's application, made of where its messages and its results are.

        Raises:
            ConfigurationError: on a cluster, no setting names the broker and the results.
        """
        refuse_missing_servers(self.app)
        return name_application(self.app)

    @contextmanager
    def limited_call(self, run_ids: Sequence[str] = (), *, by_progress: bool = False) -> Iterator[CallDeadline]:
        """Limit the store's time in a public call. With `run_ids`, the call writes, and its error names these runs."""
        try:
            with limited_time(self.settings.store_timeout, by_progress=by_progress) as deadline:
                if deadline.left <= 0:
                    why = f"the store at {self.store.where} does not answer the calls before"
                    raise StoreUnavailableError(why)  # noqa: TRY301 (the handler below adds the runs)
                yield deadline
        except StoreUnavailableError as error:
            if not run_ids or error.run_ids:
                raise
            # Of several runs, some may be written before the refusal of another.
            raise error.about_runs(run_ids, may_be_written=error.was_sent or len(run_ids) > 1) from error

    @property
    def retention(self) -> Retention:
        """The times for which ended runs are kept."""
        return Retention(self.settings.result_ttl, self.settings.record_ttl, self.settings.idempotency_ttl)

    def publish(self, step: str, ids: Iterable[PartId | str], **options: Any) -> bool:
        """Publish a step message. Return whether the broker took it.

        If the broker did not, the dispatcher of any worker publishes the step later.
        """
        arguments = [[str(name) for name in ids]]
        shown = {"argsrepr": _show_ids(arguments[0]), "kwargsrepr": "{}"}
        options = {
            "queue": self.settings.queue,
            "producer": self.producer,
            "ignore_result": True,
            "add_to_parent": False,
            **shown,
            **ONCE_MORE,
            **options,
        }
        try:
            # In a web process the step is not registered, and instrumentation of Celery may leave its span attached.
            # The copied context keeps that span away from the caller.
            copy_context().run(self.app.send_task, step, args=arguments, **options)
        except Exception as error:  # noqa: BLE001 (the run is stored: a caller who sees an error would pay again)
            where = masked(str(self.app.conf.broker_url))
            log.warning(
                "could not publish a message for %s (broker %s: %s); a worker's dispatcher publishes the message later",
                step,
                where,
                masked(str(error)),
                extra=log_fields("message_not_published"),
            )
            return False
        return True

    def request_stop(self, run_id: str, reason: str) -> list[PartId] | None:
        """Write the stop request of a run (`CANCEL`, `DEADLINE`). Publish step messages for its running parts.

        Return these parts, or None if the run has ended or does not exist.

        Raises:
            ConfigurationError: on a cluster, no setting names the broker.
        """
        refuse_missing_servers(self.app)
        part_ids = self.store.run(RequestStop(run_id, reason))
        if part_ids:
            self.publish(routing.CANCEL_RUN, part_ids)
        return part_ids

    def publish_all(self, messages: Sequence[StepMessage]) -> None:
        """Publish as few messages as possible. Each message names up to `BATCH` parts."""
        together: dict[str, dict[str, None]] = {}
        for message in messages:
            together.setdefault(message.step, {}).update(dict.fromkeys(message.ids))
        for step, ids in together.items():
            for batch in batched(ids):
                self.publish(step, batch)

    @classmethod
    def for_app(cls, app: Celery | None = None, settings: Settings | None = None) -> AppContext:
        """Return the context of an app. Without an app, take the app of this process."""
        with _lock:
            app = app or find_app(settings)
            found: AppContext | None = app.__dict__.get(_ATTRIBUTE)
            if found is None or found.pid != os.getpid() or (settings is not None and found.settings != settings):
                found = cls(app, settings or settings_of(app), hooks().timing)
                app.__dict__[_ATTRIBUTE] = found
            return found


def _show_ids(ids: Sequence[str]) -> str:
    """Return the text that logs and monitors show for the ids of a step message."""
    first = ids[0] if ids else "nobody"
    return f"({first!r},)" if len(ids) == 1 else f"('{len(ids)} together: {first}, ...',)"


def batched(ids: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the ids of each message, up to `BATCH` of them, in their order."""
    rest = tuple(ids)
    return (rest[start : start + BATCH] for start in range(0, len(rest), BATCH))


def replace_settings(app: Celery, settings: Settings | None) -> Settings | None:
    """Give an app other settings, and return the settings that it had. With None, the app asks for settings again.

    The context of the app is closed, so that the next context has the new settings.
    """
    with _lock:
        before = swap_settings(app, settings)
        app_context: AppContext | None = app.__dict__.pop(_ATTRIBUTE, None)
        if app_context is not None:
            app_context.store.close()
            app_context.producer.close()
            forget_own_app(app_context.settings)
    return before


def ensure_default_app() -> None:
    """Give a process without a Celery app one of ours. If the process has an app, change nothing."""
    if find_user_app() is None:
        AppContext.for_app()
