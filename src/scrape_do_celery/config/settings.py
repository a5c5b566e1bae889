"""`Settings`, which are read from arguments and the environment, checked together and safe to print."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from scrape_do_celery.config import secrets, urls, webhook_settings
from scrape_do_celery.config.budget_limits import check_limits
from scrape_do_celery.config.variables import PREFIX, env_name, suggest_setting, warn_exposed, warn_unknown
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.local_variables import without_locals

if TYPE_CHECKING:
    from collections.abc import Iterator


class SettingsError(ConfigurationError, ValueError):
    """Settings are missing, unknown or out of bounds. The message shows no value."""

    def __init__(self, message: str = "", problems: dict[str, str] | None = None) -> None:
        super().__init__(message, problems or {})

    @property
    def problems(self) -> dict[str, str]:
        """The fault of each setting, by its environment variable. An unknown argument stands under its own name."""
        return dict(self.args[1])


def _check_queue(value: str) -> str:
    if not re.fullmatch(r"[^\s,]+", value):
        raise ValueError("should be one word without commas, as in `celery worker -Q`")
    return value


def _check_key_prefix(value: str) -> str:
    if not re.fullmatch(r"[^\s{}]+|[^\s{}]*\{[^\s{}]+\}[^\s{}]*", value):
        raise ValueError("should be one word, with at most one pair of braces: {scrape_do} is a hash tag of a cluster")
    return value


class Settings(BaseSettings):
    """The settings of one process, with times in seconds.

    Arguments override `SCRAPE_DO_*` variables, and these override defaults.

    Raises:
        SettingsError: a value is out of bounds, or an argument is unknown.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        # A compose file writes an unset variable as an empty variable.
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        str_strip_whitespace=True,
        hide_input_in_errors=True,
    )

    api_key: Annotated[SecretStr | None, AfterValidator(secrets.check_token)] = Field(
        default=None, description="The Scrape.do token. Workers need it; producers do not."
    )
    api_url: Annotated[str, AfterValidator(urls.api_url)] = Field(
        default="https://q.scrape.do", description="Root of the Async API, or of a sandbox."
    )
    proxy: Annotated[SecretStr | None, AfterValidator(secrets.check_proxy)] = Field(
        default=None,
        description="HTTP proxy of all requests to the API: `http://user:password@proxy:3128`. `HTTPS_PROXY` is not "
        "read.",
    )
    ca_file: str = Field(
        default="",
        description="PEM file of authorities that are trusted besides the public ones, for a network that inspects "
        "TLS.",
    )
    redis_url: Annotated[str, AfterValidator(urls.store_url)] = Field(
        default="redis://localhost:6379/0",
        description="The store, which holds runs and pages: `redis://`, `rediss://` (TLS), `unix:///path?db=0` or "
        "`sentinel://h1:26379/0;sentinel://h2:26379/0?master_name=mymaster`. Several nodes of a cluster: "
        "`redis://a:6379/0;redis://b:6379/0`.",
    )
    store_timeout: float = Field(
        default=10.0, ge=0.5, description="Time in which a call to the store must end, or move bytes of pages."
    )
    key_prefix: Annotated[str, AfterValidator(_check_key_prefix)] = Field(
        # Each key of the store, and each message, has the prefix.
        default="scrape_do",
        max_length=100,
        description="The prefix of every key in the store. On Redis Cluster: `{scrape_do}`, with braces.",
    )
    broker_url: str = Field(
        default="", description="Celery's broker. If unset: the next database of the store's server."
    )
    result_backend: str = Field(
        default="", description="Celery's result backend. If unset: two databases after the store's."
    )
    publish_timeout: float = Field(default=5.0, ge=0.1, description="Time in which the broker must take a message.")
    queue: Annotated[str, AfterValidator(_check_queue)] = Field(
        default="scrape_do", max_length=255, description="The Celery queue of all steps."
    )
    result_ttl: int = Field(default=86_400, ge=60, description="Retention time of the pages of a run that has ended.")
    record_ttl: int = Field(
        # If the broker redelivered the message of a `scrape` after its record had expired, a new run would start.
        # Brokers redeliver within an hour, so a minimum of two hours is safe.
        default=604_800,
        ge=7200,
        description="Retention time of the record of a run; never shorter than that of its pages.",
    )
    idempotency_ttl: int = Field(
        default=604_800,
        ge=60,
        description="Retention time of an idempotency key; never shorter than that of a record. Time without a worker "
        "does not count, up to 35 days.",
    )
    poll_initial_interval: float = Field(
        default=1.0, ge=0.01, description="Time between the acceptance of a job and its first poll."
    )
    poll_max_interval: float = Field(default=30.0, ge=0.01, description="The longest time between two polls of a job.")
    poll_multiplier: float = Field(default=2.0, ge=1, le=100, description="Factor of growth of polling intervals.")
    poll_jitter: bool = Field(default=True, description="Shorten polling intervals at random.")
    submit_deadline: float = Field(
        default=60.0, gt=0, description="Total time for the `POST` of a job. After this time, the purchase is in doubt."
    )
    submit_visibility_grace: float = Field(
        default=30.0, ge=0, description="Time within which the job of a purchase in doubt must appear at the API."
    )
    in_doubt_policy: Literal["resubmit_if_not_found", "never_resubmit"] = Field(
        default="resubmit_if_not_found",
        description="Action if the answer to a purchase was lost and no such job is found: send the request again, or "
        "end the run as in doubt.",
    )
    shared_account: bool = Field(
        default=False,
        description="Other programs buy jobs with this token too. Only a marker in a webhook's URL identifies a job.",
    )
    marker_url: Annotated[str | None, AfterValidator(urls.http_url)] = Field(
        default=None, description="On a shared account, the webhook URL for the marker of requests without a webhook."
    )
    account: str = Field(
        default="",
        max_length=255,
        description="A name for the Scrape.do account. With a name, runs outlive a change of the token.",
    )
    auth_grace: float = Field(
        default=900.0,
        ge=0,
        description="Time for which runs wait while the API refuses the token; time without a worker does not count. "
        "Within a minute after it, each run that still waits fails with `AsyncAPIAuthError`. Its job at Scrape.do goes "
        "on, and `scrape-do orphans` lists it.",
    )
    request_timeout: float = Field(default=60.0, gt=0, description="Total time for any other request to the API.")
    max_page_bytes: int = Field(
        default=67_108_864,
        ge=65_536,
        le=1_073_741_824,
        description="The largest answer to one request, in bytes after decompression. A task with a larger page fails.",
    )
    api_clock_tolerance: float = Field(
        default=3_600.0,
        ge=0,
        description="Largest error of the API's clocks that the search for a job in doubt allows for.",
    )
    lease_seconds: float = Field(
        default=30.0,
        ge=0.5,
        description="Time for which a step holds a part without renewal. Then another step may take the part.",
    )
    cancel_grace: float = Field(
        default=60.0, ge=0, description="Time to fetch the pages that a canceled run has already paid for."
    )
    poison_after: int = Field(
        default=5, ge=1, description="Claims in a row without progress, after which a run is taken out of work."
    )
    stop_on_failure: bool = Field(default=True, description="If one part of a run fails, do not send its unsent parts.")
    fetch_concurrency: int = Field(default=20, ge=1, le=200, description="Pages that one step fetches at once.")
    max_requests: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Requests to the API that all workers together may have under way.",
    )
    request_rate: float | None = Field(
        default=None, gt=0, description="Requests to the API that all workers together may start per second."
    )
    max_active_jobs: int | None = Field(
        default=None,
        ge=1,
        description="Jobs that may run at Scrape.do at a time. Other parts wait in the store, in order.",
    )
    targets_per_job: int = Field(
        # The API takes no more: `MAX_TARGETS_PER_JOB` of the models.
        default=1_000,
        ge=1,
        le=1_000,
        description="Targets of one job at most. A larger run has several jobs. Set it where runs are started.",
    )
    credentials: Annotated[
        SecretStr | None, BeforeValidator(secrets.credentials_text), AfterValidator(secrets.check_credentials)
    ] = Field(
        default=None,
        description="Headers, cookies, webhook headers and bodies by name, as JSON: "
        '`{"shop": {"headers": {"Authorization": "..."}}}`. '
        'Schedules and messages refer to them with `credentials="shop"`.',
    )
    export_storage: Annotated[
        SecretStr | None, BeforeValidator(secrets.credentials_text), AfterValidator(secrets.check_storage)
    ] = Field(
        default=None,
        description="Options of fsspec for exports, by the kind of the URL, as JSON: "
        '`{"s3": {"key": "...", "secret": "..."}}`. Workers need them for `export=`.',
    )
    encryption_key: Annotated[
        SecretStr | None, BeforeValidator(secrets.keys_text), AfterValidator(secrets.check_encryption_key)
    ] = Field(
        default=None,
        description="Keys that encrypt requests and pages in the store: each 32 random bytes in Base64, separated by "
        "commas. The first key encrypts, all keys decrypt.",
    )
    allow_plain: bool = Field(
        default=False,
        description="Accept values that are not encrypted although a key is set. Only while encryption is turned on.",
    )
    webhook_base_url: webhook_settings.BaseUrl = None
    webhook_keys: webhook_settings.Keys = None
    webhooks: webhook_settings.Default = False
    webhook_trust: webhook_settings.Trust = "hint"
    webhook_poll_max: webhook_settings.PollMax = 300.0
    webhook_max_bytes: webhook_settings.MaxBytes = 16_777_216
    budgets: Annotated[str, AfterValidator(check_limits)] = Field(
        default="",
        description="Limits of budgets that a starting worker sets, unless the store has them: `account day 5000, "
        "tag:shop:7 month 20000`, in credits. Days and months are UTC. `account` is that of SCRAPE_DO_ACCOUNT, else "
        "of the token.",
    )
    over_budget: Literal["wait", "fail"] = Field(
        default="wait",
        description="Action if the budget of a day or a month has too little left for a part: wait until it has more, "
        "or end the part with `BudgetExceededError`. A part that is larger than the whole limit always ends with it.",
    )
    max_dispatched_parts: int = Field(
        default=1_000, ge=1, description="Parts that may have a step message in the broker at the same time."
    )

    @field_validator("broker_url", "result_backend")
    @classmethod
    def _complete_celery_url(cls, value: str, info: ValidationInfo) -> str:
        store = info.data.get("redis_url")
        # Neither works on a cluster, so its URL leads to neither.
        if value or store is None or "{" in info.data.get("key_prefix", ""):
            return urls.celery_url(value, is_broker=info.field_name == "broker_url") if value else value
        return urls.sibling(store, 1 if info.field_name == "broker_url" else 2)

    @field_validator("record_ttl", "idempotency_ttl")
    @classmethod
    def _raise_to_bound(cls, value: int, info: ValidationInfo) -> int:
        """Raise a value to its bound. Refusing it would make users who keep pages longer set three variables."""
        name = "result_ttl" if info.field_name == "record_ttl" else "record_ttl"
        lower: int = info.data.get(name, value)
        return max(value, lower)

    @field_validator("poll_max_interval")
    @classmethod
    def _check_poll_interval(cls, value: float, info: ValidationInfo) -> float:
        first = info.data.get("poll_initial_interval", value)
        if value < first:
            raise ValueError(f"should be greater than or equal to {env_name('poll_initial_interval')} ({first})")
        return value

    @without_locals
    def __init__(self, **values: Any) -> None:
        warn_unknown(os.environ, Settings.model_fields)
        problems: dict[str, str] = {}
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = _find_problems(error)
        # Raise outside the `except` block: an error tracker would find the values in the exception's context.
        if problems:
            message = "; ".join(f"{name}: {text}" for name, text in problems.items())
            raise SettingsError(message, problems)
        warn_exposed(self.api_url)

    @property
    def submit_lease(self) -> float:
        """Seconds of a submit step's lease: longer than its `POST` may take and its job needs to appear at the API."""
        return self.submit_deadline + self.submit_visibility_grace + self.lease_seconds

    @property
    def account_id(self) -> str:
        """The account's id in the store: a keyed fingerprint of its name, else of the token. It reveals no token."""
        token = "" if self.api_key is None else self.api_key.get_secret_value()
        text = f"name {self.account}" if self.account else f"token {token}"
        return _fingerprint(text)

    @property
    def known_account(self) -> str:
        """The account's id in the store; empty if neither the name nor the token is set, as in many web processes."""
        return self.account_id if self.api_key or self.account else ""

    @property
    def token_id(self) -> str:
        """A keyed fingerprint of the token, which reveals no token; empty without one."""
        return "" if self.api_key is None else _fingerprint(f"token {self.api_key.get_secret_value()}")

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, urls.masked(value) if isinstance(value, str) else value


def _fingerprint(text: str) -> str:
    return hashlib.blake2b(text.encode(), key=b"scrape-do-celery", digest_size=8).hexdigest()


def _find_problems(error: ValidationError) -> dict[str, str]:
    found = {}
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        name = str(item["loc"][0]) if item["loc"] else "settings"
        if item["type"] == "extra_forbidden":
            found[name] = "unknown argument" + suggest_setting(name, Settings.model_fields)
        else:
            found[env_name(name)] = item["msg"].removeprefix("Value error, ")
    return found
