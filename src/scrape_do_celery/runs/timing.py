"""The clocks and intervals of a process, which tests replace by others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: Longest sleep of the dispatcher and of the notifier between two passes in production, in seconds.
PASS_INTERVAL: Final = 1.0


@dataclass(frozen=True, slots=True)
class ProcessTiming:
    """The clocks and intervals of one process. The defaults are those of production."""

    #: The key with the seconds that the store's scripts add to the server's time. Empty: they read the plain time.
    clock_offset_key: str = ""
    #: Returns the time of the event loop in seconds. None: the loop reads its own clock.
    loop_time: Callable[[], float] | None = None
    #: Longest sleep of the dispatcher and of the notifier between two passes, in seconds.
    pass_interval: float = PASS_INTERVAL
