"""The tools of a process to write runs and publish step messages: settings, the store, a Celery app."""

from __future__ import annotations

import logging
import os
import threading
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery import Celery, _state

from scrape_do_celery import routing
from scrape_do_celery.config.celery import celery_config
from scrape_do_celery.config.encryption import encryption_keys
from scrape_do_celery.config.urls import application, masked
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.runs.hooks import hooks
from scrape_do_celery.runs.timing import ProcessTiming
from scrape_do_celery.store import PartId, Retention, Store, ops
from scrape_do_celery.store.encryption import Encryptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from scrape_do_celery.config import Settings

log = logging.getLogger(__name__)

_ATTRIBUTE, _SETTINGS, _OWN_APP = "scrape_do_app_context", "scrape_do_settings", "scrape_do_own_app"
#: Retry a publication once and briefly: a web request may wait for it, and the dispatcher publishes the step anyway.
ONCE_MORE = {"retry": True, "retry_policy": {"max_retries": 1, "interval_start": 0.05, "interval_max": 0.1}}
EAGER = (
    "task_always_eager: a run is carried out by workers while a job goes on, and not within the call that starts it; "
    "unset it, and in tests let the fixtures of scrape_do_celery.testing start a worker"
)
#: Parts or runs per message, at most.
BATCH = ops.PARTS_PER_MESSAGE
_lock = threading.RLock()
_own: dict[Settings, Celery] = {}


@dataclass(frozen=True, slots=True)
class StepMessage:
    """A message to publish: a step, and the ids of its parts or runs."""

    step: str
    ids: tuple[str, ...]


class AppContext:
    """The app, settings and store of one process. The Celery app holds its context."""

    def __init__(self, app: Celery, settings: Settings, timing: ProcessTiming | None = None) -> None:
        self.app, self.settings, self.timing = app, settings, timing or ProcessTiming()
        keys = encryption_keys(settings)
        self.store = Store.open(
            settings.redis_url,
            settings.key_prefix,
            Encryptor(keys) if keys else None,
            clock_offset_key=self.timing.clock_offset_key,
        )
        self.pid = os.getpid()

    @property
    def application(self) -> str:
        """The name of this process's application, made of its broker and its result backend."""
        return application(self.app.conf.broker_url, self.app.conf.result_backend)

    @property
    def retention(self) -> Retention:
        """The times for which ended runs are kept."""
        return Retention(self.settings.result_ttl, self.settings.record_ttl, self.settings.idempotency_ttl)

    def publish(self, step: str, ids: Iterable[PartId | str], **options: Any) -> bool:
        """Publish a step message. Return whether the broker took it.

        If the broker did not, the dispatcher of any worker publishes the step later.
        """
        arguments = [[str(name) for name in ids]]
        shown = {"argsrepr": _shown(arguments[0]), "kwargsrepr": "{}"}
        options = {
            "queue": self.settings.queue,
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
                "no message for %s (broker %s: %s); a worker finds the work by itself", step, where, masked(str(error))
            )
            return False
        return True

    def request_stop(self, run_id: str, reason: str) -> list[PartId] | None:
        """Write the stop request of a run (`CANCEL`, `DEADLINE`). Publish step messages for its running parts.

        Return these parts, or None if the run has ended or does not exist.
        """
        part_ids = self.store.run(ops.request_stop(self.store.keys, run_id, reason))
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
            app = app or _current_app(settings)
            found: AppContext | None = app.__dict__.get(_ATTRIBUTE)
            if found is None or found.pid != os.getpid() or (settings is not None and found.settings != settings):
                found = cls(app, settings or settings_of(app), hooks().timing)
                app.__dict__[_ATTRIBUTE] = found
            return found


def _shown(ids: Sequence[str]) -> str:
    """Return the text that logs and monitors show for the ids of a step message."""
    first = ids[0] if ids else "nobody"
    return f"({first!r},)" if len(ids) == 1 else f"('{len(ids)} together: {first}, ...',)"


