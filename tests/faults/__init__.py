"""The fault lab: real workers, a real store and a real broker, with random kills and faults at named points.

    python -m tests.faults --trials 10000 --seed 1

A *trial* is a run (sometimes two) with planned faults: a kill, a freeze, a fault of the API, a restart. A trial counts
only if the planned fault really happened. A *point* is a place at which a step reads, calls or writes, such as
`submit_jobs: after write_intent`; `points` lists all. A trial is judged by the sandbox's record of sold jobs and served
pages, because the sandbox stands for the paid API. Our own records alone never count as evidence.

The same seed gives the same trials in the same order. Their timing depends on the machine.
"""

from __future__ import annotations
