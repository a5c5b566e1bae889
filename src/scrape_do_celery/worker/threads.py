"""The base of the threads that a worker runs beside its steps."""

from __future__ import annotations

import threading
from abc import abstractmethod


class PassThread(threading.Thread):
    """A thread that does one pass after another until stopped, and sleeps between them."""

    def __init__(self, name: str, interval: float, first_wait: float) -> None:
        super().__init__(name=name, daemon=True)
        #: Longest sleep between two passes, in seconds.
        self.interval = interval
        #: Held during a pass. A caller that holds the lock keeps the next pass from its start.
        self.pass_lock = threading.Lock()
        self._first_wait, self._halt = first_wait, threading.Event()

    def run(self) -> None:
        """Do passes and sleep in turns."""
        wait = self._first_wait
        while not self._halt.wait(wait):
            with self.pass_lock:
                wait = self.do_pass()

    @abstractmethod
    def do_pass(self) -> float:
        """Do one pass. Return the seconds until the next one. No error may escape, or the thread would end."""

    def stop(self) -> None:
        """End the thread after its current pass. Wait at most 5 seconds for the end."""
        self._halt.set()
        if self.is_alive():
            self.join(timeout=5)
