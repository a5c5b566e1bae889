"""Test that the memory of an export does not grow with its run."""

from __future__ import annotations

import tracemalloc

import pytest

PAGE = 50_000


class NullFile:
    """A file that forgets what is written."""

    def write(self, data):
        return len(data)

    def flush(self):
        pass


@pytest.fixture
def peak_of(make_run):
    """Return a function that measures the most memory that an export takes above that before it, in pages."""

    def measure(count, form):
        handle = make_run([{"content": f"{n:04d}" + "x" * PAGE} for n in range(count)], run_id=f"{form}-{count}")
        tracemalloc.start()
        try:
            handle.export(NullFile(), format=form)
            return tracemalloc.get_traced_memory()[1] / PAGE
        finally:
            tracemalloc.stop()

    return measure


@pytest.mark.parametrize("form", ["jsonl", "csv", "warc"])
def test_memory_does_not_grow_with_the_run(peak_of, form):
    # Two chunks of 25 pages are read at a time, and a page has several forms.
    assert peak_of(150, form) < peak_of(75, form) + 5 < 100


def test_memory_of_arrow_does_not_grow_with_the_run(make_run):
    pool = pytest.importorskip("pyarrow").default_memory_pool()
    peaks = {}
    for count in (10, 30):
        handle = make_run([{"content": str(n % 10) * 2_000_000} for n in range(count)], run_id=str(count))
        before, held = pool.bytes_allocated(), []

        class WatchedFile(NullFile):
            def write(self, data):
                held.append(pool.bytes_allocated() - before)  # noqa: B023 (used within the round)
                return len(data)

        handle.export(WatchedFile(), format="parquet")
        peaks[count] = max(held)
    assert peaks[30] < peaks[10] + 2_000_000
