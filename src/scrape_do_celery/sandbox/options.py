from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Writer = Literal["verbatim", "whatwg", "go", "go_encode", "idna2003", "pydantic"]
WRITER_NAMES: tuple[str, ...] = get_args(Writer)


class Options(BaseModel):
    """What the sandbox can be told, at its start or later through ``POST /_sandbox/config``. Times in seconds."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    task_seconds: float = Field(default=0.3, ge=0)
    """How long a task takes from creation to its end, when a slot is free."""
    spread: float = Field(default=0.2, ge=0, le=1)
    """Share by which tasks differ from ``task_seconds``; fixed by the URL and its place."""
    cancel_seconds: float = Field(default=0.05, ge=0)
    """How long after ``DELETE`` the status becomes ``canceled``."""
    token: str | None = None
    """The only token accepted; any non-empty one when None."""
    strict: bool = False
    """One failed task makes the whole job ``error``."""
    credits: int = 1_000_000
    concurrency: int = Field(default=1000, ge=1)
    full_list: bool = False
    """List entries are full job objects, as in the official sample; trimmed ones, as seen live, when False."""
    urls: Writer = "verbatim"
    """How answers and webhooks write URLs: see ``url_writers``."""
    start_skew: float = 0.0
    """How far the times in answers are behind the ``Date`` header."""
    date_skew: float = 0.0
    """By how much every second ``Date`` header is ahead: two servers behind one address."""
    merge_equal_targets: bool = False
    """Equal targets of a job have one task."""
    create_status: int = 201
    retention: float = 72 * 3600.0
    webhook_ladder: tuple[float, ...] = (0.1, 0.3, 1.0)
    webhook_later: float = 1.0
    """When a webhook that met 404 or 410 is tried once more."""
    webhook_timeout: float = 5.0
    log_file: str | None = None
    """Each finished request is appended to this file, one JSON object a line."""

    def change(self, values: dict[str, object]) -> None:
        """Takes all of ``values``, or none of them where one is not acceptable."""
        fresh = type(self).model_validate(self.model_dump() | values)
        for name in values:
            setattr(self, name, getattr(fresh, name))
