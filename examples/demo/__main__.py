"""Run the demo. `URLS` and `LIVE` come from the environment, as make passes them."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

#: The exit code that a shell reports for a process that Ctrl-C ended.
INTERRUPTED = 130


def main() -> int:
    """Return the exit code: 0, 1 if something failed, 2 if the demo must not start, 130 after Ctrl-C."""
    # Also SIGINT, because a shell starts background jobs with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return run(os.environ.get("URLS", "").split(), real=os.environ.get("LIVE", "") not in {"", "0"})
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. All that the demo started has been stopped.\n")
        return INTERRUPTED


def run(urls: list[str], *, real: bool) -> int:
    """Run the demo, from the user's agreement to the stop of all parts, and return the exit code."""
    sys.stdout.write("Loading Celery and the package ...\n")
    sys.stdout.flush()
    # Imported here, where an interrupt is already handled.
    from examples.demo import live
    from examples.demo.parts import DemoError, Parts
    from examples.demo.story import tell
    from scrape_do_celery import ScrapeDoError

    urls = urls or (list(live.PAGES) if real else [])
    if refusal := (live.fault(urls) if urls else "") or (live.ask(urls) if real else ""):
        sys.stderr.write(f"{refusal}\n")
        return 2
    try:
        with Parts(live=real) as parts:
            tell(parts, urls)
            sys.stdout.write("\nDone. Stopping all that was started ...\n")
            sys.stdout.flush()
    except (DemoError, ScrapeDoError, OSError, ValueError) as error:
        sys.stderr.write(f"\nThe demo failed: {type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write(
        "Stopped. The code of the demo is in examples/demo; README.md shows how to enqueue from your app.\n"
    )
    return 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
