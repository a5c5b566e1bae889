"""A local server that speaks the whole Scrape.do Async API, with faults on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrape_do_sandbox.process import SandboxError, SandboxProcess

if TYPE_CHECKING:
    from scrape_do_sandbox.server import SandboxThread

__all__ = ["SandboxError", "SandboxProcess", "SandboxThread"]


def __getattr__(name: str) -> Any:
    # Load the server and its HTTP client only for callers that run the sandbox in this process.
    if name == "SandboxThread":
        from scrape_do_sandbox.server import SandboxThread

        return SandboxThread
    raise AttributeError(name)
