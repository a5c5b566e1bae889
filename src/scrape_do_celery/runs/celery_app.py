"""Find or make the Celery app of this process."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from celery import Celery, _state

from scrape_do_celery import routing
from scrape_do_celery.config.celery import celery_config, find_missing_servers
from scrape_do_celery.config.sentinel_urls import spell_address
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.runs.hooks import hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scrape_do_celery.config import Settings

_SETTINGS, _OWN_APP = "scrape_do_settings", "scrape_do_own_app"
EAGER = (
    "task_always_eager is set, but a run needs a worker and cannot end within the call that starts it; unset "
    "task_always_eager. In development, start a worker beside the site: `celery -A <your app> worker`; "
    "`scrape-do redis` and `scrape-do sandbox` serve it on this machine at no cost. In tests, use the fixtures or the "
    "mixin of scrape_do_celery.testing, which start a worker and unset task_always_eager"
)
_own_apps: dict[Settings, Celery] = {}


class OwnApp(Celery):  # type: ignore[misc]
    """An app of ours. On a cluster its broker may be missing: Celery would take the RabbitMQ of this machine."""

    def connection_for_write(self, url: Any = None, *args: Any, **options: Any) -> Any:
        """Return a connection to the broker.

        Raises:
            ConfigurationError: no setting names a broker.
        """
        _refuse_without_broker(self, url)
        return super().connection_for_write(url, *args, **options)

    def connection_for_read(self, url: Any = None, *args: Any, **options: Any) -> Any:
        """Return a connection to the broker.

        Raises:
            ConfigurationError: no setting names a broker.
        """
        _refuse_without_broker(self, url)
        return super().connection_for_read(url, *args, **options)


def _refuse_without_broker(app: Celery, url: Any) -> None:
    """Refuse to connect if neither the caller nor the settings name a broker. Celery's commands end with one line."""
    if url:
        return
    try:
        refuse_missing_servers(app)
    except ConfigurationError as error:
        end_celery_command(error)
        raise


def end_celery_command(error: ConfigurationError) -> None:
    """End a command of Celery, such as `worker`, with one line: it would print a traceback. Else do nothing."""
    context = click.get_current_context(silent=True)
    main = None if context is None else context.find_root().command.callback
    if getattr(main, "__module__", "") == "celery.bin.celery":
        raise SystemExit(f"scrape-do-celery: {error}") from None


def make_app(settings: Settings, name: str = "scrape_do") -> Celery:
    """Make a Celery app of ours, without making it the current app."""
    app = OwnApp(name, set_as_current=False, include=[routing.STEPS_MODULE])
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


def swap_settings(app: Celery, settings: Settings | None) -> Settings | None:
    """Give an app other settings, and return the settings that it had. With None, the app asks for settings again."""
    before: Settings | None = app.__dict__.pop(_SETTINGS, None)
    if settings is not None:
        app.__dict__[_SETTINGS] = settings
    return before


def forget_own_app(settings: Settings) -> None:
    """Forget the app of ours with these settings, so that the next call makes another app."""
    _own_apps.pop(settings, None)


def find_app_except(but: str) -> Celery | None:
    """Return the app of this process, also an app of ours, but never the app named `but`."""
    if (current := find_user_app()) is not None:
        return current if current.main != but else None
    # An app from `make_app` may not be the current app of any thread.
    return _find_single_app(lambda app: app.main != but)


def find_app(settings: Settings | None) -> Celery:
    """Return the app that this process works with: the user's own, unless the settings name another broker.

    A call with `settings` gets an app of ours, and so does a process without an app. In such a process our app becomes
    Celery's default, so that `AsyncResult(run_id)` works. If the user has an app, ours never takes its place.
    """
    theirs = find_user_app()
    if settings is None and theirs is not None and _has_same_broker(theirs):
        return theirs
    wanted = settings or hooks().settings()
    if wanted not in _own_apps:
        _own_apps[wanted] = make_app(wanted)
        if settings is None and theirs is None:
            _own_apps[wanted].set_default()
    return _own_apps[wanted]


def refuse_eager(app: Celery) -> None:
    """Refuse an app that runs each step inside the call that sends it: no worker would ever poll the job again.

    Raises:
        ConfigurationError: `task_always_eager` is set.
    """
    if app.conf.task_always_eager:
        raise ConfigurationError(EAGER)


def refuse_missing_servers(app: Celery) -> None:
    """Refuse an app of ours that cannot send messages. A process that only reads the store needs neither server.

    Raises:
        ConfigurationError: no setting names the broker or the results, and the store's server has neither.
    """
    if is_own_app(app) and (missing := find_missing_servers(settings_of(app))):
        raise ConfigurationError(missing)


def find_user_app() -> Celery | None:
    """Return the user's current app, or else the only app of the user in this process.

    In Flask, a thread may not see the user's app as current.
    """
    current: Celery | None = _state._tls.current_app or _state.default_app  # noqa: SLF001 (`celery.current_app` would make an app)
    if current is not None and not _is_fallback(current):
        return current
    return _find_single_app(lambda app: not is_own_app(app))


@contextmanager
def lent_app(app: Celery | None) -> Iterator[None]:
    """Make this app the current one of the thread, unless the thread has a current app.

    Celery's current app belongs to one thread, so another thread could not tell several apps apart.
    """
    if app is None or _state._tls.current_app is not None:  # noqa: SLF001 (as above)
        yield
        return
    _state._set_current_app(app)  # noqa: SLF001 (the public function cannot restore None)
    try:
        yield
    finally:
        _state._set_current_app(None)  # noqa: SLF001 (as above)


def _find_single_app(fits: Callable[[Celery], bool]) -> Celery | None:
    found = [app for app in _state._get_active_apps() if fits(app) and not _is_fallback(app)]  # noqa: SLF001
    return found[0] if len(found) == 1 else None


def _has_same_broker(app: Celery) -> bool:
    settings = settings_of(app)
    return "broker_url" not in settings.model_fields_set or spell_address(settings.broker_url) == spell_address(
        str(app.conf.broker_url)
    )


def _is_fallback(app: Celery) -> bool:
    """Return whether this is the app that Celery makes if no app is configured."""
    return bool(app.main == "default" and not app.conf.broker_url)
