#!/usr/bin/env python3
"""Replace this process by a command of the image, so that signals reach the command.

Each file in /run/secrets becomes a variable of the command and overrides a variable of that name: `scrape_do_api_key`
is SCRAPE_DO_API_KEY. If SANDBOX_URL is the API in use, the sandbox must answer.
"""

from __future__ import annotations

import os
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT = 5.0
_NO_SANDBOX = """\
The sandbox does not answer at {url}. To try the package at no cost, start the sandbox:
    docker compose --profile sandbox up
To use the real service, set these variables in .env:
    SCRAPE_DO_API_URL=https://q.scrape.do
    SCRAPE_DO_API_KEY=your token"""


def main(command: list[str]) -> NoReturn:
    """Execute the command; if it must not start, exit with 1 and a message with the reason."""
    environment = {**os.environ, **secrets(Path(os.environ.get("SECRETS_DIR", "/run/secrets")))}
    url = environment.get("SANDBOX_URL")
    if url and url == environment.get("SCRAPE_DO_API_URL"):
        if not answers(url):
            raise SystemExit(_NO_SANDBOX.format(url=url))
        sys.stdout.write(f"The API is the sandbox at {url}: pages are made up, and nothing is bought.\n")
        sys.stdout.flush()
    os.execvpe(command[0], command, environment)  # noqa: S606 (the image's own commands)


def secrets(folder: Path) -> Mapping[str, str]:
    """Return the secrets of a folder by the names of their variables, or none if the folder does not exist.

    If a file cannot be read, the process ends.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {file.name.upper(): _read(file) for file in files if file.is_file()}


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        why = type(error).__name__
        raise SystemExit(f"{file} must be a text file that user {os.getuid()} may read ({why})") from None


def answers(url: str) -> bool:
    """Tell whether a sandbox answers at the URL."""
    try:
        with urllib.request.urlopen(f"{url}/_sandbox/stats", timeout=_TIMEOUT):  # noqa: S310 (from the compose file)
            return True
    except (OSError, HTTPException, ValueError):
        return False


if __name__ == "__main__":
    main(sys.argv[1:])
