"""The optional packages of exports."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from scrape_do_celery.errors import ConfigurationError


def load_extra(module: str, extra: str) -> Any:
    """Return a module of an optional package.

    Raises:
        ConfigurationError: the package is not installed. The message has the command that installs the package.
    """
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        message = f"this export needs {package}, which is not installed; run: pip install 'scrape-do-celery[{extra}]'"
        raise ConfigurationError(message) from None
