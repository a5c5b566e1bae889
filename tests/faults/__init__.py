"""The fault lab: real workers, a real store and a real broker, killed and hurt at named points, at random.

    python -m tests.faults --trials 10000 --seed 1

A *trial* is a run (now and then two) and what is planned against it: a kill, a freeze, a fault of the API, a restart.
It counts only where that really happened. A *point* is a place at which a step reads, calls or writes, such as
`submit_jobs: after write_intent`; `points` lists all. What came of a trial is judged by what the sandbox, which stands
for the paid API, says that it sold and served; never by our own records alone.

The same seed gives the same trials in the same order. What the machine makes of their timing is its own.
"""

from __future__ import annotations
