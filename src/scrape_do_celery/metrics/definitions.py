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
    _define_gauge("store_up", "1 where the store answered; else 0, and nothing else is served."),
    _define_gauge("store_memory_bytes", "Memory that the store's server uses."),
    _define_gauge(
        "store_memory_limit_bytes", "Its limit; 0 for none. Nothing is bought above 80 %, nothing fetched above 95 %."
    ),
    _define_gauge("runs", "Live runs.", "state", source="count"),
    _define_gauge(
        "oldest_run_seconds", "Time since the oldest run that is in a state was accepted.", "state", source="count"
    ),
    _define_gauge("live_runs_age_seconds", "Age of the last count: of `runs` and `oldest_run_seconds`."),
    _define_counter("runs_accepted_total", "Runs that were accepted."),
    _define_counter("runs_ended_total", "Runs that ended.", "outcome"),
    _define_counter("tasks_total", "Tasks (one a target) of parts that ended.", "result"),
    _define_counter("credits_spent_total", "Credits that the API reported for pages of parts that ended."),
    _define_counter("contents_written_bytes_total", "Bytes of pages, as they are kept.", source="workers"),
    _define_gauge("contents_bytes", "Bytes of pages that the store keeps.", source="workers"),
    _define_gauge("due", "Parts and runs that wait to be looked at, each by itself."),
    _define_gauge(
        "dispatch_lag_seconds",
        "How late the most overdue entry is: of the due set, and of the jobs that are polled by list.",
        "of",
    ),
    MetricDefinition(
        "scrape_do_step_latency_seconds",
        "histogram",
        "How long after it was due a step began to work on a part.",
        ("step",),
        "workers",
    ),
    _define_gauge("dispatched_parts", "Parts whose step message is on its way to a worker."),
    _define_gauge("dispatched_parts_limit", "How many may be.", source="settings"),
    _define_counter("api_requests_total", "Requests to the API.", "call", "outcome", source="workers"),
    _define_counter("api_request_seconds_total", "Time that they took.", "call", source="workers"),
    _define_counter(
        "unknown_statuses_total", "Answers with a status word that we do not know.", "of", source="workers"
    ),
    _define_counter(
        "unreadable_answers_total",
        "Answers that were the API's own and of no use, as they counted against the attempts.",
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
    _define_gauge("api_requests_wanted", "Requests that processes want to have under way."),
    _define_gauge("api_requests_granted", "Requests that they may have under way."),
    _define_gauge("api_requests_limit", "How many all of them may have under way.", source="settings"),
    _define_gauge("api_pause_seconds", "Time for which no request is made, because of a 429; 0 for none."),
    _define_gauge(
        "contents_unfetched", "Parts that are paid and not fetched, whose pages the API forgets in this time.", "within"
    ),
    _define_gauge("paid_expiry_seconds", "Time until the API forgets the first of them; absent where there is none."),
    _define_gauge("jobs_polled_by_list", "Running jobs that are looked at together.", "account"),
    _define_gauge("jobs_active", "Jobs that count against SCRAPE_DO_MAX_ACTIVE_JOBS.", "account"),
    _define_gauge("jobs_waiting_for_slot", "Parts that wait for a job slot.", "account"),
    _define_gauge("slot_wait_seconds", "Longest time that a part has waited for a job slot.", "account"),
    _define_gauge("breaker_open_seconds", "Time since the API refused the token; 0 where it takes it.", "account"),
    _define_gauge(
        "account_status", "1 for the outcome of the last question for credits, else 0.", "outcome", source="api"
    ),
    _define_gauge(
        "credits_left",
        "Credits that the account has left; absent where it could not be asked.",
        "account",
        source="api",
    ),
    _define_gauge("concurrency_free", "Tasks that the account has room for; absent as above.", "account", source="api"),
)

BY_NAME: Final = {metric.name: metric for metric in METRICS}
