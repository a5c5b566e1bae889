"""The definitions of all metrics: name, kind, text, labels and source. The documentation is generated from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

#: Seconds from now within which expiring contents are counted, with the label value of each period.
EXPIRY_WINDOWS: Final = {3_600: "1h", 21_600: "6h", 86_400: "24h", 604_800: "all"}


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """The definition of a metric. `source`: the origin of its value, see docs/metrics.md."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    text: str
    labels: tuple[str, ...] = ()
    source: Literal["store", "scripts", "count", "workers", "api", "settings"] = "store"


def _define_gauge(name: str, text: str, *labels: str, source: str = "store") -> MetricDefinition:
    return MetricDefinition(f"scrape_do_{name}", "gauge", text, labels, source)  # type: ignore[arg-type]


def _define_counter(name: str, text: str, *labels: str, source: str = "scripts") -> MetricDefinition:
    return MetricDefinition(f"scrape_do_{name}", "counter", text, labels, source)  # type: ignore[arg-type]


METRICS: Final[tuple[MetricDefinition, ...]] = (
    _define_gauge("store_up", "1 if the store answered, else 0. With 0, no other metric is served."),
    _define_gauge("store_memory_bytes", "Memory that the store's server uses."),
    _define_gauge(
        "store_memory_limit_bytes",
        "Memory limit of the store's server; 0 if unlimited. Above 80 %, nothing is bought; above 95 %, nothing is "
        "fetched.",
    ),
    _define_gauge("runs", "Live runs.", "state", source="count"),
    _define_gauge(
        "oldest_run_seconds", "Time since the acceptance of the oldest run in a state.", "state", source="count"
    ),
    _define_gauge(
        "labeled_runs",
        "Live runs by label: the 50 labels with the most runs, and the rest as `(other)`.",
        "label",
        source="count",
    ),
    _define_gauge(
        "live_runs_age_seconds", "Age of the last count, which `runs`, `oldest_run_seconds` and `labeled_runs` show."
    ),
    _define_counter("runs_accepted_total", "Accepted runs."),
    _define_counter("runs_ended_total", "Ended runs.", "outcome"),
    _define_counter("schedule_ticks_total", "Ticks of schedules, by the decision about them.", "decision"),
    _define_counter("exports_total", "Ended exports of runs, by their last state.", "state"),
    _define_counter("tasks_total", "Tasks of ended parts, one per target.", "result"),
    _define_counter("credits_spent_total", "Credits that the API reported for the pages of ended parts."),
    _define_counter(
        "contents_written_bytes_total", "Bytes of pages written to the store, after compression.", source="workers"
    ),
    _define_gauge("contents_bytes", "Bytes of pages that the store keeps.", source="workers"),
    _define_gauge("due", "Parts and runs in the due set. Each waits for a step of its own."),
    _define_gauge(
        "dispatch_lag_seconds",
        "Delay of the most overdue entry, of the due set or of the jobs that are polled by list.",
        "of",
    ),
    MetricDefinition(
        "scrape_do_step_latency_seconds",
        "histogram",
        "Delay between the due time of a part and the start of its step.",
        ("step",),
        "workers",
    ),
    _define_gauge("dispatched_parts", "Parts whose step message is on its way to a worker."),
    _define_gauge("dispatched_parts_limit", "Limit of `dispatched_parts`.", source="settings"),
    _define_counter("api_requests_total", "Requests to the API.", "call", "outcome", source="workers"),
    _define_counter("api_request_seconds_total", "Time that requests to the API took.", "call", source="workers"),
    _define_counter(
        "unknown_statuses_total", "Answers with a status word that this version does not know.", "of", source="workers"
    ),
    _define_counter(
        "unreadable_answers_total",
        "Unusable answers of the API itself, each counted as a failed attempt.",
        "of",
        source="workers",
    ),
    _define_counter(
        "defaulted_fields_total", "Fields that could not be read and took their default.", "of", source="workers"
    ),
    _define_counter(
        "dropped_entries_total", "List entries that could not be read and were dropped.", "of", source="workers"
    ),
    _define_counter("surplus_task_ids_total", "Task ids beyond the targets of their part.", source="workers"),
    _define_gauge("api_requests_wanted", "Concurrent requests that all processes ask for."),
    _define_gauge("api_requests_granted", "Concurrent requests that the store grants to all processes."),
    _define_gauge("api_requests_limit", "Limit of the concurrent requests of all processes.", source="settings"),
    _define_gauge("api_pause_seconds", "Time until requests continue after a 429; 0 without a pause."),
    _define_gauge(
        "contents_unfetched", "Paid parts with unfetched pages that the API forgets within this time.", "within"
    ),
    _define_gauge(
        "paid_expiry_seconds",
        "Time until the API forgets the first unfetched part; absent if all paid parts are fetched.",
    ),
    _define_gauge("jobs_polled_by_list", "Running jobs that are polled by list.", "account"),
    _define_gauge("jobs_active", "Jobs that count against SCRAPE_DO_MAX_ACTIVE_JOBS.", "account"),
    _define_gauge("jobs_waiting_for_slot", "Parts that wait for a job slot.", "account"),
    _define_gauge("slot_wait_seconds", "Longest time that a part has waited for a job slot.", "account"),
    _define_gauge(
        "breaker_open_seconds", "Time since the API refused the token; 0 if the API accepts the token.", "account"
    ),
    _define_counter(
        "webhook_deliveries_total",
        "Deliveries of webhooks by their result: `stored` is a page, `hinted` and `noted` are hints, and `known`, "
        "`other`, `ended`, `gone`, `newer` and `full` have no effect. Refused calls (403) do not count.",
        "result",
    ),
    _define_counter(
        "webhook_parts_total",
        "Ended parts whose job had a webhook: `called`, or `silent` if no delivery came.",
        "result",
    ),
    _define_gauge(
        "webhook_trust",
        "1 if delivered pages are believed where SCRAPE_DO_WEBHOOK_TRUST is `content`; 0 after a page that differed.",
        "account",
    ),
    _define_gauge("budget_limit", "Limit of a budget, in credits.", "scope", "period"),
    _define_gauge("budget_spent", "Credits that count as spent in the present period.", "scope", "period"),
    _define_gauge("budget_reserved", "Credits that purchases under way have reserved.", "scope", "period"),
    _define_gauge("budget_overrun", "Spent credits above the limit.", "scope", "period"),
    _define_gauge("buying_stopped", "1 if purchases of a scope are stopped, 0 of another scope with a limit.", "scope"),
    _define_gauge("tag_credits_today", "Credits that count as spent for a tag today (UTC).", "tag"),
    _define_gauge("host_credits_today", "Credits that the API reported for purchases of today (UTC).", "host"),
    _define_gauge(
        "account_status", "1 for the outcome of the last request for credits, else 0.", "outcome", source="api"
    ),
    _define_gauge(
        "credits_left",
        "Credits that the account has left; absent if the last request for credits failed.",
        "account",
        source="api",
    ),
    _define_gauge(
        "concurrency_free",
        "Tasks that the account can run in addition; absent if the last request for credits failed.",
        "account",
        source="api",
    ),
)

BY_NAME: Final = {metric.name: metric for metric in METRICS}
