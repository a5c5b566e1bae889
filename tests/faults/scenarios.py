"""Scenarios that lead a run to points that a plain run never reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.trials import UNKNOWN_RUN, PlannedFault, Trial, with_query

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

_ENDED = frozenset({"canceled", "succeeded"})
_LATE = frozenset({"timed_out", "succeeded"})
_REFUSED_FETCH = {"action": "status", "kind": "get_task", "status": 429, "retry_after": 0.2}


def _add_rule(trial: Trial, action: str, kind: str, **more: Any) -> None:
    trial.rules.append({"action": action, "kind": kind, "target": trial.host, **more})


def _lose(trial: Trial, point: str, times: int = 1) -> None:
    trial.planned_faults.append(PlannedFault(point, [{"kind": "lose"}] * times))


def _plain(trial: Trial, rng: random.Random) -> None:
    """Plan nothing."""


def _long(trial: Trial, rng: random.Random) -> None:
    with_query(trial, "seconds=0.8")


def _early(trial: Trial, rng: random.Random) -> None:
    # The first page is ready long before its job ends.
    run = trial.runs[0]
    run.targets = [f"https://{trial.host}/{index}" for index in range(3)]
    with_query(trial, "seconds=0.3", only_first=True)
    run.targets[1:] = [f"{target}?seconds=1.5" for target in run.targets[1:]]
    run.options["early"] = True
    run.succeeded = 3


def _hinted(trial: Trial, rng: random.Random) -> None:
    # The first delivery comes long before the job ends.
    run = trial.runs[0]
    run.targets = [f"https://{trial.host}/{index}?seconds={seconds}" for index, seconds in enumerate((0.3, 0.9, 1.5))]
    run.succeeded = 3


def _told_early(trial: Trial, rng: random.Random) -> None:
    # A delivery comes before the answer to the purchase.
    run = trial.runs[0]
    run.targets = [f"https://{trial.host}/{index}?seconds={seconds}" for index, seconds in enumerate((0.05, 1.2))]
    run.succeeded = 2
    _add_rule(trial, "webhook_early", "create_job", seconds=0.6)


def _noted(trial: Trial, rng: random.Random) -> None:
    # A delivery names the job of a purchase whose answer is lost.
    with_query(trial, "seconds=0.1", only_first=True)
    _add_rule(trial, "webhook_early", "create_job", times=1)
    _lost_answer(trial, rng)


def _untold(trial: Trial, rng: random.Random) -> None:
    # One page is delivered and trusted, and the fetch step gets the other one, whose delivery is lost.
    run = trial.runs[0]
    run.targets = [f"https://{trial.host}/0", f"https://untold.{trial.host}/1"]
    run.succeeded = 2
    trial.rules.append({"action": "webhook_lose", "kind": "webhook", "target": f"untold.{trial.host}"})
    trial.rules.append({**_REFUSED_FETCH, "target": f"untold.{trial.host}", "times": 3})


def _odd_hint(trial: Trial, rng: random.Random) -> None:
    # No delivery has a page, and the API's answers for the tasks have a page and an unknown status.
    run = trial.runs[0]
    run.targets = [f"https://{trial.host}/{index}?seconds={seconds}" for index, seconds in enumerate((0.3, 1.5))]
    run.succeeded = 2
    _add_rule(trial, "webhook_trim", "webhook")
    _add_rule(trial, "unknown_status", "get_task", value="reticulating")


def _distrusted(trial: Trial, rng: random.Random) -> None:
    # The API gives a task with less than its delivery had. So no delivery is trusted until an operator says so.
    run = trial.runs[0]
    run.targets = [f"https://{trial.host}/{index}?seconds=0.4" for index in range(2)]
    run.succeeded = 2
    _add_rule(trial, "nulls", "get_task", fields=["StatusCode"])
    trial.planned_faults.append(
        PlannedFault("submit_jobs: after update_part running", [{"kind": "nemesis", "what": "trust_webhooks"}])
    )


def _silent(trial: Trial, rng: random.Random) -> None:
    trial.start = "silent"


def _lost_answer(trial: Trial, rng: random.Random) -> None:
    _add_rule(trial, "reset_after", "create_job", times=1)


def _absent(trial: Trial, rng: random.Random) -> None:
    _add_rule(trial, "reset_before", "create_job", times=1)


def _refused(trial: Trial, rng: random.Random) -> None:
    _add_rule(trial, "status", "create_job", status=422)
    trial.expect, trial.purchases = frozenset({"failed"}), (0, 0)
    trial.runs[0].succeeded = 0


def _later(trial: Trial, rng: random.Random) -> None:
    _add_rule(trial, "status", "create_job", status=429, retry_after=0.2, times=1)


def _trouble(trial: Trial, rng: random.Random) -> None:
    _add_rule(trial, "status", "get_job", status=503, times=1)


def _paused_poll(trial: Trial, rng: random.Random) -> None:
    _add_rule(trial, "status", "get_job", status=429, retry_after=0.2, times=1)


def _paused_fetch(trial: Trial, rng: random.Random) -> None:
    _add_rule(trial, "status", "get_task", status=429, retry_after=0.2, times=1)


def _fetch_trouble(trial: Trial, rng: random.Random) -> None:
    _add_rule(trial, "status", "get_task", status=503, times=1)


def _auth(trial: Trial, rng: random.Random) -> None:
    # The token is refused once: all runs of the account wait until the account was probed.
    _add_rule(trial, "status", "get_job", status=401, times=1)
    _refuse_account(trial, "poll_jobs")


def _refuse_account(trial: Trial, step: str) -> None:
    # A refusal of one job or task counts against the token only if the account is refused, too.
    trial.planned_faults.append(PlannedFault(f"{step}: before GET me", [{"kind": "nemesis", "what": "refuse_account"}]))


def _auth_submit(trial: Trial, rng: random.Random) -> None:
    _add_rule(trial, "status", "create_job", status=401, times=1)


def _auth_fetch(trial: Trial, rng: random.Random) -> None:
    _add_rule(trial, "status", "get_task", status=401, times=1)
    _refuse_account(trial, "fetch_tasks")


def _auth_list(trial: Trial, rng: random.Random) -> None:
    # A read of the list belongs to no run.
    _lost_answer(trial, rng)
    trial.rules.append({"action": "status", "kind": "list_jobs", "status": 403, "times": 1})


def _paused_list(trial: Trial, rng: random.Random) -> None:
    _lost_answer(trial, rng)
    trial.rules.append({"action": "status", "kind": "list_jobs", "status": 429, "retry_after": 0.2, "times": 1})


def _auth_cancel(trial: Trial, rng: random.Random) -> None:
    _cancel(trial, rng)
    _add_rule(trial, "status", "cancel_job", status=401, times=1)
    _refuse_account(trial, "cancel_run")


def _paused_cancel(trial: Trial, rng: random.Random) -> None:
    _cancel(trial, rng)
    _add_rule(trial, "status", "cancel_job", status=429, retry_after=0.2, times=1)


def _slow_list(trial: Trial, rng: random.Random) -> None:
    # The search for a lost purchase takes long enough that its lease is renewed.
    _lost_answer(trial, rng)
    trial.planned_faults.append(PlannedFault("reconcile_submit: before GET jobs", [{"kind": "wait", "seconds": 0.8}]))


def _slow_poll(trial: Trial, rng: random.Random) -> None:
    _add_rule(trial, "slow", "get_job", seconds=0.8, times=1)


def _slow_fetch(trial: Trial, rng: random.Random) -> None:
    _add_rule(trial, "slow", "get_task", seconds=0.8, times=1)


def _slow_submit(trial: Trial, rng: random.Random) -> None:
    # The store is slow: the lease is renewed before the intent is written.
    trial.planned_faults.append(PlannedFault("submit_jobs: before write_intent", [{"kind": "wait", "seconds": 1.5}]))


def _unnamed(trial: Trial, rng: random.Random) -> None:
    _add_rule(trial, "nulls", "get_job", fields=["Tasks"])


def _odd_word(trial: Trial, rng: random.Random) -> None:
    # The job never has a known status, and ends by its end time.
    _add_rule(trial, "unknown_status", "get_job", value="reticulating")


def _odd_word_fetch(trial: Trial, rng: random.Random) -> None:
    _odd_word(trial, rng)
    _paused_fetch(trial, rng)


def _job_error(trial: Trial, rng: random.Random) -> None:
    with_query(trial, "sandbox=error")
    run = trial.runs[0]
    run.succeeded, run.failed = 0, len(run.targets)
    trial.expect = frozenset({"failed"})


def _raising(trial: Trial, rng: random.Random) -> None:
    run = trial.runs[0]
    run.targets = [f"https://{trial.host}/{index}" for index in range(3)]
    with_query(trial, "sandbox=error", only_first=True)
    run.options["raise_on_task_failure"] = True
    run.succeeded, run.failed = 2, 1
    trial.expect = frozenset({"failed"})


def _ending(trial: Trial, outcomes: frozenset[str], bought: tuple[int, int] = (0, 1)) -> None:
    trial.expect, trial.purchases, trial.partial = outcomes, bought, True


def _cancel(trial: Trial, rng: random.Random) -> None:
    with_query(trial, "seconds=20")
    trial.planned_faults.append(PlannedFault("poll_jobs: after update_part", [{"kind": "cancel"}]))
    _ending(trial, _ENDED)


def _cancel_silent(trial: Trial, rng: random.Random) -> None:
    with_query(trial, "seconds=20")
    trial.planned_faults.append(PlannedFault("submit_jobs: after update_part running", [{"kind": "request_stop"}]))
    _ending(trial, _ENDED)


def _cancel_ended(trial: Trial, rng: random.Random) -> None:
    # The job ends between the last poll of the cancel step and its DELETE.
    with_query(trial, "seconds=0.6")
    trial.planned_faults.append(PlannedFault("submit_jobs: after update_part running", [{"kind": "cancel"}]))
    trial.planned_faults.append(PlannedFault("cancel_run: before DELETE job", [{"kind": "wait", "seconds": 0.8}]))
    _ending(trial, _ENDED)


def _cancel_late(trial: Trial, rng: random.Random) -> None:
    # The job has ended before the cancel step polls it.
    trial.planned_faults.append(PlannedFault("submit_jobs: after update_part running", [{"kind": "cancel"}]))
    trial.planned_faults.append(PlannedFault("cancel_run: before GET job", [{"kind": "wait", "seconds": 0.5}]))
    _ending(trial, _ENDED)


def _cancel_lost_answer(trial: Trial, rng: random.Random) -> None:
    _add_rule(trial, "reset_after", "create_job", times=1)
    with_query(trial, "seconds=20")
    trial.planned_faults.append(PlannedFault("submit_jobs: after update_part reconciling", [{"kind": "cancel"}]))
    _ending(trial, _ENDED)


def _cancel_absent(trial: Trial, rng: random.Random) -> None:
    # A purchase in doubt that was never made is canceled.
    _absent(trial, rng)
    trial.planned_faults.append(PlannedFault("submit_jobs: after update_part reconciling", [{"kind": "cancel"}]))
    _ending(trial, _ENDED)


def _cancel_queued(trial: Trial, rng: random.Random) -> None:
    trial.planned_faults.append(PlannedFault("submit_jobs: after claim_part", [{"kind": "cancel"}]))
    _ending(trial, _ENDED)


def _cancel_trouble(trial: Trial, rng: random.Random) -> None:
    with_query(trial, "seconds=20")
    trial.planned_faults.append(PlannedFault("submit_jobs: after update_part running", [{"kind": "cancel"}]))
    _add_rule(trial, "status", "cancel_job", status=503, times=1)
    _ending(trial, _ENDED)


def _deadline(trial: Trial, rng: random.Random) -> None:
    with_query(trial, "seconds=20")
    trial.runs[0].options["max_wait"] = 1.0
    _ending(trial, _LATE)


def _sliced(trial: Trial, rng: random.Random) -> None:
    # More pages than one batch, which take longer than one slice.
    _many(trial, 25)


def _sliced_twice(trial: Trial, rng: random.Random) -> None:
    _many(trial, 45)


def _many(trial: Trial, pages: int) -> None:
    run = trial.runs[0]
    run.targets = [f"https://{trial.host}/{index}" for index in range(pages)]
    run.succeeded = pages
    _add_rule(trial, "slow", "get_task", seconds=0.5, times=40)


def _lost_fetch(trial: Trial, rng: random.Random) -> None:
    _sliced(trial, rng)
    _lose(trial, "poll_jobs: before publish fetch_tasks")


def _lost_aggregate(trial: Trial, rng: random.Random) -> None:
    _lose(trial, "poll_jobs: before publish aggregate_run")


def _lost_reconcile(trial: Trial, rng: random.Random) -> None:
    _lost_answer(trial, rng)
    _lose(trial, "submit_jobs: before publish reconcile_submit")


def _lost_delivery(trial: Trial, rng: random.Random) -> None:
    _lose(trial, "aggregate_run: before publish deliver_outcome")


def _lost_deliveries(trial: Trial, rng: random.Random) -> None:
    _lose(trial, "aggregate_run: before publish deliver_outcome")
    _lose(trial, "dispatcher: before publish deliver_outcome")


def _scrape(trial: Trial, rng: random.Random) -> None:
    trial.start = "scrape"


def _message(trial: Trial, rng: random.Random) -> None:
    trial.start = "message"


def _draft(trial: Trial, rng: random.Random) -> None:
    trial.start = "draft"


def _cancel_polling(trial: Trial, rng: random.Random) -> None:
    # A poll message was on its way at the time of the stop request.
    with_query(trial, "seconds=20")
    trial.planned_faults.append(PlannedFault("poll_jobs: before claim_part", [{"kind": "request_stop"}]))
    _ending(trial, _ENDED)


def _revoked(trial: Trial, rng: random.Random) -> None:
    with_query(trial, "seconds=20")
    trial.planned_faults.append(PlannedFault("poll_jobs: after update_part", [{"kind": "revoke"}]))
    _ending(trial, _ENDED)


def _unnoted(trial: Trial, rng: random.Random) -> None:
    # Celery has the result, but the delivery was not acknowledged: the dispatcher asks Celery.
    trial.planned_faults.append(PlannedFault("deliver_outcome: after store result", [{"kind": "kill_worker"}]))
    trial.planned_faults.append(PlannedFault("dispatcher: before publish deliver_outcome", [{"kind": "lose"}]))


def _unnamed_lost_answer(trial: Trial, rng: random.Random) -> None:
    # Neither the list nor the job names its targets, so its tasks are fetched.
    _lost_answer(trial, rng)
    _unnamed(trial, rng)


def _lost_intent(trial: Trial, rng: random.Random) -> None:
    _lost_answer(trial, rng)
    trial.planned_faults.append(PlannedFault("reconcile_submit: before claim_part", [{"kind": "lose_intent"}]))


def _probing_lost_answer(trial: Trial, rng: random.Random) -> None:
    # The token is refused during the search for a lost purchase, and again when the account is probed.
    _lost_answer(trial, rng)
    _probing(trial, "reconcile_submit")
    _refuse_account(trial, "reconcile_submit")


def _probing(trial: Trial, step: str) -> None:
    # Another worker's call was refused a moment before the step claims, so this step probes the account.
    trial.planned_faults.append(PlannedFault(f"{step}: before claim_part", [{"kind": "open_breaker"}] * 4))


def _probing_submit(trial: Trial, rng: random.Random) -> None:
    _probing(trial, "submit_jobs")


def _probing_poll(trial: Trial, rng: random.Random) -> None:
    _probing(trial, "poll_jobs")


def _probing_fetch(trial: Trial, rng: random.Random) -> None:
    _probing(trial, "fetch_tasks")


def _probing_cancel(trial: Trial, rng: random.Random) -> None:
    _cancel(trial, rng)
    _probing(trial, "cancel_run")


def _stray_cancel(trial: Trial, rng: random.Random) -> None:
    # A cancel message for a run without a stop request.
    with_query(trial, "seconds=0.8")
    trial.planned_faults.append(
        PlannedFault("dispatcher: before publish poll_jobs", [{"kind": "replace_message", "publish": "cancel_run"}] * 3)
    )


def _deaf_cancel(trial: Trial, rng: random.Random) -> None:
    # No DELETE is answered: the run ends without its job.
    _ignored(trial, {"action": "status", "kind": "cancel_job", "target": trial.host, "status": 503})


def _blind_cancel(trial: Trial, rng: random.Random) -> None:
    # The job cannot be polled for longer than its grace, so its tasks are fetched without it. A run whose stop request
    # is lost to a kill must end all the same, so the polls are answered at last.
    trial.planned_faults.append(PlannedFault("submit_jobs: after update_part running", [{"kind": "cancel"}]))
    _add_rule(trial, "status", "get_job", status=503, times=30)
    _ending(trial, _ENDED)


def _mute_cancel(trial: Trial, rng: random.Random) -> None:
    # After its DELETE a job can never be polled again.
    _ignored(trial)
    trial.planned_faults.append(PlannedFault("cancel_run: after DELETE job", [{"kind": "nemesis", "what": "hide_job"}]))


def _ignored(trial: Trial, *rules: dict[str, Any]) -> None:
    with_query(trial, "seconds=20")
    trial.planned_faults.append(PlannedFault("submit_jobs: after update_part running", [{"kind": "cancel"}]))
    trial.rules += rules
    trial.unstoppable = True
    _ending(trial, _ENDED)


def _reported_again(trial: Trial, rng: random.Random) -> None:
    # A late message to aggregate a run whose outcome is already delivered.
    trial.planned_faults.append(
        PlannedFault("deliver_outcome: after acknowledge_delivery", [{"kind": "message", "publish": "aggregate_run"}])
    )
    trial.linger = 1.5


def _unknown_run(trial: Trial, rng: random.Random) -> None:
    # A message to deliver a run that the store does not have.
    trial.start, trial.expect, trial.purchases = UNKNOWN_RUN, frozenset({"unknown"}), (0, 0)


SCENARIOS: dict[str, Callable[[Trial, random.Random], None]] = {
    name.removeprefix("_"): make
    for name, make in list(globals().items())
    if name.startswith("_") and getattr(make, "__code__", None) and make.__code__.co_varnames[:2] == ("trial", "rng")
}
