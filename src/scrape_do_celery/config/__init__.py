"""The settings of a process, from arguments and the environment."""

from __future__ import annotations

from scrape_do_celery.config.settings import Settings, SettingsError
from scrape_do_celery.config.variables import SettingsWarning

__all__ = ["Settings", "SettingsError", "SettingsWarning"]
