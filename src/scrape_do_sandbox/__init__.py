"""A local server that speaks the whole Scrape.do Async API, with faults on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrape_do_sandbox.process import SandboxError, SandboxProcess

if TYPE_CHECKING:
    from types import ModuleType

    from scrape_do_sandbox.server import SandboxThread

__all__ = ["SandboxError", "SandboxProcess", "SandboxThread", "load_server"]


def load_server() -> ModuleType:
    """Import the server, which runs the sandbox in this process.

    Raises:
        SandboxError: If a library is missing; the message names the extra to install.
    """
    try:
        from scrape_do_sandbox import server
    except ModuleNotFoundError as error:
        raise SandboxError(
            f"The sandbox needs {error.name}, which is not installed; run: pip install 'scrape-do-celery[sandbox]'"
        ) from error
    return server


def __getattr__(name: str) -> Any:
    # Load the server and its HTTP library only for callers that run the sandbox in this process.
    if name == "SandboxThread":
        return load_server().SandboxThread
    raise AttributeError(name)
