#!/usr/bin/env python3
"""`healthcheck URL`: exit with 0 if the URL answers 200, else with 1. The image has no curl."""

from __future__ import annotations

import sys
import urllib.request
from http.client import HTTPException

_TIMEOUT = 5.0


def main(url: str) -> int:
    """Request the URL, and return the exit code."""
    # Ignore the environment's proxy: it is for addresses outside the network of the containers.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_TIMEOUT) as answer:
            status = answer.status
    except (OSError, HTTPException) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1
    sys.stdout.write(f"{url}: {status}\n")
    return 0 if status == 200 else 1  # noqa: PLR2004 (HTTP)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
