"""Faults that affect all runs at once: servers that die, an unreachable API, and the death of all workers."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from scrape_do_celery.runs import RunHandle
from scrape_do_celery.store.commands.webhook_trust import TrustWebhooks
from tests.faults.servers import PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from scrape_do_sandbox import SandboxProcess
    from tests.faults.harness import Harness
    from tests.faults.trials import Trial

#: Seconds between two spontaneous restarts of the store.
_RESTART_PAUSE = (5.0, 40.0)

#: Seconds after which an operator trusts deliveries anew. Without that, each round would check its first pages only.
_TRUST_PAUSE = 10.0

#: Seconds of writes that the store loses at a power cut, and seconds between the last start of a run and the cut.
_LOST_SECONDS, _IDLE_SECONDS = 2.0, (0.3, 1.5)

#: Conditions of the API for a whole round. A job appears in the list before its visibility grace ends.
_API_CONDITIONS: dict[str, list[dict[str, Any]]] = {
    "a good API": [],
    "a late list": [{"action": "list_lag", "kind": "list_jobs", "seconds": 0.5}],
    "a list that knows no start": [{"action": "list_null_start", "kind": "list_jobs"}],
    "a list whose pages overlap": [{"action": "list_repeats", "kind": "list_jobs", "count": 3}],
    "an API whose clock is ahead": [{"action": "skew", "seconds": 60.0}],
    "an API whose clock is behind": [{"action": "skew", "seconds": -60.0}],
}


class Nemesis:
    """A source of faults that affect more than one run."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        #: Set while the API is frozen: no caller may ask the sandbox, the lab included.
        self.frozen = False
        self._next_restart = float("inf")
        self._next_trust = 0.0

    def apply(self, what: str, trial: Trial | None) -> None:
        """Carry out one fault by its name."""
        getattr(self, what)(trial)

    def start_restarts(self) -> None:
        """Start to kill the store at random times."""
        self._next_restart = time.monotonic() + self._harness.rng.uniform(*_RESTART_PAUSE)

    def stop_restarts(self) -> None:
        """Stop killing the store."""
        self._next_restart = float("inf")

    def restart_if_due(self) -> None:
        """Kill the store if its restart is due."""
        if time.monotonic() > self._next_restart:
            self.restart_store()
            self._harness.events["restart_store"] += 1
            self.start_restarts()

    def trust_webhooks_if_due(self) -> None:
        """Trust the deliveries of the account anew if the time for this has come."""
        if time.monotonic() > self._next_trust:
            self._next_trust = time.monotonic() + _TRUST_PAUSE
            self.trust_webhooks()

    def trust_webhooks(self, _: Trial | None = None) -> None:
        """Trust the deliveries of the account anew, as an operator does. The next pages are compared."""
        servers = self._harness.servers
        with suppress(RedisError):
            servers.app_context.store.run(TrustWebhooks(servers.settings.account_id))

    def set_api_conditions(self) -> None:
        """Set the condition of the API's list for a round: late, oddly sorted, full or trimmed, with its own clock."""
        sandbox, name = self._sandbox, self._harness.rng.choice(list(_API_CONDITIONS))
        sandbox.configure(full_list=self._harness.rng.random() < 0.5)
        for rule in _API_CONDITIONS[name]:
            sandbox.fault(**rule)
        self._harness.events[f"round with {name}"] += 1

    def restart_store(self, _: Trial | None = None) -> None:
        """Kill the store's server, and start it with its data on disk."""
        self._harness.servers.store.kill()
        self._harness.servers.store.restart()

    def restart_broker(self, _: Trial | None = None) -> None:
        """Kill the broker's server together with the results, and start it again."""
        self._harness.servers.broker.kill()
        self._harness.servers.broker.restart()

    def flush_broker(self, _: Trial | None = None) -> None:
        """Delete every message of the broker."""
        with self._harness.servers.app_context.app.connection_for_write() as connection:
            connection.default_channel.client.flushdb()
        for trial in self._harness.in_flight.values():
            if trial.by_message:
                # The message was the run's only trace, so its sender would send it again.
                self._harness.start_again(trial)

    def check_lost_message(self, trial: Trial) -> None:
        """Start a run again if the broker lost the message that is the run's only trace."""
        with self._harness.servers.app_context.app.connection_for_write() as connection:
            client = connection.default_channel.client
            held = any(trial.runs[0].run_id.encode() in text for text in client.hvals("unacked"))
            waits = any(trial.runs[0].run_id.encode() in text for text in client.lrange(PREFIX, 0, -1))
        if not held and not waits:
            self._harness.events["message that the broker lost"] += 1
            self._harness.start_again(trial)

    def freeze_api(self, _: Trial | None = None) -> None:
        """Freeze the API for longer than a `POST` may take. Then the API answers all requests."""
        self.frozen = True
        os.kill(self._harness.servers.sandbox.pid, signal.SIGSTOP)
        self._harness.call_later(self._harness.rng.uniform(0.5, 2.0), lambda: self._sandbox)

    @property
    def _sandbox(self) -> SandboxProcess:
        """The sandbox, resumed if it was frozen: a frozen sandbox cannot be configured."""
        sandbox = self._harness.servers.sandbox
        if self.frozen:
            os.kill(sandbox.pid, signal.SIGCONT)
            self.frozen = False
        return sandbox

    def api_down(self, _: Trial | None = None) -> None:
        """Reset the next calls of all callers."""
        self._fault_all_calls("reset_before")

    def api_503(self, _: Trial | None = None) -> None:
        """Answer the next calls of all callers with 503."""
        self._fault_all_calls("status", status=503)

    def api_429(self, _: Trial | None = None) -> None:
        """Answer the next calls of all callers with 429."""
        self._fault_all_calls("status", status=429, retry_after=0.5)

    def hide_job(self, trial: Trial | None) -> None:
        """Hide the job of a run."""
        if trial:
            self._sandbox.fault("status", kind="get_job", target=trial.host, status=503)

    def refuse_account(self, _: Trial | None) -> None:
        """Refuse the next check of the account."""
        self._sandbox.fault("status", kind="me", status=401, times=1)

    def _fault_all_calls(self, action: str, **more: object) -> None:
        times = self._harness.rng.randrange(5, 40)
        self._sandbox.fault(action, times=times, **more)

    def api_401(self, _: Trial | None = None) -> None:
        """Refuse the token for some seconds."""
        self._sandbox.configure(token="another-token")
        self._harness.call_later(self._harness.rng.uniform(0.5, 3.0), lambda: self._sandbox.configure(token=None))

    def low_memory(self, _: Trial | None = None) -> None:
        """Leave the store without free memory for some seconds."""
        client = self._harness.servers.app_context.store.client
        with suppress(RedisError):
            client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 1024)
        self._harness.call_later(self._harness.rng.uniform(0.5, 2.0), self._restore_memory)

    def _restore_memory(self) -> None:
        with suppress(RedisError):
            self._harness.servers.app_context.store.client.config_set("maxmemory", 0)
            return
        self._harness.call_later(0.2, self._restore_memory)

    def kill_all(self, _: Trial | None = None) -> None:
        """Kill every worker at the same moment."""
        for slot in self._harness.worker_pool.slots:
            if slot.pid:
                with suppress(ProcessLookupError):
                    os.killpg(slot.pid, signal.SIGKILL)

    def cancel(self, trial: Trial | None) -> None:
        """Cancel the run."""
        if trial:
            with suppress(RedisError):
                RunHandle(trial.runs[0].run_id, app_context=self._harness.servers.app_context).cancel()

    def revoke(self, trial: Trial | None) -> None:
        """Revoke the run's Celery id."""
        if trial:
            self._harness.servers.app_context.app.control.revoke(trial.runs[0].run_id)

    def schedule_power_cut(self) -> None:
        """Cut the power of the store's machine soon. The disk keeps the state of two seconds before."""
        sizes: list[tuple[float, int]] = []
        # A run that loses its whole record has no owner. Wait after the last start, so that every start is kept.
        after = _LOST_SECONDS + self._harness.rng.uniform(*_IDLE_SECONDS)
        self._harness.last_start = time.monotonic()

        def watch() -> None:
            sizes.append((time.monotonic(), self._log_file().stat().st_size))
            if time.monotonic() < self._harness.last_start + after:
                self._harness.call_later(0.1, watch)
            else:
                self._cut_power(sizes)

        self._harness.call_later(0.0, watch)

    def _cut_power(self, sizes: list[tuple[float, int]]) -> None:
        store, file = self._harness.servers.store, self._log_file()
        store.kill()
        kept = max(size for moment, size in sizes if moment <= sizes[-1][0] - _LOST_SECONDS)
        with file.open("r+b") as log:
            log.seek(kept)
            lost = log.read()
            log.truncate(kept)
        store.restart()
        self._harness.events["power cut"] += 1
        for trial in list(self._harness.in_flight.values()):
            if trial.runs[0].run_id.encode() in lost:
                trial.hits.append(
                    {"hit": "power cut", "kind": "cut", "main": True, "at": time.time(), "pid": store.pid}
                )

    def _log_file(self) -> Path:
        return max((self._harness.folder / "store" / "appendonlydir").glob("*.incr.aof"))
