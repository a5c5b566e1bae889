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
    from tests.faults.lab import Lab
    from tests.faults.trials import Trial

#: Seconds between two restarts of the store by themselves.
_CALM = (5.0, 40.0)

#: What the store loses at a power cut, and how long before that the last run was started, in seconds.
_LOST, _BEFORE = 2.0, (0.3, 1.5)

#: How the API may be for a whole round; a job shows in the list before the time that it is given to appear is over.
_CLIMATES: dict[str, list[dict[str, Any]]] = {
    "a good API": [],
    "a late list": [{"action": "list_lag", "kind": "list_jobs", "seconds": 0.5}],
    "a list that knows no start": [{"action": "list_null_start", "kind": "list_jobs"}],
    "a list whose pages overlap": [{"action": "list_repeats", "kind": "list_jobs", "count": 3}],
    "an API whose clock is ahead": [{"action": "skew", "seconds": 60.0}],
    "an API whose clock is behind": [{"action": "skew", "seconds": -60.0}],
}


class World:
    """Carries out what is bigger than one run."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        #: The API stands still: nothing may be asked of the sandbox, not even by the lab.
        self.frozen = False
        self._next_storm = float("inf")

    def do(self, what: str, trial: Trial | None) -> None:
        """Carries one thing out, by its name."""
        getattr(self, what)(trial)

    def begin_weather(self) -> None:
        """From now on the store is killed now and then."""
        self._next_storm = time.monotonic() + self._lab.dice.uniform(*_CALM)

    def end_weather(self) -> None:
        """The store is left alone again."""
        self._next_storm = float("inf")

    def blow(self) -> None:
        """Kills the store where it is time for it."""
        if time.monotonic() > self._next_storm:
            self.restart_store()
            self._lab.events["restart_store"] += 1
            self.begin_weather()

    def change_climate(self) -> None:
        """How the API's list is, for a whole round: late, sorted oddly, in full or trimmed, by a clock of its own."""
        sandbox, name = self._sandbox, self._lab.dice.choice(list(_CLIMATES))
        sandbox.configure(full_list=self._lab.dice.random() < 0.5)
        for rule in _CLIMATES[name]:
            sandbox.fault(**rule)
        self._lab.events[f"round with {name}"] += 1

    def restart_store(self, _: Trial | None = None) -> None:
        """The store's server dies, and is up again with what it had on disk."""
        self._lab.servers.store.kill()
        self._lab.servers.store.restart()

    def restart_broker(self, _: Trial | None = None) -> None:
        """The broker's server dies, with the results, and is up again."""
        self._lab.servers.broker.kill()
        self._lab.servers.broker.restart()

    def flush_broker(self, _: Trial | None = None) -> None:
        """Somebody empties the broker: every message is gone."""
        with self._lab.servers.producer.app.connection_for_write() as connection:
            connection.default_channel.client.flushdb()
        for trial in self._lab.flying.values():
            if trial.by_message:
                # Its message was all that there was: who sent it would send it again.
                self._lab.again(trial)

    def ask_for_message(self, trial: Trial) -> None:
        """A message that was all there is of a run, and has not come: does the broker still hold it?"""
        with self._lab.servers.producer.app.connection_for_write() as connection:
            client = connection.default_channel.client
            held = any(trial.runs[0].run_id.encode() in text for text in client.hvals("unacked"))
            waits = any(trial.runs[0].run_id.encode() in text for text in client.lrange(PREFIX, 0, -1))
        if not held and not waits:
            self._lab.events["message that the broker lost"] += 1
            self._lab.again(trial)

    def freeze_api(self, _: Trial | None = None) -> None:
        """The API stands still for longer than a `POST` may take, and then does all it was asked."""
        self.frozen = True
        os.kill(self._lab.servers.sandbox.pid, signal.SIGSTOP)
        self._lab.later(self._lab.dice.uniform(0.5, 2.0), lambda: self._sandbox)

    @property
    def _sandbox(self) -> SandboxProcess:
        """The sandbox, which goes on if it was frozen: it could not be told anything."""
        sandbox = self._lab.servers.sandbox
        if self.frozen:
            os.kill(sandbox.pid, signal.SIGCONT)
            self.frozen = False
        return sandbox

    def api_down(self, _: Trial | None = None) -> None:
        """The next calls of everybody meet a closed door."""
        self._for_all("reset_before")

    def api_503(self, _: Trial | None = None) -> None:
        """The next calls of everybody fail."""
        self._for_all("status", status=503)

    def api_429(self, _: Trial | None = None) -> None:
        """The next calls of everybody come too often."""
        self._for_all("status", status=429, retry_after=0.5)

    def mute(self, trial: Trial | None) -> None:
        """The job of a run is not shown any more."""
        if trial:
            self._sandbox.fault("status", kind="get_job", target=trial.host, status=503)

    def refuse_me(self, _: Trial | None) -> None:
        """The next look at the account is refused."""
        self._sandbox.fault("status", kind="me", status=401, times=1)

    def _for_all(self, action: str, **more: object) -> None:
        times = self._lab.dice.randrange(5, 40)
        self._sandbox.fault(action, times=times, **more)

    def api_401(self, _: Trial | None = None) -> None:
        """The token is not taken for some seconds."""
        self._sandbox.configure(token="another-token")
        self._lab.later(self._lab.dice.uniform(0.5, 3.0), lambda: self._sandbox.configure(token=None))

    def low_memory(self, _: Trial | None = None) -> None:
        """The store has no room for some seconds."""
        client = self._lab.servers.producer.store.client
        with suppress(RedisError):
            client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 1024)
        self._lab.later(self._lab.dice.uniform(0.5, 2.0), self._room)

    def _room(self) -> None:
        with suppress(RedisError):
            self._lab.servers.producer.store.client.config_set("maxmemory", 0)
            return
        self._lab.later(0.2, self._room)

    def kill_all(self, _: Trial | None = None) -> None:
        """Every worker dies at the same moment."""
        for slot in self._lab.fleet.slots:
            if slot.pid:
                with suppress(ProcessLookupError):
                    os.killpg(slot.pid, signal.SIGKILL)

    def cancel(self, trial: Trial | None) -> None:
        """Somebody cancels the run."""
        if trial:
            with suppress(RedisError):
                RunHandle(trial.runs[0].run_id, producer=self._lab.servers.producer).cancel()

    def revoke(self, trial: Trial | None) -> None:
        """Somebody revokes its Celery id."""
        if trial:
            self._lab.servers.producer.app.control.revoke(trial.runs[0].run_id)

    def expect_power_cut(self) -> None:
        """In a moment the power of the store's machine will fail: what its disk had two seconds before is left."""
        sizes: list[tuple[float, int]] = []
        # A run whose record is lost with the rest is nobody's any more: however long all starts take, they are kept.
        after = _LOST + self._lab.dice.uniform(*_BEFORE)
        self._lab.last_start = time.monotonic()

        def watch() -> None:
            sizes.append((time.monotonic(), self._log_file().stat().st_size))
            if time.monotonic() < self._lab.last_start + after:
                self._lab.later(0.1, watch)
            else:
                self._cut(sizes)

        self._lab.later(0.0, watch)

    def _cut(self, sizes: list[tuple[float, int]]) -> None:
        store, file = self._lab.servers.store, self._log_file()
        store.kill()
        kept = max(size for moment, size in sizes if moment <= sizes[-1][0] - _LOST)
        with file.open("r+b") as log:
            log.seek(kept)
            lost = log.read()
            log.truncate(kept)
        store.restart()
        self._lab.events["power cut"] += 1
        for trial in list(self._lab.flying.values()):
            if trial.runs[0].run_id.encode() in lost:
                trial.hits.append(
                    {"hit": "power cut", "kind": "cut", "main": True, "at": time.time(), "pid": store.pid}
                )

    def _log_file(self) -> Path:
        return max((self._lab.folder / "store" / "appendonlydir").glob("*.incr.aof"))
