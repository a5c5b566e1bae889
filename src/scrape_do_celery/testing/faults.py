"""Named faults of the API, a job or a page, on top of the sandbox's actions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

from scrape_do_celery.name_hints import suggest_name
from scrape_do_sandbox.faults import Action

#: Options of every fault: a text in the targets, the number of times, and the number of requests that pass first.
COMMON = ("target", "times", "after")
_ONCE = {"times": 1}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: its description, the sandbox's rule that causes it, and the options that it takes."""

    description: str
    rule: dict[str, Any]
    options: tuple[str, ...] = ()
    required: dict[str, Any] = field(default_factory=dict)

    @property
    def is_once(self) -> bool:
        """Whether the fault happens once if no `times` is given. Otherwise it happens until the end of the test."""
        return self.rule.get("times") == 1


def _status(description: str, status: int, *options: str, **rule: Any) -> Fault:
    return Fault(description, {"status": status, **rule}, options, {"action": "status"})


def _does(action: str, description: str, *options: str, **rule: Any) -> Fault:
    return Fault(description, rule, options, {"action": action})


FAULTS: dict[str, Fault] = {
    # Any request.
    "rate_limited": _status(
        "429, with `Retry-After: 1` or the value of `retry_after`", 429, "retry_after", retry_after=1, **_ONCE
    ),
    "server_error": _status("503, or another `status`", 503, "status", **_ONCE),
    "maintenance_page": _does("html", "200, with a page of HTML instead of JSON", **_ONCE),
    "connection_lost": _does("reset_before", "the connection breaks before the API does anything", **_ONCE),
    "answer_cut": _does("cut", "half of the answer comes, then the connection breaks", **_ONCE),
    "slow_answer": _does("slow", "the answer comes `seconds` late (1.0)", "seconds", **_ONCE),
    "token_refused": _status("401: the token is not accepted", 401),
    "gateway_error": _status(
        "502, or another `status`, from a proxy before the API: the body is not the API's",
        502,
        "status",
        body_kind="gateway",
        **_ONCE,
    ),
    "redirected": _status(
        "307, or another `status`, to an address outside the API",
        307,
        "status",
        headers={"Location": "https://login.invalid/"},
    ),
    "unknown_status": _does("unknown_status", "jobs and tasks have the status `value` (`reticulating`)", "value"),
    "answer_mutated": _does(
        "mutate",
        "the `fields` of answers, such as `Tasks[].Status`, are changed by the mutation `value` (`upper`)",
        "value",
        "fields",
        value="upper",
        fields=["Status", "Tasks[].Status", "Jobs[].Status"],
    ),
    "urls_rewritten": _does(
        "write_urls",
        "URLs come back as `value` writes them: `whatwg`, `go`, `go_encode`, `idna2003` or `pydantic`",
        "value",
        value="whatwg",
    ),
    "long_header": _does("headers", "answers have a header line of `size` bytes (9000)", "size", size=9_000),
    "answer_encoded": _does(
        "encoding", "the body is encoded as `value` (`gzip`), such as `gzip_cut` or `br_label`", "value", value="gzip"
    ),
    "clock_behind": _does("start_skew", "times in answers are `seconds` (1.0) behind the `Date` header", "seconds"),
    # The purchase of a job.
    "request_refused": _status("400: the API does not accept the request", 400, kind="create_job"),
    "out_of_credits": _status("401 for purchases alone: the account has no credits left", 401, kind="create_job"),
    "submit_lost": _does("reset_before", "the purchase breaks off; there is no job", kind="create_job", **_ONCE),
    "submit_answer_lost": _does("reset_after", "the job is made, its answer is lost", kind="create_job", **_ONCE),
    "submit_accepted_late": _does(
        "accept_late", "no answer; the job is made `seconds` later (1.0)", "seconds", **_ONCE
    ),
    "submit_answered_with_other_job": _does(
        "other_job", "the job is made, and the answer names the newest job before it", **_ONCE
    ),
    # The outcome of a job, decided when the job is created.
    "job_fails": _does("task_fails", "every task fails, so the job ends in `error`", kind="create_job"),
    "job_cancels": _does("job_cancels", "Scrape.do cancels the job, `seconds` after it is made (1.0)", "seconds"),
    "job_takes": _does("task_takes", "its tasks take `seconds` (1.0)", "seconds"),
    "task_fails": _does("task_fails", "the tasks of `target` fail; others go on"),
    "page_status": _does(
        "task_answers", "the target answers with `status` (404) and `body`", "status", "body", status=404
    ),
    # Requests about a job.
    "job_not_found_at_first": _does(
        "not_found_at_first", "404, until the job is `seconds` old (1.0)", "seconds", kind="get_job"
    ),
    "job_lost": _status("404: Scrape.do does not know the job", 404, kind="get_job"),
    "list_lags": _does("list_lag", "the list of jobs is `seconds` behind (1.0)", "seconds"),
    "list_repeats": _does("list_repeats", "each page of the list begins with the last job of the one before"),
    "list_skips": _does("list_skips", "a job between two pages of the list is on neither"),
    "task_ids_shuffled": _does("shuffle_task_ids", "task ids are in another order than the targets"),
    "page_gone": _does("gone", "410: the page is no longer kept"),
    "page_unreadable": _does("bad_base64", "the page's base64 cannot be decoded"),
    # Webhooks.
    "webhook_lost": _does("webhook_lose", "the webhook is not sent"),
    "webhook_twice": _does("webhook_duplicate", "the webhook is sent twice"),
    "webhook_late": _does("webhook_late", "the webhook is sent `seconds` late (1.0)", "seconds"),
    "webhooks_shuffled": _does(
        "webhook_shuffle",
        "each webhook is late by a random part of `seconds` (1.0), so that their order changes",
        "seconds",
    ),
    "webhook_before_answer": _does(
        "webhook_early",
        "the answer of the purchase waits until the first webhook was sent, for `seconds` (1.0) at most",
        "seconds",
    ),
    "webhook_trimmed": _does(
        "webhook_trim", "the webhook has the first `size` characters of the page, or none", "size"
    ),
    "webhook_with_other_page": _does(
        "webhook_other_content", "the webhook has a page that is not that of the task, or `body`", "body"
    ),
    "webhook_of_other_task": _does(
        "webhook_other_task",
        "the webhook has another task that has ended; with the `value` `other_job`, of another job",
        "value",
    ),
    "webhook_without_headers": _does("webhook_no_headers", "the webhook comes without your headers"),
    "webhook_with_html": _does(
        "webhook_body", "the body of the webhook is HTML, or `body`, such as an empty text", "body"
    ),
    "webhook_chunked": _does("webhook_chunked", "the webhook is sent in chunks, without its length"),
    "webhook_encoded": _does(
        "encoding", "the body of the webhook is encoded as `value` (`gzip`)", "value", value="gzip", kind="webhook"
    ),
    "webhook_cut": _does("cut", "half of the webhook comes, then the connection breaks", kind="webhook", **_ONCE),
    "webhook_answer_lost": _does(
        "reset_after", "the webhook comes, and the connection breaks before your answer", kind="webhook", **_ONCE
    ),
}


def rule_of(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the sandbox's rule for a named fault; the sandbox's own actions are accepted as well.

    Raises:
        ValueError: If no such fault exists, or it does not take an option; the message lists the valid names.
    """
    fault = FAULTS.get(name)
    if fault is None:
        if name in get_args(Action):
            return {"action": name, **options}
        hint = suggest_name(name, FAULTS)
        raise ValueError(f"no fault is called {name!r}{hint}; there are {', '.join(sorted(FAULTS))}")
    if wrong := sorted(options.keys() - {*COMMON, *fault.options}):
        known = ", ".join((*fault.options, *COMMON))
        raise ValueError(f"the fault {name} takes no {', '.join(wrong)}; it takes {known}")
    return {**fault.rule, **options, **fault.required}
