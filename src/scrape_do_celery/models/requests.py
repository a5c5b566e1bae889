"""The request of `POST /jobs`: targets or a plugin, and the options of their tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, Unpack

from pydantic import (
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_serializer,
    field_validator,
)

from .plugins.plugin import Plugin
from .prices import find_price, host_of
from .render import RenderOptions
from .request_fields import AllFields  # noqa: TC001 (the signature of the constructor needs it)
from .request_models import OpenRequestModel, RequestModel, merge_extra
from .sendable import (
    SAID,
    HeaderMap,
    SendableText,
    Whole,
    as_list,
    canonical_json,
    is_kept,
    is_said,
    join_faults,
    show_range,
    why_no_header_value,
    why_no_text,
)
from .targets import split_targets
from .urls import why_no_target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: Targets of one job at most, a limit of the API. A run with more targets has several jobs.
MAX_TARGETS_PER_JOB = 1000

#: Bounds of numbers. The vendor says that times have bounds; all figures are from the peer SDK.
_BOUNDS = {"timeout": (5_000, 120_000), "retry_timeout": (5_000, 55_000), "session_id": (0, 1_000_000)}
#: The names of the options of a run, which no request has. A test compares them with `RunOptions`.
RUN_OPTION_NAMES: Final = (
    *("raise_on_task_failure", "max_wait", "early", "dedupe", "max_credits", "tags", "label"),
    *("fairness_key", "fairness_weight", "priority", "export", "webhook"),
)
#: The arguments of `enqueue` beside the options.
ENQUEUE_ARGUMENTS: Final = ("idempotency_key", "run_id", "on_success", "on_failure", "settings", "dry_run")
_WITHOUT_BODY = (None, "GET", "HEAD")


class JobCreationRequest(OpenRequestModel):
    """A request to scrape targets, or to run a plugin. Unset options have the API's defaults.

    The number of targets is not limited: `split` divides them into jobs. Times are in milliseconds.
    """

    SHOWN: ClassVar[frozenset[str]] = frozenset({"geo_code"})

    #: absolute http or https URLs, sent exactly as they are
    targets: list[str] | None = Field(default=None, repr=False)
    #: a plugin in place of `targets`
    plugin: Plugin | None = None
    #: the HTTP method of the request to the target
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] | None = None
    #: the body of the request to the target
    body: SendableText | None = None
    #: headers of the request to the target
    headers: HeaderMap | None = None
    #: send only `headers`, and none of Scrape.do's own headers
    forward_headers: bool | None = None
    #: cookies for the target, such as `a=1; b=2`
    set_cookies: SendableText | None = None
    #: a country in two letters, such as `us`; the available countries depend on `super` and the plan
    geo_code: SendableText | None = None
    #: a region in place of a country; needs `super`
    regional_geo_code: Literal["europe", "asia", "africa", "oceania", "northamerica", "southamerica"] | None = None
    #: use residential and mobile proxies
    super: bool | None = None
    #: the id of a session, from 0 to 1,000,000; requests of one session share an IP address
    session_id: Whole | None = None
    #: the kind of device that the API imitates
    device: Literal["desktop", "mobile", "tablet"] | None = None
    #: milliseconds for the whole request to a target, from 5,000 to 120,000
    timeout: Whole | None = None
    #: milliseconds for one attempt of the API, from 5,000 to 55,000
    retry_timeout: Whole | None = None
    #: disable the API's own retries
    disable_retry: bool | None = None
    #: return the target's own HTTP status instead of 502
    transparent_response: bool | None = None
    #: return redirects instead of following them
    disable_redirection: bool | None = None
    #: the format of the page: unchanged, or Markdown
    output: Literal["raw", "markdown"] | None = None
    #: render the page in a browser; even empty options may enable rendering
    render: RenderOptions | None = None
    #: a URL to which the API sends each task when the task ends
    webhook_url: SendableText | None = None
    #: headers of the calls to `webhook_url`
    webhook_headers: HeaderMap | None = None

    # A signature takes the fields of a request, and a whole request would arrive as a dict of targets.
    __json__ = None  # type: ignore[assignment]

    def __init__(self, **fields: Unpack[AllFields]) -> None:
        super().__init__(**fields)

    @classmethod
    def _hint_at_field(cls, key: str, known: Mapping[str, str]) -> str:
        if key == "meta":
            return "; give it to its target: Target(url, meta=...)"
        if key == "actions" or key in RenderOptions.model_fields:
            return f"; put this field into render: render=Render({key}=...)"
        if key.lower() in Plugin.model_fields:
            return "; this is a field of a plugin: write plugin=..."
        if key in RUN_OPTION_NAMES:
            return "; this is an option of the run: give it to enqueue(...)"
        # `enqueue_many` has `run_ids` in place of `run_id`.
        if key in ENQUEUE_ARGUMENTS and f"{key}s" not in known:
            return "; this is an argument of enqueue(...): give it there"
        return super()._hint_at_field(key, known)

    @field_validator("plugin", mode="wrap")
    @classmethod
    def _read_plugin(cls, plugin: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if isinstance(plugin, Plugin) and not is_said(info):
            # The caller was warned when the object was made.
            return Plugin.model_validate(plugin, context=SAID)
        return handler(plugin)

    @field_validator("targets", mode="before")
    @classmethod
    def _good_targets(cls, targets: Any, info: ValidationInfo) -> Any:
        targets = as_list(targets, "targets", "URLs")
        if targets is None or is_kept(info):
            return targets
        targets, metas = split_targets(targets)
        if metas is not None:
            position = next(position for position, meta in enumerate(metas) if meta is not None)
            raise ValueError(
                f"targets[{position}] has meta, which no request carries; give the targets to enqueue(...)"
            )
        if not targets:
            raise ValueError("targets must hold at least one URL")
        faults = [
            f"targets[{position}] {fault}{url.hint_at_place() if isinstance(url, RequestModel) else ''}"
            for position, url in enumerate(targets)
            if (fault := why_no_text(url) or why_no_target(url))
        ]
        if faults:
            raise ValueError(join_faults(faults))
        return targets

    @field_validator("render", mode="before")
    @classmethod
    def _no_switch(cls, render: Any) -> Any:
        if isinstance(render, bool):
            raise ValueError(  # noqa: TRY004
                "render must be a dict of options, such as {'wait_until': 'networkidle2'}, or {} for the defaults"
            )
        return render

    @field_validator("webhook_url")
    @classmethod
    def _good_webhook(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is not None and not is_kept(info) and (fault := why_no_target(url)):
            raise ValueError(f"webhook_url {fault}")
        return url

    @field_validator("set_cookies")
    @classmethod
    def _good_cookies(cls, cookies: str | None, info: ValidationInfo) -> str | None:
        if cookies is not None and not is_kept(info) and (fault := why_no_header_value(cookies)):
            raise ValueError(f"set_cookies {fault}; cookies are written as 'a=1; b=2'")
        return cookies

    @field_validator("geo_code")
    @classmethod
    def _two_letters(cls, code: str | None) -> str | None:
        if code is not None and not (len(code) == 2 and code.isascii() and code.isalpha()):  # noqa: PLR2004
            raise ValueError("geo_code must be two letters, such as 'us'")
        return code and code.lower()

    def find_faults(self) -> Iterator[str]:
        """Yield the faults for which the request is refused."""
        if (self.targets is None) == (self.plugin is None):
            yield "exactly one of targets and plugin must be set"
        if self.regional_geo_code is not None and not self.super:
            yield "regional_geo_code needs super=True"

    def find_concerns(self) -> Iterator[str]:
        """Yield what the API may refuse or ignore, by rules that nothing proves on the server."""
        for name, (low, high) in _BOUNDS.items():
            if name == "retry_timeout" and self.render is not None:
                # The field is ignored then, whatever its value.
                continue
            unit = "a number" if name == "session_id" else "milliseconds"
            if concern := show_range(name, getattr(self, name), low, high, unit):
                yield concern
        if self.body is not None and self.method in _WITHOUT_BODY:
            yield (
                f"body is sent with {self.method or 'GET'}, and most servers ignore it; "
                "set method='POST' if the server must read the body"
            )
        if self.headers and self.set_cookies:
            yield "set_cookies: the API probably ignores it beside headers; put a Cookie into headers instead"
        if self.render is not None and self.retry_timeout is not None:
            yield "retry_timeout: the API probably ignores it beside render; leave it out"
        if self.geo_code is None:
            return
        if self.regional_geo_code is not None:
            yield "geo_code: the API probably follows only one of geo_code and regional_geo_code; keep one of them"
        elif self.plugin and any(one.get("geocode") for one in self.plugin.params):
            yield "geo_code: the API probably follows the geocode of a plugin's parameter set instead; keep one of them"

    @field_serializer("session_id", when_used="json-unless-none")
    def _session_as_text(self, value: int) -> str:
        return str(value)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield "size", self.size
        yield from super().__repr_args__()

    @property
    def size(self) -> int:
        """The number of tasks: the targets, or the parameter sets of the plugin."""
        return len(self.plugin.params) if self.plugin else len(self.targets or ())

    def with_targets(self, targets: Iterable[str]) -> Self:
        """Return a request with the same options for other targets.

        Args:
            targets: absolute http or https URLs.

        Raises:
            ValueError: a target is refused (pydantic's `ValidationError`).
        """
        fields = {**self.model_dump(exclude_none=True), "targets": targets}
        return type(self).model_validate(fields, context=SAID)

    def split(self, size: int = MAX_TARGETS_PER_JOB) -> list[Self]:
        """Return requests of at most `size` tasks each, in input order.

        Args:
            size: the number of tasks, at least 1.

        Raises:
            ValueError: `size` is below 1.
        """
        if size < 1:
            raise ValueError("size must be at least 1")
        return [self._slice_tasks(start, start + size) for start in range(0, self.size, size)]

    def _slice_tasks(self, start: int, stop: int) -> Self:
        # Skip the validation, because the targets were checked before: splitting 100,000 targets must be fast.
        if self.plugin:
            params = self.plugin.params[start:stop]
            return self.model_copy(update={"plugin": self.plugin.model_copy(update={"params": params})})
        return self.model_copy(update={"targets": (self.targets or [])[start:stop]})

    def to_record(self) -> dict[str, Any]:
        """Return JSON values of the request for a record, from which the context `KEPT` rebuilds the request.

        Other versions may send actions and parameter sets unread, so a record has them as they are sent. `extra` of the
        request and of `render` stays apart: a version without such a field refuses the record.
        """
        fields = self.to_fields()
        if self.render is not None:
            fields["Render"] = self.render.to_record()
        if self.plugin is not None:
            fields["Plugin"] = self.plugin.to_wire()
        return fields

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that the API takes, with the fields of each `extra`."""
        wire = merge_extra(self.to_record())
        return wire if self.render is None else {**wire, "Render": self.render.to_wire()}

    def canonical(self) -> str:
        """Return canonical JSON, which is equal for two requests exactly if the API would get the same."""
        return canonical_json(self.to_wire())

    def differing_fields(self, other: JobCreationRequest) -> tuple[str, ...]:
        """Return the names of the fields in which this request and `other` differ."""
        mine, theirs = self.to_record(), other.to_record()
        return tuple(
            name
            for name, field in type(self).model_fields.items()
            if canonical_json(mine.get(str(field.alias))) != canonical_json(theirs.get(str(field.alias)))
        )

    @property
    def returns_json(self) -> bool:
        """Whether the tasks answer with the JSON object of a render in place of the page."""
        return self.render is not None and bool(self.render.return_json)

    def estimated_credits(self) -> int:
        """Return the lowest cost in credits if all tasks succeed, by the prices of options, domains and plugins.

        `scrape_do_celery.estimate` also knows what the account paid before.
        """
        if self.plugin is not None:
            return self.plugin.estimated_credits()
        options = {"has_super": bool(self.super), "has_render": self.render is not None}
        return sum(find_price(host_of(url), **options).least for url in self.targets or ())
