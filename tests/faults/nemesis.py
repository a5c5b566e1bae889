"""What happens to everybody at once: servers that die, an API that is away, workers that all fall over."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from scrape_do_celery.runs import RunHandle
from tests.faults.servers import PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from scrape_do_celery.sandbox import SandboxProcess
    from tests.faults.harness import Harness
    from tests.faults.trials import Trial

#: Seconds between two restarts of the store by themselves.
_RESTART_PAUSE = (5.0, 40.0)

#: What the store loses at a power cut, and how long before that the last run was started, in seconds.
_LOST_SECONDS, _IDLE_SECONDS = 2.0, (0.3, 1.5)

#: How the API may be for a whole round; a job shows in the list before the time that it is given to appear is over.
_API_CONDITIONS: dict[str, list[dict[str, Any]]] = {
    "a good API": [],
    "a late list": [{"action": "list_lag", "kind": "list_jobs", "seconds": 0.5}],
    "a list that knows no start": [{"action": "list_null_start", "kind": "list_jobs"}],
    "a list whose pages overlap": [{"action": "list_repeats", "kind": "list_jobs", "count": 3}],
    "an API whose clock is ahead": [{"action": "skew", "seconds": 60.0}],
    "an API whose clock is behind": [{"action": "skew", "seconds": -60.0}],
}


class Nemesis:
    """Carries out what is bigger than one run."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        #: The API stands still: nothing may be asked of the sandbox, not even by the lab.
        self.frozen = False
        self._next_restart = float("inf")

    def apply(self, what: str, trial: Trial | None) -> None:
        """Carries one thing out, by its name."""
        getattr(self, what)(trial)

    def start_restarts(self) -> None:
        """From now on the store is killed now and then."""
        self._next_restart = time.monotonic() + self._harness.rng.uniform(*_RESTART_PAUSE)

    def stop_restarts(self) -> None:
        """The store is left alone again."""
        self._next_restart = float("inf")

    def restart_if_due(self) -> None:
        """Kills the store where it is time for it."""
        if time.monotonic() > self._next_restart:
            self.restart_store()
            self._harness.events["restart_store"] += 1
            self.start_restarts()

    def set_api_conditions(self) -> None:
        """How the API's list is, for a whole round: late, sorted oddly, in full or trimmed, by a clock of its own."""
        sandbox, name = self._sandbox, self._harness.rng.choice(list(_API_CONDITIONS))
        sandbox.configure(full_list=self._harness.rng.random() < 0.5)
        for rule in _API_CONDITIONS[name]:
            sandbox.fault(**rule)
        self._harness.events[f"round with {name}"] += 1

    def restart_store(self, _: Trial | None = None) -> None:
        """The store's server dies, and is up again with what it had on disk."""
        self._harness.servers.store.kill()
        self._harness.servers.store.restart()

    def restart_broker(self, _: Trial | None = None) -> None:
        """The broker's server dies, with the results, and is up again."""
        self._harness.servers.broker.kill()
        self._harness.servers.broker.restart()

    def flush_broker(self, _: Trial | None = None) -> None:
        """Somebody empties the broker: every message is gone."""
        with self._harness.servers.app_context.app.connection_for_write() as connection:
            connection.default_channel.client.flushdb()
        for trial in self._harness.in_flight.values():
            if trial.by_message:
                # Its message was all that there was: who sent it would send it again.
                self._harness.start_again(trial)

    def check_lost_message(self, trial: Trial) -> None:
        """A message that was all there is of a run, and has not come: does the broker still hold it?"""
        with self._harness.servers.app_context.app.connection_for_write() as connection:
            client = connection.default_channel.client
            held = any(trial.runs[0].run_id.encode() in text for text in client.hvals("unacked"))
            waits = any(trial.runs[0].run_id.encode() in text for text in client.lrange(PREFIX, 0, -1))
        if not held and not waits:
            self._harness.events["message that the broker lost"] += 1
            self._harness.start_again(trial)

    def freeze_api(self, _: Trial | None = None) -> None:
        """The API stands still for longer than a `POST` may take, and then does all it was asked."""
        self.frozen = True
        os.kill(self._harness.servers.sandbox.pid, signal.SIGSTOP)
        self._harness.call_later(self._harness.rng.uniform(0.5, 2.0), lambda: self._sandbox)

    @property
    def _sandbox(self) -> SandboxProcess:
        """The sandbox, which goes on if it was frozen: it could not be told anything."""
        sandbox = self._harness.servers.sandbox
        if self.frozen:
            os.kill(sandbox.pid, signal.SIGCONT)
            self.frozen = False
        return sandbox

    def api_down(self, _: Trial | None = None) -> None:
        """The next calls of everybody meet a closed door."""
        self._fault_all_calls("reset_before")

    def api_503(self, _: Trial | None = None) -> None:
        """The next calls of everybody fail."""
        self._fault_all_calls("status", status=503)

    def api_429(self, _: Trial | None = None) -> None:
        """The next calls of everybody come too often."""
        self._fault_all_calls("status", status=429, retry_after=0.5)

    def hide_job(self, trial: Trial | None) -> None:
        """The job of a run is not shown any more."""
        if trial:
            self._sandbox.fault("status", kind="get_job", target=trial.host, status=503)

    def refuse_account(self, _: Trial | None) -> None:
        """The next look at the account is refused."""
        self._sandbox.fault("status", kind="me", status=401, times=1)

    def _fault_all_calls(self, action: str, **more: object) -> None:
        times = self._harness.rng.randrange(5, 40)
        self._sandbox.fault(action, times=times, **more)

    def api_401(self, _: Trial | None = None) -> None:
        """The token is not taken for some seconds."""
        self._sandbox.configure(token="another-token")
        self._harness.call_later(self._harness.rng.uniform(0.5, 3.0), lambda: self._sandbox.configure(token=None))

    def low_memory(self, _: Trial | None = None) -> None:
        """The store has no room for some seconds."""
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
        """Every worker dies at the same moment."""
        for slot in self._harness.worker_pool.slots:
            if slot.pid:
                with suppress(ProcessLookupError):
                    os.killpg(slot.pid, signal.SIGKILL)

    def cancel(self, trial: Trial | None) -> None:
        """Somebody cancels the run."""
        if trial:
            with suppress(RedisError):
                RunHandle(trial.runs[0].run_id, app_context=self._harness.servers.app_context).cancel()

    def revoke(self, trial: Trial | None) -> None:
        """Somebody revokes its Celery id."""
        if trial:
            self._harness.servers.app_context.app.control.revoke(trial.runs[0].run_id)

    def schedule_power_cut(self) -> None:
        """In a moment the power of the store's machine will fail: what its disk had two seconds before is left."""
        sizes: list[tuple[float, int]] = []
        # A run whose record is lost with the rest is nobody's any more: however long all starts take, they are kept.
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
