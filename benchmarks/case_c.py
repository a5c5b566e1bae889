"""C: very many jobs wait. The cost of waiting, and the time until all results are in when all jobs end together."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks import case_a, measure
from benchmarks.pages import WARM, batches
from benchmarks.report import Outcome, Row
from benchmarks.servers import RedisServer
from benchmarks.workers import Workers

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.ours import Ours

_PAGE = 2_000
#: Seconds of a job at the API, longer than any hold. Moving the stand-in's clock ends all jobs at once.
_SECONDS = 7_200.0
_ENQUEUE, _QUEUES, _MEMORY, _CPU = 60.0, 10.0, 20e6, 5.0
_PER_HUNDRED, _BESIDES = 1.1, 4.0
_SAMPLE, _TIMEOUT = 1.0, 1_800.0


@dataclass(slots=True)
class _Hold:
    """The samples taken while all jobs waited."""

    idle: dict[int, int]
    requests: list[int] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    unacked: list[int] = field(default_factory=list)
    growth: int = 0


def play(bench: Bench) -> Outcome:
    """Enqueue all runs, hold them beside bare workers, then let all jobs end."""
    rate = case_a.jobs_per_second(bench)
    bench.stand_in.reset()
    with bench.ours() as ours, ours.working() as workers:
        ours.run(batches(WARM, 1, _PAGE))
        idle = workers.rss()
        bench.stand_in.reset()
        figures, handles = _enqueue(bench, ours)
        time.sleep(bench.sizes.c_settle)
        figures["settling"] = bench.stand_in.requests("get_job", "list_jobs")
        bench.say(f"holding {bench.sizes.c_runs} jobs for {bench.sizes.c_hold:g} s")
        figures |= _held(bench, ours, workers, idle)
        start = time.perf_counter()
        bench.stand_in.advance(_SECONDS)
        ours.wait(handles, _TIMEOUT)
        figures |= {"ending": time.perf_counter() - start, "predicted": bench.sizes.c_runs / rate}
    return Outcome(_rows(bench, figures), figures)


def _enqueue(bench: Bench, ours: Ours) -> tuple[dict[str, Any], list[Any]]:
    """Return the seconds to enqueue all runs and to buy their jobs, and the runs."""
    work = batches(bench.sizes.c_runs, 1, _PAGE, _SECONDS)
    start = time.perf_counter()
    handles = ours.enqueue_all(work)
    enqueued = time.perf_counter() - start

    def bought() -> bool:
        return int(bench.stand_in.stats().get("jobs_created", 0)) >= bench.sizes.c_runs

    measure.until(bought, _TIMEOUT, "all jobs bought", pause=0.5)
    return {"enqueued": enqueued, "bought": time.perf_counter() - start}, handles


def _held(bench: Bench, ours: Ours, workers: Workers, idle: dict[int, int]) -> dict[str, Any]:
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(bench.new_folder()))
        environment = {"BARE_BROKER": server.url(1)}
        bare = stack.enter_context(
            Workers("benchmarks.bare_app", server.url(1), bench.pool, environment, bench.new_folder())
        )
        bare_redis, our_redis = [server.process], [ours.server.process]

        def used() -> list[float]:
            both = measure.cpu_seconds(our_redis), measure.cpu_seconds(bare_redis)
            return [workers.cpu(), bare.cpu(), *both]

        before, start = used(), time.perf_counter()
        hold = _watch(bench, ours, workers, idle)
        seconds = time.perf_counter() - start
        ours_cpu, bare_cpu, store_cpu, broker_cpu = (
            100 * (late - early) / seconds for late, early in zip(used(), before, strict=True)
        )
    return {
        "requests": hold.requests,
        "messages": hold.messages,
        "unacked": hold.unacked,
        "memory_growth": hold.growth,
        "cpu": {"workers": ours_cpu, "bare": bare_cpu, "redis": store_cpu, "bare_redis": broker_cpu},
        "cpu_beyond": ours_cpu + store_cpu - bare_cpu - broker_cpu,
    }


def _watch(bench: Bench, ours: Ours, workers: Workers, idle: dict[int, int]) -> _Hold:
    """Sample once a second; count requests by interval, from the API's own log."""
    hold, sizes = _Hold(idle), bench.sizes
    start, last = time.perf_counter(), max(entry["index"] for entry in bench.stand_in.log())
    with ours.broker.open(1) as broker:
        while time.perf_counter() - start < sizes.c_hold:
            hold.messages.append(int(broker.llen(ours.settings.queue)))
            hold.unacked.append(int(broker.hlen("unacked")))
            grown = [bytes_ - idle.get(pid, bytes_) for pid, bytes_ in workers.rss().items()]
            hold.growth = max(hold.growth, *grown)
            time.sleep(_SAMPLE)
    hold.requests = measure.an_interval([entry["at"] for entry in bench.stand_in.log(last)], sizes.c_interval)
    return hold


def _rows(bench: Bench, figures: dict[str, Any]) -> list[Row]:
    runs, cpu = bench.sizes.c_runs, figures["cpu"]
    allowed = _PER_HUNDRED * runs / 100 + _BESIDES
    interval = f"in {bench.sizes.c_interval:g} s, the most of {len(figures['requests'])}"
    return [
        Row("C", f"{runs:,} runs enqueued", figures["enqueued"], "s", _ENQUEUE),
        Row("C", "all their jobs bought", figures["bought"], "s"),
        Row("C", "API requests", max(figures["requests"]), "", allowed, note=interval),
        Row("C", "messages in the queue", measure.percentile(figures["messages"], 95), "", _QUEUES, note="95 %"),
        Row("C", "unacked messages", measure.percentile(figures["unacked"], 95), "", _QUEUES, note="95 %"),
        Row("C", "memory of a worker process over idle", figures["memory_growth"], "B", _MEMORY),
        Row("C", "CPU beyond bare workers, Redis included", figures["cpu_beyond"], "% of a core", _CPU),
        Row("C", "CPU of the workers", cpu["workers"], "% of a core", note=f"bare ones: {cpu['bare']:.1f}"),
        Row("C", "all results in after the jobs' end", figures["ending"], "s", figures["predicted"], note="A's rate"),
    ]
