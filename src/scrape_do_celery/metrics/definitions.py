"""The definitions of all metrics: name, kind, text, labels and source. The documentation is generated from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

#: Seconds from now within which expiring contents are counted, with the label value of each period.
EXPIRY_WINDOWS: Final = {3_600: "1h", 21_600: "6h", 86_400: "24h", 604_800: "all"}


@dataclass(frozen=True, slots=True)
class Metric:
    """The definition of a metric. `source`: the origin of its value, see docs/metrics.md."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    text: str
    labels: tuple[str, ...] = ()
    source: Literal["store", "scripts", "count", "workers", "api", "settings"] = "store"


def _gauge(name: str, text: str, *labels: str, source: str = "store") -> Metric:
    return Metric(f"scrape_do_{name}", "gauge", text, labels, source)  # type: ignore[arg-type]


def _counter(name: str, text: str, *labels: str, source: str = "scripts") -> Metric:
    return Metric(f"scrape_do_{name}", "counter", text, labels, source)  # type: ignore[arg-type]


METRICS: Final[tuple[Metric, ...]] = (
    _gauge("store_up", "1 where the store answered; else 0, and nothing else is served."),
    _gauge("store_memory_bytes", "Memory that the store's server uses."),
    _gauge(
        "store_memory_limit_bytes", "Its limit; 0 for none. Nothing is bought above 80 %, nothing fetched above 95 %."
    ),
    _gauge("runs", "Live runs.", "state", source="count"),
    _gauge("oldest_run_seconds", "Time since the oldest run that is in a state was accepted.", "state", source="count"),
    _gauge("live_runs_age_seconds", "Age of the last count: of `runs` and `oldest_run_seconds`."),
    _counter("runs_accepted_total", "Runs that were accepted."),
    _counter("runs_ended_total", "Runs that ended.", "outcome"),
    _counter("tasks_total", "Tasks (one a target) of parts that ended.", "result"),
    _counter("credits_spent_total", "Credits that the API reported for pages of parts that ended."),
    _counter("contents_written_bytes_total", "Bytes of pages, as they are kept.", source="workers"),
    _gauge("contents_bytes", "Bytes of pages that the store keeps.", source="workers"),
    _gauge("due", "Parts and runs that wait to be looked at, each by itself."),
    _gauge(
        "dispatch_lag_seconds",
        "How late the most overdue entry is: of the due set, and of the jobs that are polled by list.",
        "of",
    ),
    Metric(
        "scrape_do_step_latency_seconds",
        "histogram",
        "How long after it was due a step began to work on a part.",
        ("step",),
        "workers",
    ),
    _gauge("dispatched_parts", "Parts whose step message is on its way to a worker."),
    _gauge("dispatched_parts_limit", "How many may be.", source="settings"),
    _counter("api_requests_total", "Requests to the API.", "call", "outcome", source="workers"),
    _counter("api_request_seconds_total", "Time that they took.", "call", source="workers"),
    _counter("unknown_statuses_total", "Answers with a status word that we do not know.", "of", source="workers"),
    _counter(
        "unreadable_answers_total",
        "Answers that were the API's own and of no use, as they counted against the attempts.",
        "of",
        source="workers",
    ),
    _counter("defaulted_fields_total", "Fields that could not be read and took their default.", "of", source="workers"),
    _counter("dropped_entries_total", "List entries that could not be read and were dropped.", "of", source="workers"),
    _counter("surplus_task_ids_total", "Task ids beyond the targets of their part.", source="workers"),
    _gauge("api_requests_wanted", "Requests that processes want to have under way."),
    _gauge("api_requests_granted", "Requests that they may have under way."),
    _gauge("api_requests_limit", "How many all of them may have under way.", source="settings"),
    _gauge("api_pause_seconds", "Time for which no request is made, because of a 429; 0 for none."),
    _gauge(
        "contents_unfetched", "Parts that are paid and not fetched, whose pages the API forgets in this time.", "within"
    ),
    _gauge("paid_expiry_seconds", "Time until the API forgets the first of them; absent where there is none."),
    _gauge("jobs_polled_by_list", "Running jobs that are looked at together.", "account"),
    _gauge("jobs_active", "Jobs that count against SCRAPE_DO_MAX_ACTIVE_JOBS.", "account"),
    _gauge("jobs_waiting_for_slot", "Parts that wait for a job slot.", "account"),
    _gauge("slot_wait_seconds", "Longest time that a part has waited for a job slot.", "account"),
    _gauge("breaker_open_seconds", "Time since the API refused the token; 0 where it takes it.", "account"),
    _gauge("account_status", "1 for the outcome of the last question for credits, else 0.", "outcome", source="api"),
    _gauge(
        "credits_left",
        "Credits that the account has left; absent where it could not be asked.",
        "account",
        source="api",
    ),
    _gauge("concurrency_free", "Tasks that the account has room for; absent as above.", "account", source="api"),
)

BY_NAME: Final = {metric.name: metric for metric in METRICS}
