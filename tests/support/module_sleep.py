"""Replace the sleep of one module."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    import pytest


def replace_sleep(monkeypatch: pytest.MonkeyPatch, module: ModuleType, sleep: Callable[[float], object]) -> None:
    """Let `time.sleep` of one module call `sleep`.

    `time` itself stays as it is: threads of earlier tests may still sleep between two tries.
    """
    own = SimpleNamespace(**vars(time))
    own.sleep = sleep
    monkeypatch.setattr(module, "time", own)
