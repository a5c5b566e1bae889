"""Run a command, and start it again when it fails, as the supervisors of docs/how-to/workers.md do.

Celery's worker may exit when its broker restarts. SIGTERM ends the command, and no other is started.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time


def main(command):
    """Return the exit code of the first process that ends well or is told to end."""
    told_to_end = False

    def end(number, _frame):
        nonlocal told_to_end
        told_to_end = True
        process.send_signal(number)

    process = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, end)
    while process.wait() and not told_to_end:
        time.sleep(0.5)
        if not told_to_end:
            process = subprocess.Popen(command)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
