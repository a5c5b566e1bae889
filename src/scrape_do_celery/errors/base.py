"""The base class of all errors, and the errors of requests, settings and the store."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError

from scrape_do_celery.outside_text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ConfigurationError",
    "EncryptionKeyError",
    "InvalidRequestError",
    "RefusedValueError",
    "ScrapeDoError",
    "StoreUnavailableError",
    "rehydrate",
]


class ScrapeDoError(Exception):
    """The base class of all errors. `args` hold JSON values only; `cls(*args)` rebuilds the error in any process."""

    registry: ClassVar[dict[str, type[ScrapeDoError]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ScrapeDoError.registry[cls.__name__] = cls

    def __str__(self) -> str:
        """Return the message on one line. It may hold text of the API, which must not forge lines of a log."""
        return one_line(self._describe())

    def _describe(self) -> str:
        """Return the message: the first argument, else the first line of the class's docstring."""
        return str(self.args[0]) if self.args else (type(self).__doc__ or "").partition("\n")[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object from which `from_json` rebuilds the error."""
        return {"type": type(self).__name__, "args": list(self.args)}

    @staticmethod
    def from_json(data: dict[str, Any]) -> ScrapeDoError:
        """Return the error that `to_json` described.

        Args:
            data: the JSON object that `to_json` returned.

        Returns:
            An error of the same class, or a plain `ScrapeDoError` if that class is not loaded.
        """
        return ScrapeDoError.registry.get(data["type"], ScrapeDoError)(*data["args"])

    def _get_argument(self, position: int, default: Any = None) -> Any:
        return self.args[position] if len(self.args) > position else default


class InvalidRequestError(ScrapeDoError, ValueError):
    """The request is invalid and was not sent. Only tasks and steps raise this error: `enqueue` raises `ValueError`.

    The message names the fields. For the same fault, `enqueue` and the clients raise pydantic's `ValidationError`, or a
    plain `ValueError`.
    """


class ConfigurationError(ScrapeDoError):
    """The process cannot work with its settings."""


class EncryptionKeyError(ConfigurationError):
    """The process lacks the key of an encrypted value in the store. The message names the key and the remedy."""


class RefusedValueError(EncryptionKeyError):
    """A value of the store is plain although a key is set, or was changed or moved. The value stays as it is.

    The message names the run, the field and the remedy.
    """

    @property
    def run_id(self) -> str | None:
        """The run that the value belongs to; None if it is not known."""
        return self._get_argument(1) or None

    @property
    def field(self) -> str:
        """The field of the record, such as `spec` or `waiter:<id>`; `job` of a job, `contents <position>` of a page."""
        return str(self._get_argument(2) or "")

    @property
    def part(self) -> int | None:
        """The number of the part of the run; None for a field of the run itself."""
        number = self._get_argument(3)
        return None if number is None else int(number)


class StoreUnavailableError(ScrapeDoError, RedisConnectionError):
    """The store did not answer, or refused. The message names the server, without its password."""

    #: Whether a command was sent whose answer is missing. The calls that write turn it into `may_be_written`.
    was_sent: bool = False
    #: Id of a run that a call was to write -> id of the run that its idempotency key has.
    found_ids: Mapping[str, str] = MappingProxyType({})

    @property
    def reason(self) -> str:
        """The code of the server's refusal, such as `OOM` or `READONLY`; empty if no answer came."""
        return str(self._get_argument(1) or "")

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The ids of the runs that the call was to write or change, in the order of its requests."""
        return tuple(self._get_argument(2) or ())

    @property
    def run_id(self) -> str | None:
        """The first of these ids; None for a call without a run."""
        return self.run_ids[0] if self.run_ids else None

    @property
    def may_be_written(self) -> bool:
        """Whether the store may have carried the write out. If so, repeat the whole call with this `run_id`."""
        return bool(self._get_argument(3))

    def about_runs(self, run_ids: Sequence[str], *, may_be_written: bool) -> StoreUnavailableError:
        """Return this error with the runs of the call that failed."""
        found = [self.found_ids.get(run_id, run_id) for run_id in run_ids]
        text = str(self)
        if may_be_written:
            # A reader of a log must not start the run again under another id.
            others = f" and {len(found) - 1} others" if len(found) > 1 else ""
            text += f"; the write may be carried out all the same, for run {found[0]}{others}"
        return StoreUnavailableError(text, self.reason, found, may_be_written)


def advise_on_outage(error: BaseException) -> str:
    """Return the end of a text about a store that cannot be reached: how to reach it. Empty if nobody knows that."""
    cause = error
    while isinstance(cause, StoreUnavailableError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, AuthenticationError):
        return "; correct the user and the password in SCRAPE_DO_REDIS_URL"
    is_reached = isinstance(error, StoreUnavailableError) and (error.was_sent or error.may_be_written or error.reason)
    if is_reached or not isinstance(cause, RedisConnectionError):
        return ""
    return "; start the server, or correct SCRAPE_DO_REDIS_URL (for trials, `scrape-do redis` starts a server)"


def describe_error(error: BaseException) -> str:
    """Return the text of an error for a log line: the reason of the store, else only the type.

    The text of any other error may hold values that belong into no log.
    """
    return str(error) if isinstance(error, StoreUnavailableError) else type(error).__name__


def rehydrate(exc: BaseException) -> BaseException:
    """Return this package's error for an exception whose class Celery generated.

    Celery generates a class if it reads the result before this package is imported.

    Args:
        exc: the exception that Celery raised.

    Returns:
        The error of the same name. Any other exception, or an error that cannot be rebuilt, is returned unchanged.
    """
    real = ScrapeDoError.registry.get(type(exc).__name__)
    if real is None or not type(exc).__module__.startswith("celery."):
        return exc
    try:
        rebuilt = real(*exc.args)
    except Exception:  # noqa: BLE001 (the caller needs an error, even if `args` are broken)
        return exc
    rebuilt.__cause__ = exc.__cause__
    return rebuilt.with_traceback(exc.__traceback__)


def drop_trailing_nones(*args: Any) -> tuple[Any, ...]:
    """Return `args` without trailing Nones, but always with the first argument."""
    last = max((position for position, arg in enumerate(args) if arg is not None), default=0)
    return args[: last + 1]
