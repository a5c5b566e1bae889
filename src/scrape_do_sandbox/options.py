"""The options of the sandbox, from the command line or the control endpoints."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Writer = Literal["verbatim", "whatwg", "go", "go_encode", "idna2003", "pydantic"]
WRITER_NAMES: tuple[str, ...] = get_args(Writer)


class SandboxOptions(BaseModel):
    """The options of the sandbox, set at its start or later by `POST /_sandbox/config`. Times are in seconds."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    task_seconds: float = Field(default=0.3, ge=0)
    """The duration of a task from creation to end, if a slot is free."""
    spread: float = Field(default=0.2, ge=0, le=1)
    """The share by which durations differ from `task_seconds`. A URL and its position determine the difference."""
    cancel_seconds: float = Field(default=0.05, ge=0)
    """The delay between a `DELETE` and the status `canceled`."""
    token: str | None = None
    """The only accepted token. If None, every non-empty token is accepted."""
    strict: bool = False
    """Whether one failed task makes the whole job `error`."""
    credits: int = 1_000_000
    concurrency: int = Field(default=1000, ge=1)
    full_list: bool = False
    """Whether list entries are full job objects, as in the official sample. If False, they are trimmed, as seen live.
    """
    urls: Writer = "verbatim"
    """How answers and webhooks write URLs; see `url_writers`."""
    start_skew: float = 0.0
    """How far the times in answers are behind the `Date` header."""
    date_skew: float = 0.0
    """How far every second `Date` header is ahead, as from two servers behind one address."""
    merge_equal_targets: bool = False
    """Whether equal targets of a job share one task."""
    create_status: int = 201
    retention: float = 72 * 3600.0
    webhook_ladder: tuple[float, ...] = (0.1, 0.3, 1.0)
    webhook_later: float = 1.0
    """The delay before the one further attempt of a webhook that got 404 or 410."""
    webhook_timeout: float = 5.0
    log_file: str | None = None
    """The file to which each finished request is appended, as one JSON object a line."""

    def change_values(self, values: dict[str, object]) -> None:
        """Change options; if a value is not valid, change none of them.

        Raises:
            pydantic.ValidationError: If an option is unknown or a value is not valid.
        """
        fresh = type(self).model_validate(self.model_dump() | values)
        for name in values:
            setattr(self, name, getattr(fresh, name))
