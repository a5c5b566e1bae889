"""A client for the control endpoints, shared by the sandbox in a process and the sandbox on a thread."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

_TIMEOUT = 30.0
# Ignore the environment's proxies: they must not stand between a test and its own machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SandboxControl:
    """A client for the control endpoints of the sandbox at `url`."""

    url: str

    def log(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the log entries after the entry with index `since`, oldest first."""
        return self._ask("GET", f"log?since={since}")  # type: ignore[no-any-return]

    def stats(self) -> dict[str, Any]:
        """Return counts: requests by kind and answer, jobs bought, tasks fetched, connections, webhooks."""
        return self._ask("GET", "stats")  # type: ignore[no-any-return]

    def jobs(self) -> list[dict[str, Any]]:
        """Return every job with its targets and status, and each task's number of fetches, content hash and cost."""
        return self._ask("GET", "jobs")  # type: ignore[no-any-return]

    def fault(self, action: str, **rule: Any) -> str:
        """Add a fault rule with the fields of `faults.FaultRule`, and return its id.

        Raises:
            ValueError: If the sandbox refuses the rule; the message is the sandbox's.
        """
        return self._ask("POST", "faults", [{"action": action, **rule}])["ids"][0]  # type: ignore[no-any-return]

    def faults(self) -> list[dict[str, Any]]:
        """Return the active fault rules, with the number of calls that each matched and on which it fired."""
        return self._ask("GET", "faults")  # type: ignore[no-any-return]

    def clear_faults(self) -> None:
        """Remove all fault rules."""
        self._ask("DELETE", "faults")

    def configure(self, **options: Any) -> dict[str, Any]:
        """Change options by their names in `options.SandboxOptions`, and return all options but the token.

        Raises:
            ValueError: If an option is unknown or a value is not valid; the message is the sandbox's.
        """
        return self._ask("POST", "config", options)  # type: ignore[no-any-return]

    def advance(self, seconds: float) -> None:
        """Advance the sandbox's clock by `seconds`."""
        self._ask("POST", "advance", {"seconds": seconds})

    def reset(self) -> None:
        """Restore the initial state: no jobs, faults or log, and the initial options and clock."""
        self._ask("POST", "reset", {})

    def _ask(self, method: str, path: str, data: Any = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        # The sandbox may run in another container, but its control endpoints answer loopback hosts only. No page in a
        # browser can choose this header.
        headers = {"Host": "localhost"}
        request = urllib.request.Request(f"{self.url}/_sandbox/{path}", body, headers, method=method)  # noqa: S310
        try:
            with _OPENER.open(request, timeout=_TIMEOUT) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.load(error)["Error"]) from None