def batched(ids: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the ids of each message, up to `BATCH` of them, in their order."""
    rest = tuple(ids)
    return (rest[start : start + BATCH] for start in range(0, len(rest), BATCH))


def make_app(settings: Settings, name: str = "scrape_do") -> Celery:
    """Make a Celery app of ours, without making it the current app."""
    app = Celery(name, set_as_current=False, include=[routing.STEPS_MODULE])
    app.conf.update(celery_config(settings))
    app.__dict__[_SETTINGS] = settings
    app.__dict__[_OWN_APP] = True
    return app


def is_own_app(app: Celery) -> bool:
    """Return whether this package made the app, and not the user."""
    return _OWN_APP in app.__dict__


def settings_of(app: Celery) -> Settings:
    """Return the settings that an app was made with, else those of its framework or of the environment."""
    if _SETTINGS not in app.__dict__:
        app.__dict__[_SETTINGS] = hooks().settings()
    settings: Settings = app.__dict__[_SETTINGS]
    return settings


def replace_settings(app: Celery, settings: Settings | None) -> Settings | None:
    """Give an app other settings, and return the settings that it had. With None, the app asks for settings again.

    The context of the app is closed, so that the next context has the new settings.
    """
    with _lock:
        before: Settings | None = app.__dict__.pop(_SETTINGS, None)
        if settings is not None:
            app.__dict__[_SETTINGS] = settings
        app_context: AppContext | None = app.__dict__.pop(_ATTRIBUTE, None)
        if app_context is not None:
            app_context.store.close()
            _own.pop(app_context.settings, None)
    return before


def find_app_except(but: str) -> Celery | None:
    """Return the app of this process, also an app of ours, but never the app named `but`."""
    if (current := _user_app()) is not None:
        return current if current.main != but else None
    # An app from `make_app` may not be the current app of any thread.
    return _single_app(lambda app: app.main != but)


def _current_app(settings: Settings | None) -> Celery:
    """Return the app that this process works with: the user's own, unless the settings name another broker.

    A call with `settings` gets an app of ours, and so does a process without an app. In such a process our app becomes
    Celery's default, so that `AsyncResult(run_id)` works. If the user has an app, ours never takes its place.
    """
    theirs = _user_app()
    if settings is None and theirs is not None and _same_broker(theirs):
        return theirs
    wanted = settings or hooks().settings()
    if wanted not in _own:
        _own[wanted] = make_app(wanted)
        if settings is None and theirs is None:
            _own[wanted].set_default()
    return _own[wanted]


def refuse_eager(app: Celery) -> None:
    """Refuse an app that runs each step inside the call that sends it: no worker would ever poll the job again.

    Raises:
        ConfigurationError: `task_always_eager` is set.
    """
    if app.conf.task_always_eager:
        raise ConfigurationError(EAGER)


def ensure_default_app() -> None:
    """Give a process without a Celery app one of ours. If the process has an app, change nothing."""
    if _user_app() is None:
        AppContext.for_app()


def _user_app() -> Celery | None:
    """Return the user's current app, or else the only app of the user in this process.

    In Flask, a thread may not see the user's app as current.
    """
    current: Celery | None = _state._tls.current_app or _state.default_app  # noqa: SLF001 (`celery.current_app` would make an app)
    if current is not None and not _is_fallback(current):
        return current
    return _single_app(lambda app: not is_own_app(app))


def _single_app(fits: Callable[[Celery], bool]) -> Celery | None:
    found = [app for app in _state._get_active_apps() if fits(app) and not _is_fallback(app)]  # noqa: SLF001
    return found[0] if len(found) == 1 else None


def _same_broker(app: Celery) -> bool:
    settings = settings_of(app)
    return "broker_url" not in settings.model_fields_set or settings.broker_url == app.conf.broker_url


def _is_fallback(app: Celery) -> bool:
    """Return whether this is the app that Celery makes if no app is configured."""
    return bool(app.main == "default" and not app.conf.broker_url)
