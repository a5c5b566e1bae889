"""Judge a round by the jobs that the sandbox sold and the pages that it served. Our records only state their claims."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from scrape_do_celery import RunHandle, ScrapeDoError
from scrape_do_celery.store import RunState
from scrape_do_celery.store.commands.purchases import PurchaseStatus, ReadLedgerDay
from scrape_do_celery.store.commands.runs import ReadRun
from scrape_do_sandbox.url_writers import write_url
from tests.faults.budgets import SpendChecker
from tests.faults.trials import UNKNOWN_RUN
from tests.faults.webhooks import FORGED

if TYPE_CHECKING:
    from scrape_do_celery.store import RunRecord
    from tests.faults.harness import Harness
    from tests.faults.trials import Run, Trial

#: If a freeze begins at most this many seconds after a last check, the freeze came between the check and its `POST`.
_CHECK_SECONDS = 0.8
#: If a purchase comes at most this many seconds after a freeze, the frozen process made it. The bound is the deadline
#: of a `POST`, and as long again until the sandbox has read the request.
_RESUME_SECONDS = 2.0
#: The report's label for a run that was left in doubt for a good reason.
BESIDE_NOT_FOUND = "left in doubt beside an equal run whose purchase was not found"
#: The report's label for a run with pages in another order than its targets. The result says that its order is not
#: proven.
ORDER_NOT_PROVEN = "pages of shuffled tasks in an order that the result does not call verified"
_DAY = 86_400


class Checker:
    """A judge of one round's trials, to use while the sandbox still has its log."""

    def __init__(self, harness: Harness, trials: list[Trial]) -> None:
        self._harness, self._trials = harness, trials
        sandbox = harness.servers.sandbox
        self._jobs = {job["id"]: job for job in sandbox.jobs()}
        options = {e["job_id"]: e for e in sandbox.log() if e["kind"] == "create_job" and e["job_id"]}
        self._bought: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
        for job in self._jobs.values():
            entry = options.get(job["id"], {})
            sold = {**job, "geo": (entry.get("options") or {}).get("GeoCode"), "at": entry.get("at", 0.0)}
            self._bought[tuple(job["targets"])].append(sold)
        self._spend = SpendChecker(harness, trials)
        self._fired = {rule["id"]: rule["fired"] for rule in sandbox.faults()}

    def check(self) -> list[Trial]:
        """Return the trials with problems. `problems` of each trial says what was seen."""
        known = set()
        for trial in self._trials:
            trial.fired = sum(self._fired.get(rule, 0) for rule in trial.rule_ids)
            known |= {tuple(run.targets) for run in trial.runs}
            for run in trial.runs:
                self._check_run(trial, run)
        for targets in set(self._bought) - known:
            self._trials[0].problems.append(f"orphan: a job for {targets} was bought, and no trial asked for it")
        for name in self._harness.unknown_points():
            self._trials[0].problems.append(f"unknown point: {name!r} is not in the catalogue")
        self._trials[0].problems += [f"budget: {problem}" for problem in self._spend.check_round()]
        return [trial for trial in self._trials if trial.problems]

    def _check_run(self, trial: Trial, run: Run) -> None:
        geo = run.options.get("geo_code")
        sold = [job for job in self._bought[tuple(run.targets)] if len(trial.runs) == 1 or job["geo"] == geo]
        store = self._harness.servers.app_context.store
        record = store.run(ReadRun(run.run_id))
        self._check_purchases(trial, run, sold, in_doubt=record is not None and record.outcome == RunState.IN_DOUBT)
        self._check_options(trial, run, sold)
        if trial.start == UNKNOWN_RUN:
            self._check_celery_result(trial, run, "unknown")
            return
        if record is None:
            trial.problems.append(f"run {run.run_id}: no record")
            return
        if record.outcome is None:
            return  # already reported: the run did not end
        self._check_outcome(trial, run, record)
        trial.problems += [f"budget: {problem}" for problem in self._spend.check_run(run, record, sold)]
        ids = {part.job_id for part in record.parts if part.job_id}
        if not ids <= {job["id"] for job in sold}:
            trial.problems.append(f"wrong job: the record names {sorted(ids)}, bought were {[j['id'] for j in sold]}")
        if record.outcome in {"canceled", "timed_out"} and not all(map(_has_ended, sold)) and not trial.unstoppable:
            trial.problems.append(f"waste: the run is {record.outcome}, and its job goes on")
        self._check_celery_result(trial, run, record.outcome)
        if ids:
            self._check_contents(trial, run, record)

    def _check_outcome(self, trial: Trial, run: Run, record: RunRecord) -> None:
        """Check that the run has an expected outcome, and that no step worked on it afterwards."""
        expect = run.expect or trial.expect
        if record.outcome == RunState.IN_DOUBT and self._has_equal_run_not_found(trial, run):
            self._harness.events[BESIDE_NOT_FOUND] += 1
        elif record.outcome == RunState.IN_DOUBT and RunState.IN_DOUBT not in expect:
            # An expected result if the faults left no time to reconcile. The report allows very few.
            trial.in_doubt = f"run {run.run_id}: {record.error}"
        elif record.outcome not in expect:
            trial.problems.append(f"outcome {record.outcome}, not {sorted(expect)}: {record.error}")
        if any(part.state != "done" for part in record.parts):
            trial.problems.append(f"restless: a part is {[str(p.state) for p in record.parts]} after the end")
        elif any(part.fence > record.ended * 1000 for part in record.parts):
            # A fence is the moment of its claim.
            trial.problems.append("restless: a part was claimed after the end")

    def _has_equal_run_not_found(self, trial: Trial, run: Run) -> bool:
        """Return whether the found job may belong to an equal run whose purchase was given up.

        Then the run must not guess. The run with the given-up purchase must not guess either, if it buys again and
        finds the first run's job.
        """
        equal_runs = {other.run_id for other in trial.runs if other.targets == run.targets}
        store, days = self._harness.servers.app_context.store, {int(at // _DAY) for at in (trial.began, trial.ended)}
        lines = [line for day in days for line in store.run(ReadLedgerDay(day))] if len(equal_runs) > 1 else []
        return any(line.part_id.run_id in equal_runs and line.status == PurchaseStatus.NOT_FOUND for line in lines)

    def _check_purchases(self, trial: Trial, run: Run, sold: list[dict[str, Any]], *, in_doubt: bool) -> None:
        trial.most_purchases = max(trial.most_purchases, len(sold))
        low, high = run.purchases or trial.purchases
        # A purchase in doubt was made once, or not at all.
        low = 0 if in_doubt else low
        excused = [job for job in sold if self._was_frozen_before_send(run, job["at"])]
        if len(sold) > high and len(sold) - len(excused) <= high:
            trial.excused = True
        elif not low <= len(sold) <= high:
            when = sorted(round(job["at"] - trial.began, 2) for job in sold)
            trial.problems.append(f"purchases: {len(sold)} of run {run.run_id}, at {when} s")

    def _was_frozen_before_send(self, run: Run, bought: float) -> bool:
        """Return whether the buyer was frozen after its last check, for longer than the check is valid.

        Only such a freeze may lead to a second purchase.
        """
        return any(
            looked <= frozen and looked > frozen - _CHECK_SECONDS and thawed - 0.1 <= bought <= thawed + _RESUME_SECONDS
            for who, pid, looked in self._harness.send_checks
            for stopped, frozen, thawed in self._harness.freezes
            if who == run.run_id and pid == stopped
        )

    def _check_options(self, trial: Trial, run: Run, sold: list[dict[str, Any]]) -> None:
        wrong = [job["geo"] for job in sold if job["geo"] != run.options.get("geo_code")]
        if wrong:
            trial.problems.append(f"options: bought for {wrong}, wanted {run.options.get('geo_code')}")

    def _check_celery_result(self, trial: Trial, run: Run, outcome: str) -> None:
        """Check the state and the result that Celery gives the caller."""
        found = self._harness.servers.app_context.app.backend.get_task_meta(run.run_id)
        wanted = {"SUCCESS"} if outcome == RunState.SUCCEEDED else {"FAILURE"}
        if any(hit["kind"] == "revoke" for hit in trial.hits):
            wanted.add("REVOKED")
        if found["status"] not in wanted:
            trial.problems.append(f"report: Celery says {found['status']} of a run that is {outcome}")
        if found["status"] == "SUCCESS":
            counts = found["result"]["counts"]
            if not trial.partial and counts not in run.counts:
                trial.problems.append(f"counts {counts}, not {' or '.join(map(str, run.counts))}")
            if any(counts[name] > counts["total"] for name in counts):
                trial.problems.append(f"counts {counts} are more than there is")

    def _check_contents(self, trial: Trial, run: Run, record: Any) -> None:
        """Check that each page is the sandbox's page for its URL, in the order of the input."""
        try:
            handle = RunHandle(run.run_id, app_context=self._harness.servers.app_context)
            tasks = list(handle.iter_tasks())
        except ScrapeDoError as error:
            trial.problems.append(f"contents: {error!r}")
            return
        served = {task["id"]: task for part in record.parts for task in self._served_tasks(part.job_id)}
        self._check_metas(trial, run, record, tasks, served)
        if run.has_meta and tasks and any(task.task_id == tasks[-1].task_id for task in tasks[:-1]):
            # The last input has the first target once more.
            tasks.pop()
        for task in tasks:
            page = served.get(task.task_id)
            if FORGED in (task.content or ""):
                trial.problems.append(f"forged: the page of {task.url} came from a forged delivery")
            if page is None:
                trial.problems.append(f"contents: task {task.task_id} is another run's")
            elif task.url not in {page["url"], write_url(page["url"], trial.writer)}:
                trial.problems.append(f"contents: task {task.task_id} is said to be {task.url}, not {page['url']}")
            elif task.is_success and _hash(task.decoded_content()) != page["sha256"]:
                trial.problems.append(f"contents: the page of {task.url} is not what was served")
        if not trial.partial:
            self._check_counts(trial, run, tasks, served)
            found = [served[task.task_id]["url"] for task in tasks if task.task_id in served]
            if len(found) == len(run.targets) and found != run.targets:
                self._check_order(trial, handle)

    def _check_metas(self, trial: Trial, run: Run, record: RunRecord, tasks: list[Any], served: dict[str, Any]) -> None:
        """Check that no page has the `meta` of another target, and that each page has one if the order is proven."""
        for task in tasks:
            url = served.get(task.task_id, {}).get("url")
            if task.meta is not None and not (run.has_meta and url and run.is_meta_of(task.meta, url)):
                trial.problems.append(f"meta: task {task.task_id} of {url} has the meta {task.meta}")
        if run.has_meta and not trial.partial and record.error is None:
            handle = RunHandle(run.run_id, app_context=self._harness.servers.app_context)
            if handle.result().order_verified and [task.meta for task in tasks] != list(range(len(run.targets) + 1)):
                trial.problems.append(f"meta: the entries have {[task.meta for task in tasks]}")

    def _served_tasks(self, job_id: str | None) -> list[dict[str, Any]]:
        return self._jobs[job_id]["tasks"] if job_id in self._jobs else []

    def _check_counts(self, trial: Trial, run: Run, tasks: list[Any], served: dict[str, Any]) -> None:
        done = sum(task.is_success for task in tasks)
        gone = sum(task.gone for task in tasks)
        right = [(one["succeeded"], one["gone"], one["succeeded"] + one["failed"]) for one in run.counts]
        if (done, gone, len(tasks)) not in right:
            trial.problems.append(f"contents: {done} pages and {gone} gone of {len(tasks)}, wanted {run.succeeded}")

    def _check_order(self, trial: Trial, handle: RunHandle) -> None:
        """Check pages whose order differs from the targets: the result must not call the order verified."""
        if not trial.is_shuffled or handle.result().order_verified:
            trial.problems.append("contents: the pages are not in the order of the targets")
        else:
            self._harness.events[ORDER_NOT_PROVEN] += 1


def _hash(content: bytes | None) -> str:
    return hashlib.sha256(content or b"").hexdigest()


def _has_ended(job: dict[str, Any]) -> bool:
    return job["canceled"] or job["status"] in {"success", "error", "canceled"}
