"""The sandbox without its sockets: it finds the account of a call and answers each endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from scrape_do_sandbox.calls import make_fingerprint
from scrape_do_sandbox.execution import JobExecution
from scrape_do_sandbox.faults import FaultRules
from scrape_do_sandbox.fetch import PageFetcher
from scrape_do_sandbox.jobs import TERMINAL
from scrape_do_sandbox.listing import read_query
from scrape_do_sandbox.mutations import MISSING
from scrape_do_sandbox.request_log import LogEntry, RequestLog
from scrape_do_sandbox.response_faults import apply_body_faults, mutate_body, show_body
from scrape_do_sandbox.spec import ApiError, read_spec
from scrape_do_sandbox.state import SandboxState
from scrape_do_sandbox.timers import SandboxClock, Timers
from scrape_do_sandbox.views import JSON_TYPE, created_body, job_body, json_response, summary_body, task_body
from scrape_do_sandbox.webhooks import WebhookDeliveries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrape_do_sandbox.calls import ApiRequest
    from scrape_do_sandbox.faults import FaultRule
    from scrape_do_sandbox.options import SandboxOptions
    from scrape_do_sandbox.state import Account

    Answer = tuple[int, dict[str, Any]]


class SandboxApp:
    """The sandbox without its sockets: all parts of the server, and the answer of each endpoint."""

    def __init__(self, options: SandboxOptions, clock: SandboxClock | None = None) -> None:
        self.options = options
        self._initial = options.model_dump()
        self.clock = clock or SandboxClock()
        self.state = SandboxState(options, self.clock)
        self.faults = FaultRules()
        self.request_log = RequestLog(options.log_file)
        self.timers = Timers(self.clock)
        self.fetcher = PageFetcher()
        self.webhooks = WebhookDeliveries(options, self.clock, self.timers, self.faults, self.request_log)
        self.execution = JobExecution(self.clock, self.timers, self.fetcher, self.webhooks)
        self._endpoints: dict[str, Callable[[ApiRequest, LogEntry, Account, Sequence[FaultRule]], Answer]] = {
            "create_job": self._create_job,
            "list_jobs": self._list_jobs,
            "get_job": self._get_job,
            "get_task": self._get_task,
            "cancel_job": self._cancel_job,
            "me": self._show_account,
        }

    def answer_call(self, request: ApiRequest, entry: LogEntry, rules: Sequence[FaultRule] = ()) -> web.Response:
        """Carry out a request and return the answer."""
        try:
            account = self._find_account(entry.call.token)
            endpoint = self._endpoints.get(entry.call.kind, _no_such_endpoint)
            status, body = endpoint(request, entry, account, rules)
        except ApiError as error:
            return _make_response(error.status, mutate_body(error.body(), rules))
        return _make_response(status, apply_body_faults(show_body(body, self.options), rules))

    def do_late(self, request: ApiRequest, entry: LogEntry, rules: Sequence[FaultRule] = ()) -> None:
        """Carry out a request and drop the answer."""
        self.answer_call(request, entry, rules)

    def _find_account(self, token: str) -> Account:
        wanted = self.options.token
        if not token or (wanted is not None and token != make_fingerprint(wanted)):
            raise ApiError(401, "X-Token is missing or not valid")
        return self.state.open_account(token)

    def _create_job(self, request: ApiRequest, entry: LogEntry, account: Account, rules: Sequence[FaultRule]) -> Answer:
        spec = read_spec(request.body)
        wrong = next((rule for rule in rules if rule.action == "other_job"), None)
        other = next(reversed(account.jobs.values()), None) if wrong else None
        if wrong and other and wrong.value == "unbought":
            return self.options.create_status, created_body(other)
        job = account.create_job(spec, rules)
        entry.job_id, entry.options = job.id, spec.show_fields()
        if "WebhookURL" in spec.options:
            entry.details = {"webhook_url": spec.options["WebhookURL"], "task_ids": [task.id for task in job.tasks]}
        self.request_log.counts["jobs_created"] += 1
        self.request_log.counts["tasks_created"] += len(job.tasks)
        self.execution.plan_job(job, account)
        if job.canceled:
            self.execution.plan_cancel(job, account)
        return self.options.create_status, created_body(other or job)

    def _list_jobs(self, request: ApiRequest, _: LogEntry, account: Account, rules: Sequence[FaultRule]) -> Answer:
        query, now = read_query(request.query), self.clock.now()
        behind = self.options.start_skew + sum(rule.seconds for rule in rules if rule.action == "start_skew")
        query = query.shift_times(sum(rule.seconds for rule in rules if rule.action == "skew") - behind)
        lag = max((rule.seconds for rule in rules if rule.action == "list_lag"), default=0.0)
        query = query.with_faults(lag, null_start=any(rule.action == "list_null_start" for rule in rules))
        for rule in rules:
            if rule.action in {"list_repeats", "list_skips"}:
                query = query.slide_pages(rule.count if rule.action == "list_skips" else -rule.count)
        found = account.listing.find_page(query)
        view = job_body if self.options.full_list else summary_body
        return 200, {"Jobs": [view(job, now) for job in found.jobs], **found.count_totals()}

    def _get_job(self, _: ApiRequest, entry: LogEntry, account: Account, __: Sequence[FaultRule]) -> Answer:
        return 200, job_body(account.find_job(entry.call.job_id), self.clock.now())

    def _get_task(self, _: ApiRequest, entry: LogEntry, account: Account, __: Sequence[FaultRule]) -> Answer:
        task, now = account.find_task(entry.call.job_id, entry.call.task_id), self.clock.now()
        if task.status(now) in TERMINAL:
            self.request_log.counts["tasks_fetched"] += 1
            self.request_log.counts["tasks_fetched_once"] += not task.reads
            task.reads += 1
        return 200, task_body(task, now, account.ledger)

    def _cancel_job(self, _: ApiRequest, entry: LogEntry, account: Account, __: Sequence[FaultRule]) -> Answer:
        job = account.cancel_job(entry.call.job_id)
        self.execution.plan_cancel(job, account)
        return 200, job_body(job, self.clock.now())

    def _show_account(self, _: ApiRequest, __: LogEntry, account: Account, ___: Sequence[FaultRule]) -> Answer:
        return 200, account.show_figures()

    def reset(self) -> None:
        """Restore the initial state: no jobs, rules or log, and the initial options and clock."""
        self.state.clear_accounts()
        self.faults.clear()
        self.execution.drop_running()
        self.timers.clear()
        self.request_log.clear()
        self.clock.offset = 0.0
        self.options.change_values(self._initial)

    async def close(self) -> None:
        """Stop running fetches and webhooks; close the HTTP clients and the log file."""
        await self.execution.stop()
        await self.fetcher.close()
        await self.webhooks.close()
        self.request_log.close_file()


def _make_response(status: int, body: Any) -> web.Response:
    return web.Response(status=status, content_type=JSON_TYPE) if body is MISSING else json_response(status, body)


def _no_such_endpoint(_: ApiRequest, __: LogEntry, ___: Account, ____: Sequence[FaultRule]) -> Answer:
    raise ApiError(404, "No such endpoint")
