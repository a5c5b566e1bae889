"""Plans of actions for runs at points, and notes of the actions that happened.

Plans are files, not a server: a check that finds none costs a worker 3 us, and no fault of the lab can reach files.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Stands for the run if a point belongs to no run, such as a scan of the dispatcher.
ANY = "any"


class FaultPlan:
    """The folder in which the lab leaves plans, and workers leave notes."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._plans, self._notes = str(self.folder / "plans"), str(self.folder / "notes")
        self._read = 0
        for name in ("plans", "reached", "done"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def add(self, run: str, point: str, actions: list[dict[str, Any]]) -> None:
        """Plan these actions for this run. Each time the point is reached, one of them is carried out."""
        folder = f"{self._plans}/{run}"
        Path(folder).mkdir(exist_ok=True)
        _write(f"{folder}/{point}", actions)

    def remove(self, run: str, point: str = "") -> None:
        """Remove the plans for a run, at one point or at all points."""
        if point:
            Path(f"{self._plans}/{run}/{point}").unlink(missing_ok=True)
        else:
            shutil.rmtree(f"{self._plans}/{run}", ignore_errors=True)

    def take_action(self, run: str, point: str) -> dict[str, Any] | None:
        """Take the action that is due for this run at this point. No other caller gets it."""
        path = f"{self._plans}/{run}/{point}"
        mine = f"{path}#{os.getpid()}.{threading.get_ident()}"
        try:
            os.rename(path, mine)  # noqa: PTH104 (pathlib costs five times as much)
        except FileNotFoundError:
            return None
        first, *rest = json.loads(Path(mine).read_bytes())
        if first.get("nth", 1) > 1:
            rest = [{**first, "nth": first["nth"] - 1}, *rest]
            first = None
        elif first.get("always"):
            rest = [first]
        with suppress(FileNotFoundError):
            Path(mine).unlink()
            if rest:
                _write(path, rest)
        return first

    def write_note(self, **what: Any) -> None:
        """Write a line that survives any later death of this process."""
        line = json.dumps({**what, "pid": os.getpid(), "at": time.time()}).encode() + b"\n"
        file = os.open(self._notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line)
        finally:
            os.close(file)

    def read_notes(self) -> list[dict[str, Any]]:
        """Return the lines that came since the last call."""
        try:
            with open(self._notes, "rb") as file:  # noqa: PTH123
                file.seek(self._read)
                text = file.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def mark_reached(self, name: str) -> None:
        """Note that a point was reached."""
        os.close(os.open(f"{self.folder}/reached/{name}", os.O_WRONLY | os.O_CREAT, 0o600))

    def reached_points(self) -> set[str]:
        """Return every point that any worker reached."""
        return {path.name for path in (self.folder / "reached").iterdir()}

    def mark_done(self, ticket: str) -> None:
        """Tell the waiting worker that the lab has carried out its request."""
        (self.folder / "done" / ticket).touch()

    def wait_until_done(self, ticket: str, seconds: float) -> None:
        """Wait until the lab has carried out a request."""
        path, deadline = self.folder / "done" / ticket, time.monotonic() + seconds
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.005)


def _write(path: str, actions: list[dict[str, Any]]) -> None:
    fresh = f"{path}#new{threading.get_ident()}"
    Path(fresh).write_text(json.dumps(actions))
    os.replace(fresh, path)  # noqa: PTH105
