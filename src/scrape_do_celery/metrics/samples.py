"""Pure functions that turn values of the store into samples by metric and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from scrape_do_celery.metrics.account import OUTCOMES as ACCOUNT_OUTCOMES
from scrape_do_celery.metrics.definitions import EXPIRY_WINDOWS
from scrape_do_celery.rules.exports import ExportState
from scrape_do_celery.rules.schedules import TickDecision
from scrape_do_celery.store import OUTCOMES
from scrape_do_celery.store.commands.deliveries import DeliveryResult
from scrape_do_celery.store.commands.stats import LIVE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrape_do_celery.config import Settings
    from scrape_do_celery.metrics.account import AccountStatus
    from scrape_do_celery.store.commands.stats import LiveRunCount, StoreStats

#: Tags, hosts and labels that are served, at most. The rest of each is `(other)`.
MAX_NAMES: Final = 50
OTHER: Final = "(other)"
#: Mapping: metric -> label values -> value.
Samples: TypeAlias = "dict[str, dict[tuple[str, ...], float]]"


def store_samples(stats: StoreStats, settings: Settings) -> Samples:
    """Return the samples of one read of the store, and of the limits in the settings."""
    now, lags = stats.now, [account.next_poll_at for account in stats.accounts]
    found: Samples = {
        "due": {(): stats.due},
        "dispatch_lag_seconds": {
            ("due",): _seconds_late(stats.due_at, now),
            ("polled",): max((_seconds_late(at, now) for at in lags), default=0.0),
        },
        "dispatched_parts": {(): stats.dispatched_parts},
        "dispatched_parts_limit": {(): settings.max_dispatched_parts},
        "api_requests_wanted": {(): stats.wanted},
        "api_requests_granted": {(): stats.granted},
        "api_requests_limit": {(): settings.max_requests},
        "api_pause_seconds": {(): max(0.0, (stats.paused_until or now) - now)},
        "contents_bytes": {(): stats.contents_bytes},
        "contents_unfetched": {(text,): n for text, n in zip(EXPIRY_WINDOWS.values(), stats.expiring, strict=True)},
        "paid_expiry_seconds": {} if stats.paid_until is None else {(): stats.paid_until - now},
        **_samples_by_account(stats),
        **_counter_samples(stats.totals),
    }
    return {f"scrape_do_{name}": values for name, values in found.items()}


def _samples_by_account(stats: StoreStats) -> Samples:
    accounts, now = stats.accounts, stats.now
    return {
        "jobs_polled_by_list": {(a.account,): a.polled_by_list for a in accounts},
        "jobs_active": {(a.account,): a.active for a in accounts},
        "jobs_waiting_for_slot": {(a.account,): a.waiting_for_slot for a in accounts},
        "slot_wait_seconds": {(a.account,): _seconds_late(a.first_waiting_since, now) for a in accounts},
        "breaker_open_seconds": {(a.account,): _seconds_late(a.refused_since, now) for a in accounts},
        "webhook_trust": {(a.account,): float(a.distrusted_since is None) for a in accounts},
    }


def _counter_samples(totals: Mapping[str, float]) -> Samples:
    """Return the counters, by the first word of their name in the store. Outcomes that never occurred are 0."""
    names = {"ended": "runs_ended_total", "tasks": "tasks_total", "requests": "api_requests_total"}
    names |= {"seconds": "api_request_seconds_total", "late": "step_latency_seconds"}
    names |= {"unknown_status": "unknown_statuses_total", "unreadable": "unreadable_answers_total"}
    names |= {"defaults": "defaulted_fields_total", "dropped": "dropped_entries_total"}
    names |= {"surplus_ids": "surplus_task_ids_total", "ticks": "schedule_ticks_total", "exports": "exports_total"}
    names |= {"webhooks": "webhook_deliveries_total", "webhook_parts": "webhook_parts_total"}
    found: Samples = {
        "runs_accepted_total": {(): totals.get("accepted", 0.0)},
        "credits_spent_total": {(): totals.get("credits", 0.0)},
        "contents_written_bytes_total": {(): totals.get("bytes", 0.0)},
        "runs_ended_total": {(outcome.value,): 0.0 for outcome in OUTCOMES},
        "schedule_ticks_total": {(decision.value,): 0.0 for decision in TickDecision},
        "exports_total": {(state.value,): 0.0 for state in ExportState if state.has_ended},
        "webhook_deliveries_total": {(one.value,): 0.0 for one in DeliveryResult if one is not DeliveryResult.STALE},
        "webhook_parts_total": {("called",): 0.0, ("silent",): 0.0},
        # The store's `failed` also counts gone tasks.
        "tasks_total": {("success",): 0.0, ("failed",): 0.0 - totals.get("tasks:gone", 0.0), ("gone",): 0.0},
    }
    for name, value in totals.items():
        first, *labels = name.split(":")
        if first == "defaults" and labels[-1].endswith("[]"):
            # An entry of a list has no default, so the entry was dropped.
            first, labels = "dropped", [labels[-1].removesuffix("[]")]
        if first in names:
            of = found.setdefault(names[first], {})
            of[tuple(labels)] = of.get(tuple(labels), 0.0) + value
    return found


def add_live_runs(found: Samples, now: float, live_runs: LiveRunCount, age: float) -> None:
    """Add a count of live runs that is `age` seconds old."""
    runs = found["scrape_do_runs"] = {}
    since = found["scrape_do_oldest_run_seconds"] = {}
    for state in LIVE:
        runs[state,] = float(live_runs.runs.get(state, 0))
        since[state,] = _seconds_late(live_runs.since.get(state), now)
    found["scrape_do_labeled_runs"] = keep_largest(live_runs.labels)
    found["scrape_do_live_runs_age_seconds"] = {(): age}


def keep_largest(amounts: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    """Return the largest amounts by name, and the sum of the others as `(other)`. Zeros are left out."""
    ranked = sorted(((amount, name) for name, amount in amounts.items() if amount), reverse=True)
    found: dict[tuple[str, ...], float] = {(name,): amount for amount, name in ranked[:MAX_NAMES]}
    if rest := sum(amount for amount, _ in ranked[MAX_NAMES:]):
        found[OTHER,] = found.get((OTHER,), 0.0) + rest
    return found


def account_samples(status: AccountStatus, account: str) -> Samples:
    """Return the samples of the account, with the outcome of the last request for it."""
    found: Samples = {"scrape_do_account_status": {(name,): float(name == status.outcome) for name in ACCOUNT_OUTCOMES}}
    if status.user is not None:
        found["scrape_do_credits_left"] = {(account,): float(status.user.available_credits)}
        found["scrape_do_concurrency_free"] = {(account,): float(status.user.free_concurrency)}
    return found


def _seconds_late(moment: float | None, now: float) -> float:
    return 0.0 if moment is None else max(0.0, now - moment)
