from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

_TIMEOUT = 30.0
# Proxies of the environment must not come between a test and its own machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SandboxControl:
    """The control endpoints of a sandbox that runs at ``url``."""

    url: str

    def log(self, since: int = 0) -> list[dict[str, Any]]:
        """What the sandbox was asked after the entry ``since``."""
        return self._ask("GET", f"log?since={since}")  # type: ignore[no-any-return]

    def stats(self) -> dict[str, Any]:
        """Counts: requests by kind and answer, jobs bought, tasks fetched, connections, webhooks."""
        return self._ask("GET", "stats")  # type: ignore[no-any-return]

    def jobs(self) -> list[dict[str, Any]]:
        """Every job with its targets, status, and each task's number of fetches and hash of content."""
        return self._ask("GET", "jobs")  # type: ignore[no-any-return]

    def fault(self, action: str, **rule: Any) -> str:
        """Puts a fault in force; its id. The fields are those of ``faults.Rule``."""
        return self._ask("POST", "faults", [{"action": action, **rule}])["ids"][0]  # type: ignore[no-any-return]

    def faults(self) -> list[dict[str, Any]]:
        """The faults in force, with how often each was seen and fired."""
        return self._ask("GET", "faults")  # type: ignore[no-any-return]

    def clear_faults(self) -> None:
        """Ends all faults."""
        self._ask("DELETE", "faults")

    def configure(self, **options: Any) -> dict[str, Any]:
        """Changes options; all of them as they are now. The names are those of ``options.Options``."""
        return self._ask("POST", "config", options)  # type: ignore[no-any-return]

    def advance(self, seconds: float) -> None:
        """Moves the sandbox's clock."""
        self._ask("POST", "advance", {"seconds": seconds})

    def reset(self) -> None:
        """Back to the beginning: no jobs, faults or log; options and clock as at the start."""
        self._ask("POST", "reset", {})

    def _ask(self, method: str, path: str, data: Any = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(f"{self.url}/_sandbox/{path}", body, method=method)  # noqa: S310
        try:
            with _OPENER.open(request, timeout=_TIMEOUT) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.load(error)["Error"]) from None
