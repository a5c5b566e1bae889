"""The `SCRAPE_DO_*` variables of the environment: their names, and warnings about them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from scrape_do_celery.config import urls
from scrape_do_celery.models.sendable import caller_level
from scrape_do_celery.name_hints import suggest_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX = "SCRAPE_DO_"
#: Variables of this package that are not settings: the data directory of the embedded server, the store of tests.
_NO_SETTINGS = frozenset({"SCRAPE_DO_DATA_DIR", "SCRAPE_DO_TEST_REDIS_URL"})

#: Words that users write for a setting, and that no spelling of its name is near to.
_OTHER_WORDS = {"token": "api_key", "api_token": "api_key"}

_warned: set[str] = set()


class SettingsWarning(UserWarning):
    """A setting has no effect, or may lose data."""


def env_name(field: str) -> str:
    """Return the environment variable of a field."""
    return PREFIX + field.upper()


def unknown_variables(environ: Mapping[str, str], fields: Iterable[str]) -> list[str]:
    """Return a message for each `SCRAPE_DO_*` variable outside `fields`. No message shows a value."""
    known = sorted({env_name(field) for field in fields} | _NO_SETTINGS)
    strangers = sorted(name for name in environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    rests = [other.removeprefix(PREFIX) for other in known]
    return [
        f"{name} is not a setting and has no effect{suggest_setting(name.upper().removeprefix(PREFIX), rests, PREFIX)}"
        for name in strangers
    ]


def warn_unknown(environ: Mapping[str, str], fields: Iterable[str]) -> None:
    """Emit a `SettingsWarning` for each unknown variable that this process has not named yet."""
    for message in unknown_variables(environ, fields):
        _warn_once(message)


def warn_exposed(url: str) -> None:
    """Emit a `SettingsWarning` for an API without encryption, once per host and process."""
    if message := urls.why_exposed(url):
        _warn_once(message)


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, SettingsWarning, stacklevel=caller_level())


def suggest_setting(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return the end of a message that suggests the setting nearest to `name`, in capitals if `name` has them."""
    spell = str.upper if name.isupper() else str.lower
    others = {word: spell(one) for word, one in _OTHER_WORDS.items()}
    return suggest_name(name, map(spell, known), prefix, others=others)
