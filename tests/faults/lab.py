"""One lab: its servers and workers, and the trials that are in flight."""

from __future__ import annotations

import heapq
import os
import random
import signal
import time
from collections import Counter, defaultdict
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from redis.exceptions import RedisError

from tests.faults.fleet import Fleet
from tests.faults.plans import ANY, Plans
from tests.faults.points import POINTS
from tests.faults.servers import Servers
from tests.faults.starting import start
from tests.faults.trials import STRANGER
from tests.faults.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.faults.trials import Trial

#: Seconds that a trial may take where not many others die beside it, and that pass between two looks at all in flight.
PATIENCE, LOOK = 90.0, 0.08
#: What the lab waits after the last end for what comes late.
_AFTERMATH = 0.7
#: After so long without a record a message is taken for lost by the broker; who sent it would send it again.
_LOST_MESSAGE = 15.0
DEFAULT_SHAPE = ("threads:4", "threads:4", "threads:4", "prefork:3", "prefork:3")

#: A step that only writes a line of the log: its death costs no purchase and no page. It runs so seldom that a trial
#: could wait for it for ever.
_LOG_ONLY = "report_orphans"


class Lab:
    """Plays trials against real workers, a window of them at a time."""

    def __init__(
        self,
        folder: Path,
        *,
        shape: Iterable[str] = DEFAULT_SHAPE,
        seed: int = 0,
        fsync: str = "always",
        without: str = "",
        patience: float = PATIENCE,
        **settings: Any,
    ) -> None:
        self.folder, self.plans = folder, Plans(folder)
        self.servers = Servers(folder, fsync=fsync, **settings)
        self._shape, self._without, self._patience = tuple(shape), without, patience
        self.dice = random.Random(f"world {seed}")
        self.flying: dict[int, Trial] = {}
        self.stops: list[tuple[int, float, float]] = []
        self.guards: list[tuple[str, int, float]] = []
        #: What each run came by: when, where, in which process.
        self.traces: dict[str, list[tuple[float, str, int]]] = defaultdict(list)
        self.events: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()
        self._timeline: list[tuple[float, int, Callable[[], None]]] = []
        self._ticket = count()
        self.last_start = 0.0
        self._looked = 0.0

    def __enter__(self) -> Self:
        self.servers.__enter__()
        try:
            more = {"LAB_WITHOUT": self._without} if self._without else {}
            self.fleet = Fleet(self.folder / "workers", self.servers.environment(self.folder, **more), self._shape)
            self.fleet.start()
        except BaseException:
            self.__exit__()
            raise
        self.world = World(self)
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "fleet"):
            self.fleet.stop()
        self.servers.__exit__()

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Will do something, from the lab's own thread."""
        heapq.heappush(self._timeline, (time.monotonic() + seconds, next(self._ticket), act))

    def play(self, trials: Iterable[Trial], *, window: int = 120, weather: bool = False) -> list[Trial]:
        """Plays all of these to their end, so many at a time; with `weather` the store restarts now and then."""
        waiting, played = iter(trials), []
        if weather:
            self.world.begin_weather()
        more = True
        while more or self.flying:
            while more and len(self.flying) < window and not self.world.frozen:
                more = self._launch(waiting, played)
                if len(self.flying) % 10 == 0:
                    self._turn()
            self._turn()
            self.world.blow()
            time.sleep(0.005)
        self.world.end_weather()
        self._aftermath()
        return played

    def _launch(self, waiting: Iterator[Trial], played: list[Trial]) -> bool:
        trial = next(waiting, None)
        if trial is None:
            return False
        trial.began, self.last_start = time.time(), time.monotonic()
        played.append(trial)
        self.flying[trial.number] = trial
        if manners := trial.manners():
            self.servers.sandbox._ask("POST", "faults", manners)
        if trial.rules:
            trial.rule_ids = self.servers.sandbox._ask("POST", "faults", trial.rules)["ids"]
        for (run, point), actions in trial.points().items():
            put = partial(self._put, trial, run, point, actions)
            if after := actions[0]["after"]:
                self.later(after, put)
            else:
                put()
        for seconds, what in trial.acts:
            self.later(seconds, lambda what=what: self.world.do(what, trial))
        self._start(trial)
        return True

    def _put(self, trial: Trial, run: int | None, point: str, actions: list[dict[str, Any]]) -> None:
        if trial.number in self.flying:
            self.plans.put(ANY if run is None else trial.runs[run].run_id, point, actions)

    def _start(self, trial: Trial) -> None:
        try:
            start(self.servers, trial)
        except RedisError:
            # The store takes nothing just now: a caller would try again.
            self.later(0.3, lambda: self._start(trial))

    def unknown_points(self) -> set[str]:
        """Points that workers reached and the catalogue does not have."""
        return {point for point in self.plans.all_reached() - set(POINTS) if _LOG_ONLY not in point}

    def again(self, trial: Trial) -> None:
        """Starts a trial once more, where its first message may have been lost before anything was written."""
        self._start(trial)

    def story(self, trial: Trial) -> list[str]:
        """All that the runs of a trial came by."""
        return [
            f"{at - trial.began:+8.3f} {point} (pid {pid})"
            for run in trial.runs
            for at, point, pid in self.traces.get(run.run_id, ())
        ]

    def _turn(self) -> None:
        """One turn: what workers tell, what is due, who has ended."""
        self.fleet.tend()
        for note in self.plans.notes():
            self._heard(note)
        while self._timeline and self._timeline[0][0] <= time.monotonic():
            heapq.heappop(self._timeline)[2]()
        if time.monotonic() - self._looked > LOOK:
            self._look()
            self._looked = time.monotonic()

    def _heard(self, note: dict[str, Any]) -> None:
        if "guard" in note:
            self.guards.append((note["guard"], note["pid"], note["at"]))
        elif "trace" in note:
            for run in note["runs"]:
                self.traces[run].append((note["at"], note["trace"], note["pid"]))
        elif "hit" in note:
            self._hit(note)

    def _hit(self, note: dict[str, Any]) -> None:
        if trial := self.flying.get(note["trial"]):
            trial.hits.append(note)
        kind = note["kind"]
        if kind.startswith("kill"):
            self.kills[note["hit"]] += 1
        self.events[kind if kind != "tell" else note["what"]] += 1
        if kind == "stop":
            self.later(note["seconds"], lambda: self._go_on(note["pid"], note["at"]))
        elif kind == "tell":
            self.world.do(note["what"], trial)
            self.plans.done(note["ticket"])

    def _go_on(self, pid: int, stopped: float) -> None:
        self.stops.append((pid, stopped, time.time()))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def _look(self) -> None:
        """Asks the store which runs have ended, and been reported."""
        flying = list(self.flying.values())
        keys = self.servers.producer.store.keys
        try:
            with self.servers.producer.store.client.pipeline(transaction=False) as pipe:
                for trial in flying:
                    for run in trial.runs:
                        pipe.hmget(keys.run(run.run_id), "outcome", "waiting")
                answers = iter(pipe.execute())
        except RedisError:
            return
        now = time.time()
        for trial in flying:
            found = [next(answers) for _ in trial.runs]
            if self._is_over(trial, found):
                trial.ended = trial.ended or now
                if now - trial.ended < trial.linger:
                    continue
            elif trial.by_message and found[0][1] is None and now - trial.began > _LOST_MESSAGE:
                self.world.ask_for_message(trial)
                continue
            elif now - trial.began > self._patience:
                trial.ended = now
                trial.problems.append(f"no end within {self._patience:.0f} s: {found}")
            else:
                continue
            self._landed(trial)

    def _is_over(self, trial: Trial, found: list[list[bytes | None]]) -> bool:
        if trial.start != STRANGER:
            return all(outcome and int(waiting or 0) <= 0 for outcome, waiting in found)
        with suppress(RedisError, OSError):
            return self.servers.producer.app.AsyncResult(trial.runs[0].run_id).ready()
        return False

    def _landed(self, trial: Trial) -> None:
        del self.flying[trial.number]
        for run in trial.runs:
            self.plans.drop(run.run_id)
        for plan in trial.plans:
            if plan.run is None:
                self.plans.drop(ANY, plan.point)

    def _aftermath(self) -> None:
        """Lets what is frozen go on, and what comes late come."""
        deadline = time.monotonic() + _AFTERMATH
        while self._timeline or time.monotonic() < deadline:
            self._turn()
            time.sleep(0.01)
        self.plans.drop(ANY)

    def clear(self) -> None:
        """Forgets a round that was judged."""
        self.traces.clear()
        self.stops.clear()
        self.guards.clear()
        self.servers.sandbox.reset()
        with suppress(RedisError):
            self.servers.producer.store.client.flushdb()
        for slot in self.fleet.slots:
            with suppress(FileNotFoundError):
                os.truncate(self.fleet.log(slot), 0)
