"""The options of the sandbox, from the command line or the control endpoints."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Writer = Literal["verbatim", "whatwg", "go", "go_encode", "idna2003", "pydantic"]
WRITER_NAMES: tuple[str, ...] = get_args(Writer)


class SandboxOptions(BaseModel):
    """The options of the sandbox, set at its start or later by `POST /_sandbox/config`. Times are in seconds.

    The descriptions are the help texts of both command lines.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    task_seconds: float = Field(default=0.3, ge=0, description="End each task after this number of seconds.")
    spread: float = Field(
        default=0.2, ge=0, le=1, description="Vary the duration of tasks by up to this share, from 0 to 1."
    )
    """The URL of a task and its position determine the difference."""
    cancel_seconds: float = Field(default=0.05, ge=0, description="End each cancel after this number of seconds.")
    token: str | None = Field(default=None, description="Accept only this token. If omitted, accept any token.")
    strict: bool = Field(default=False, description="Fail a job if any of its tasks fails.")
    credits: int = Field(default=1_000_000, description="Give a new account this number of credits.")
    concurrency: int = Field(default=1000, ge=1, description="Limit the running tasks of an account.")
    full_list: bool = Field(default=False, description="List jobs with all their fields.")
    """Full entries are in the official sample. The real API trims them."""
    urls: Writer = Field(
        default="verbatim",
        description="Write URLs in answers as verbatim, whatwg, go, go_encode, idna2003 or pydantic.",
    )
    """The forms are in `url_writers`. Webhooks have the same form."""
    start_skew: float = Field(
        default=0.0, description="Set times in answers this number of seconds behind the Date header."
    )
    date_skew: float = Field(default=0.0, description="Set every second Date header this number of seconds ahead.")
    """Two servers behind one address may answer so."""
    merge_equal_targets: bool = Field(default=False, description="Give equal targets of a job one common task.")
    create_status: int = Field(default=201, description="Answer an accepted job with this HTTP status.")
    retention: float = Field(default=72 * 3600.0, description="Keep results for this number of seconds.")
    webhook_ladder: tuple[float, ...] = Field(default=(0.1, 0.3, 1.0, 3.0, 10.0), max_length=5)
    """Pauses before a webhook is sent again, until the receiver answers 200 or 201. Those of Scrape.do are minutes."""
    webhook_later: float = Field(
        default=1.0, description="Repeat a webhook that got 404 or 410 once, after this number of seconds."
    )
    webhook_timeout: float = Field(
        default=5.0, description="Wait this number of seconds for the receiver of a webhook."
    )
    webhook_concurrency: int = Field(default=50, ge=1, description="Limit the calls of webhooks at a time.")
    log_file: str | None = Field(default=None, description="Append each request to this file, as JSON lines.")

    def change_values(self, values: dict[str, object]) -> None:
        """Change options; if a value is not valid, change none of them.

        Raises:
            pydantic.ValidationError: If an option is unknown or a value is not valid.
        """
        fresh = type(self).model_validate(self.model_dump() | values)
        for name in values:
            setattr(self, name, getattr(fresh, name))
