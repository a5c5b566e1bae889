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
    """Scrape.do in a Flask application, with the settings in `app.config["SCRAPE_DO"]`, also for `flask scrape-do ...`.

    The extension finds the application's Celery app by itself, and its workers have the steps. The extension and the
    Celery app may be created in any order.
    """

    def __init__(self, app: Flask | None = None, *, webhooks: str | None = None) -> None:
        if app is not None:
            self.init_app(app, webhooks=webhooks)

    def init_app(self, app: Flask, *, webhooks: str | None = None) -> None:
        """Give this process the settings of the application. Of several applications, the last one counts.

        Args:
            app: the Flask application.
            webhooks: the path below which the application receives webhooks, such as `/hooks`. None: it receives none,
                unless you register the blueprint of `scrape_do_celery.contrib.flask_webhooks` yourself.

        Raises:
            SettingsError: a key or a value of the dict is wrong.
        """
        settings = settings_dict.settings_of(app.config.get(settings_dict.SETTING, {}))
        app.extensions["scrape_do"] = settings
        # The application may get `TESTING` after this call, as in Flask's documentation.
        install_hooks(
            FrameworkHooks(settings=lambda: settings, test_runner=lambda: "Flask's TESTING" if app.testing else "")
        )
        if webhooks is not None:
            from scrape_do_celery.contrib.flask_webhooks import blueprint

            app.register_blueprint(blueprint, url_prefix=webhooks)
        signals.import_modules.connect(_bring_the_steps, weak=False, dispatch_uid="scrape_do.flask")


def settings_of(app: Flask) -> Settings:
    """Return the settings that `init_app` read for an application."""
    settings: Settings = app.extensions["scrape_do"]
    return settings


def _bring_the_steps(**_: Any) -> None:
    """Import the steps in a worker, because it runs them. A web process need not import them."""
    import_module(routing.STEPS_MODULE)
