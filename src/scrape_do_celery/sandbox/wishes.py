from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scrape_do_celery.sandbox.pages import HTML

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scrape_do_celery.sandbox.faults import Rule
    from scrape_do_celery.sandbox.pages import Magic


def wished(magic: Magic, url: str, rules: Iterable[Rule]) -> Magic:
    """What is asked for a target, as the rules that are meant for it change it; the last one counts."""
    for rule in rules:
        if rule.action in _CHANGES and (rule.target is None or rule.target in url):
            magic = replace(magic, **_CHANGES[rule.action](rule))
    return magic


def _answer(rule: Rule) -> dict[str, Any]:
    return {"status": rule.status, "body": rule.body, "content_type": rule.headers.get("Content-Type", HTML)}


_CHANGES: dict[str, Callable[[Rule], dict[str, Any]]] = {
    "task_fails": lambda _: {"error": True},
    "task_answers": _answer,
    "task_takes": lambda rule: {"seconds": rule.seconds},
}
