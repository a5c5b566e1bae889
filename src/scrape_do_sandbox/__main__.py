"""The module behind `python -m scrape_do_sandbox`, which serves the sandbox in the foreground."""

from __future__ import annotations

import sys

from scrape_do_sandbox import SandboxError, load_server

if __name__ == "__main__":
    try:
        server = load_server()
    except SandboxError as error:
        sys.exit(str(error))
    sys.exit(server.main())
