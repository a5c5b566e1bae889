"""Run a command that the kernel kills when its parent dies, so that even SIGKILL of the demo leaves nothing behind."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Replace this process by the command; if the parent has already died, end at once."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return
    os.execv(command[0], command)  # noqa: S606 (the demo's own command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
