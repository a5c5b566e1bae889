"""The base class of all errors, and the errors of requests, settings and the store."""

from __future__ import annotations

from typing import Any, ClassVar

from redis.exceptions import ConnectionError as RedisConnectionError


class ScrapeDoError(Exception):
    """The base class of all errors. `args` hold JSON values only; `cls(*args)` rebuilds the error in any process."""

    registry: ClassVar[dict[str, type[ScrapeDoError]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ScrapeDoError.registry[cls.__name__] = cls

    def __str__(self) -> str:
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

    def _argument(self, position: int, default: Any = None) -> Any:
        return self.args[position] if len(self.args) > position else default


class InvalidRequestError(ScrapeDoError, ValueError):
    """The request is invalid and was not sent. The message names its fields."""


class ConfigurationError(ScrapeDoError):
    """The process cannot work with its settings."""


class EncryptionKeyError(ConfigurationError):
    """The process lacks the key of an encrypted value in the store. The message names the key and the remedy."""


class StoreUnavailableError(ScrapeDoError, RedisConnectionError):
    """The store did not answer, or refused. The message names the server, without its password."""
