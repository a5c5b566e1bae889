"""The size of each case."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Sizes:
    """The numbers of all cases. Times are in seconds, pages in bytes."""

    name: str = "normal"
    #: Duration of a job of A and B at the API.
    job_seconds: float = 1.0
    a_jobs: int = 500
    a_targets: int = 5
    a_bytes: int = 20_000
    #: Time after which the blocking variant of A is given up.
    a_blocking: float = 100.0
    b_targets: int = 1_000
    b_bytes: int = 200_000
    c_runs: int = 10_000
    #: Time between the last submit and the state in which each job is polled once an interval.
    c_settle: float = 60.0
    c_hold: float = 300.0
    #: The interval in which requests are counted, which is the longest time between two polls.
    c_interval: float = 30.0
    d_runs: int = 100_000
    d_claims: int = 200
    e_jobs: int = 150
    #: The longest job of E.
    e_longest: float = 6.0
    #: End of the second task of a long job, whose first task should be readable early.
    e_long: float = 40.0
    enqueue_single: int = 2_000
    enqueue_many: int = 5_000
    read_factor: int = 16
    #: Pages of 1 MB of the larger run.
    export_pages: int = 1_000
    factors: tuple[int, ...] = (1, 4, 16)
    #: Targets of the large run, of each of its jobs, and the duration of such a job at the API.
    fair_targets: int = 100_000
    fair_job: int = 50
    fair_seconds: float = 5.0
    #: Deliveries to each receiver of webhooks, with pages of 20 kB and of 1 MB.
    hook_pages: int = 900
    hook_large_pages: int = 200
    #: Small runs, their targets, and the seconds between two of them and over which their tasks end.
    hook_runs: int = 25
    hook_targets: int = 20
    hook_gap: float = 1.0
    hook_span: float = 4.0
    #: Targets of the large run, and the seconds over which they end: longer than the wait for the first safety poll.
    hook_large: int = 1_000
    hook_large_span: float = 75.0


NORMAL = Sizes()
FULL = replace(NORMAL, name="full", c_hold=1_800.0)
#: The size for CI. The figures have no meaning.
TINY = Sizes(
    name="tiny",
    a_jobs=10,
    a_targets=2,
    a_bytes=2_000,
    a_blocking=20.0,
    b_targets=10,
    b_bytes=20_000,
    c_runs=10,
    c_settle=4.0,
    c_hold=6.0,
    c_interval=3.0,
    d_runs=200,
    d_claims=10,
    e_jobs=3,
    e_longest=2.0,
    e_long=8.0,
    enqueue_single=20,
    enqueue_many=20,
    read_factor=2,
    export_pages=10,
    factors=(1, 2),
    fair_targets=200,
    fair_job=5,
    fair_seconds=2.0,
    hook_pages=20,
    hook_large_pages=4,
    hook_runs=2,
    hook_targets=2,
    hook_gap=0.1,
    hook_span=0.5,
    hook_large=10,
    hook_large_span=1.0,
)
