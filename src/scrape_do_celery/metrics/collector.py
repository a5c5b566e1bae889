"""The collector for `prometheus_client`: each scrape reads the store once and turns the values into samples."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from redis.exceptions import RedisError, ResponseError

from scrape_do_celery.metrics.account import NO_TOKEN, AccountReader, AccountStatus
from scrape_do_celery.metrics.definitions import BY_NAME, EXPIRY_WINDOWS, METRICS
from scrape_do_celery.metrics.live_runs import LiveRunCounter
from scrape_do_celery.metrics.samples import Samples, account_samples, add_live_runs, store_samples
from scrape_do_celery.metrics.spend import read_spend_samples
from scrape_do_celery.store.commands.prices import NoteAccountFigures
from scrape_do_celery.store.commands.stats import LATENCY_BUCKETS, ReadStats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric as Family

    from scrape_do_celery.config import Settings
    from scrape_do_celery.store import Store

Families: TypeAlias = "Iterator[Family]"


class StoreCollector(Collector):
    """A collector for all metrics of `METRICS`. If `live_runs` is not started, each scrape counts the live runs."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._account, self._noted = AccountReader(settings), AccountStatus(NO_TOKEN)
        self.live_runs = LiveRunCounter(store)

    def describe(self) -> Families:
        """Return the metrics without samples: a registration must not send requests."""
        return _make_families({})

    def collect(self) -> Families:
        """Return all metrics with current values. If the store does not answer, return only `scrape_do_store_up`."""
        try:
            found = self._read_samples()
        except RedisError:
            return iter([_make_family("scrape_do_store_up", {(): 0.0})])
        return _make_families(found)

    def _read_samples(self) -> Samples:
        store, settings = self._store, self._settings
        mine = settings.known_account
        stats = store.run(ReadStats(mine, tuple(EXPIRY_WINDOWS)))
        if not self.live_runs.is_alive():
            self.live_runs.count_once()
        pause = max(0.0, (stats.paused_until or 0.0) - stats.now)
        found: Samples = {"scrape_do_store_up": {(): 1.0}, **self._read_memory(), **store_samples(stats, settings)}
        if (last := self.live_runs.last_count()) is not None:
            add_live_runs(found, stats.now, *last)
        status = self._account.read_status(pause)
        self._note_account(status, stats.now)
        return found | read_spend_samples(store, stats.now) | account_samples(status, mine)

    def _note_account(self, status: AccountStatus, now: float) -> None:
        """Note a new answer of the API in the store, for `scrape-do audit`. A full store does without."""
        if status.user is not None and status is not self._noted:
            self._noted = status
            with suppress(RedisError):
                self._store.run(NoteAccountFigures.of(self._settings.account_id, status.user, now))

    def _read_memory(self) -> Samples:
        try:
            info = self._store.call_server(lambda client: client.info("memory"))
        except ResponseError:
            return {}  # the user of this connection may not call INFO
        return {
            "scrape_do_store_memory_bytes": {(): float(info.get("used_memory", 0))},
            "scrape_do_store_memory_limit_bytes": {(): float(info.get("maxmemory", 0))},
        }


def _make_families(found: Samples) -> Families:
    return (_make_family(metric.name, found.get(metric.name, {})) for metric in METRICS)


def _make_family(name: str, samples: dict[tuple[str, ...], float]) -> Family:
    metric = BY_NAME[name]
    if metric.kind == "histogram":
        return _make_histogram(name, samples)
    kind = GaugeMetricFamily if metric.kind == "gauge" else CounterMetricFamily
    family = kind(name, metric.text, labels=metric.labels)
    for labels, value in sorted(samples.items()):
        family.add_metric(labels, value)
    return family


def _make_histogram(name: str, samples: dict[tuple[str, ...], float]) -> Family:
    """Make a histogram of samples by (label, bucket). `sum` is a bucket too. The buckets given are not cumulative."""
    family = HistogramMetricFamily(name, BY_NAME[name].text, labels=BY_NAME[name].labels)
    for label in sorted({label for label, _ in samples}):
        below, buckets = 0.0, []
        for bound in (*LATENCY_BUCKETS, "inf"):
            below += samples.get((label, str(bound)), 0.0)
            buckets.append((str(float(bound)) if bound != "inf" else "+Inf", below))
        family.add_metric([label], buckets, samples.get((label, "sum"), 0.0))
    return family
