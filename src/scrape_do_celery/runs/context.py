"""What a process needs to write runs down and to publish step messages: settings, the store, a Celery app."""

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
from scrape_do_celery.store import PartId, Retention, Store, ops
from scrape_do_celery.store.encryption import Encryptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from scrape_do_celery.config import Settings

log = logging.getLogger(__name__)

_ATTRIBUTE, _SETTINGS, _OWN_APP = "scrape_do_app_context", "scrape_do_settings", "scrape_do_own_app"
#: A step message is not worth waiting for: a web request may hang on it, and the dispatcher publishes anyway.
ONCE_MORE = {"retry": True, "retry_policy": {"max_retries": 1, "interval_start": 0.05, "interval_max": 0.1}}
EAGER = (
    "task_always_eager: a run is carried out by workers while a job goes on, and not within the call that starts it; "
    "unset it, and in tests let the fixtures of scrape_do_celery.testing start a worker"
)
#: Parts a message.
BATCH = ops.PARTS_PER_MESSAGE
_lock = threading.RLock()
_own: dict[Settings, Celery] = {}


@dataclass(frozen=True, slots=True)
class StepMessage:
    """A message to publish: one step, with the parts or runs that it is to look at."""

    step: str
    ids: tuple[str, ...]


class AppContext:
    """One process's way into the pipeline, hung on its Celery app."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self.app, self.settings = app, settings
        keys = encryption_keys(settings)
        self.store = Store.open(settings.redis_url, settings.key_prefix, Encryptor(keys) if keys else None)
        self.pid = os.getpid()

    @property
    def application(self) -> str:
        """The name of the application that this process belongs to, by its broker and results."""
        return application(self.app.conf.broker_url, self.app.conf.result_backend)

    @property
    def retention(self) -> Retention:
        """How long ended runs are kept."""
        return Retention(self.settings.result_ttl, self.settings.record_ttl, self.settings.idempotency_ttl)

    def publish(self, step: str, ids: Iterable[PartId | str], **options: Any) -> bool:
        """Whether the message went out. Where it did not, the dispatcher of any worker publishes later."""
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
            # What instruments Celery may leave its span behind where the step is not registered, as in a web process.
            copy_context().run(self.app.send_task, step, args=arguments, **options)
        except Exception as error:  # noqa: BLE001 (the run is written down: a caller who sees an error would pay again)
            where = masked(str(self.app.conf.broker_url))
            log.warning(
                "no message for %s (broker %s: %s); a worker finds the work by itself", step, where, masked(str(error))
            )
            return False
        return True

    def request_stop(self, run_id: str, reason: str) -> list[PartId] | None:
        """Tell a run to end (`CANCEL`, `DEADLINE`), and publish step messages for the parts that are under way.

        None where it has ended already, or there is no such run.
        """
        part_ids = self.store.run(ops.request_stop(self.store.keys, run_id, reason))
        if part_ids:
            self.publish(routing.CANCEL_RUN, part_ids)
        return part_ids

    def publish_all(self, messages: Sequence[StepMessage]) -> None:
        """Publish as few messages as possible: each names up to `BATCH` parts."""
        together: dict[str, dict[str, None]] = {}
        for message in messages:
            together.setdefault(message.step, {}).update(dict.fromkeys(message.ids))
        for step, ids in together.items():
            for batch in batched(ids):
                self.publish(step, batch)

    @classmethod
    def for_app(cls, app: Celery | None = None, settings: Settings | None = None) -> AppContext:
        """The context of an app; without one, of this process's app."""
        with _lock:
            app = app or _current_app(settings)
            found: AppContext | None = app.__dict__.get(_ATTRIBUTE)
            if found is None or found.pid != os.getpid() or (settings is not None and found.settings != settings):
                found = cls(app, settings or settings_of(app))
                app.__dict__[_ATTRIBUTE] = found
            return found


def _shown(ids: Sequence[str]) -> str:
    """How logs and monitors show whom a step message is for."""
    first = ids[0] if ids else "nobody"
    return f"({first!r},)" if len(ids) == 1 else f"('{len(ids)} together: {first}, ...',)"


def batched(ids: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """The parts of each message, in their order."""
    rest = tuple(ids)
    return (rest[start : start + BATCH] for start in range(0, len(rest), BATCH))


def make_app(settings: Settings, name: str = "scrape_do") -> Celery:
    """A Celery app of ours. It never becomes the current app by being made."""
    app = Celery(name, set_as_current=False, include=[routing.STEPS_MODULE])
    app.conf.update(celery_config(settings))
    app.__dict__[_SETTINGS] = settings
    app.__dict__[_OWN_APP] = True
    return app


def is_own_app(app: Celery) -> bool:
    """Whether the app was made here, and not by the user."""
    return _OWN_APP in app.__dict__


def settings_of(app: Celery) -> Settings:
    """The settings that an app was made with, else those of its framework, or of the environment."""
    if _SETTINGS not in app.__dict__:
        app.__dict__[_SETTINGS] = hooks().settings()
    settings: Settings = app.__dict__[_SETTINGS]
    return settings


def replace_settings(app: Celery, settings: Settings | None) -> Settings | None:
    """Gives an app other settings; None lets it ask for them anew. The ones that it had, if any, come back.

    Its context is closed: the next one has the new settings.
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
    """The app that this process has by now, also one that was made here; never one of this name."""
    if (current := _user_app()) is not None:
        return current if current.main != but else None
    # One that was made by `make_app` need not be the current one anywhere.
    return _single_app(lambda app: app.main != but)


def _current_app(settings: Settings | None) -> Celery:
    """The app that this process works with: the user's own, unless the settings name another broker than it has.

    A process that has none gets one of ours, which is made Celery's default as well: `AsyncResult(run_id)` works there.
    Where there is one, ours never takes its place.
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
    """Raises where the app would carry steps out within the call that sends them: nobody would ever look again.

    Raises:
        ConfigurationError: `task_always_eager` is set.
    """
    if app.conf.task_always_eager:
        raise ConfigurationError(EAGER)


def ensure_default_app() -> None:
    """Gives a process that has no Celery app one of ours; where it has one, nothing changes."""
    if _user_app() is None:
        AppContext.for_app()


def _user_app() -> Celery | None:
    """The current app; in Flask a thread may not see it as current, so else the only one that there is."""
    current: Celery | None = _state._tls.current_app or _state.default_app  # noqa: SLF001 (asking would make one)
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
    """Whether this is the app that Celery makes up where nobody configured one."""
    return bool(app.main == "default" and not app.conf.broker_url)
