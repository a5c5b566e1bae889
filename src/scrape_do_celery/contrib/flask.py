"""The Flask extension: `ScrapeDo(app)`, or `ScrapeDo()` and `init_app(app)` later."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from celery import signals

from scrape_do_celery import routing
from scrape_do_celery.contrib import settings_dict
from scrape_do_celery.runs.hooks import FrameworkHooks, install_hooks

if TYPE_CHECKING:
    from flask import Flask

    from scrape_do_celery.config import Settings


class ScrapeDo:
    """Scrape.do in a Flask application: settings of `app.config["SCRAPE_DO"]`; `flask scrape-do ...` has them too.

    The application's Celery app is found by itself, and its workers have the steps, in whatever order both are made.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Makes this process one of the application's; of several, the last one's.

        Raises:
            SettingsError: a key or a value of the dict is wrong.
        """
        settings = settings_dict.settings_of(app.config.get(settings_dict.SETTING, {}))
        app.extensions["scrape_do"] = settings
        install_hooks(FrameworkHooks(settings=lambda: settings))
        signals.import_modules.connect(_bring_the_steps, weak=False, dispatch_uid="scrape_do.flask")


def settings_of(app: Flask) -> Settings:
    """The settings that an application was set up with."""
    settings: Settings = app.extensions["scrape_do"]
    return settings


def _bring_the_steps(**_: Any) -> None:
    """A worker imports what it is to carry out; a web process need not."""
    import_module(routing.STEPS_MODULE)
