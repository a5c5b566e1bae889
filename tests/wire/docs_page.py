"""Write `docs/explanation/answers.md`: the tables of the lab, and the results of playing them."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from tests.wire.http_layer import FRAMES
from tests.wire.mutations import all_mutations
from tests.wire.oracle import MutationClass, expectation_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.wire.harness import CaseResult
    from tests.wire.mutation import Mutation

_ANSWERS = {
    "create": "The answer to `POST /jobs`",
    "job": "A job: `GET /jobs/{id}`",
    "task": "A task with its page: `GET /jobs/{id}/{task}`",
    "list": "The list of jobs: `GET /jobs`",
    "delete": "The answer to `DELETE /jobs/{id}`",
    "me": "The account: `GET /me`",
}
_SCENARIOS = {
    "plain": "",
    "list": "read to watch running jobs",
    "lost": "read after a lost purchase",
    "lost, full list": "read after a lost purchase, entries with tasks",
    "cancel": "",
    "refused": "",
    "plugin": "of a plugin",
}
_BODIES = {
    "api": "the API's error body",
    "html": "an HTML page",
    "echo": "an HTML page",
    "empty object": "`{}`",
    "gateway": "JSON of a gateway",
    "gateway's status": "a `Status` of a gateway",
    "empty": "no body",
    "right": "the right body",
    "array": "`[]`",
    "cut": "cut JSON",
}
_SPANS = {
    "once": "for one answer",
    "window": "for two minutes",
    "one": "for all answers about one task",
    "ever": "for ever",
}
_FRAMES = {
    "same": "the right answer in another frame",
    "trouble": "a frame that cannot be read",
    "rich": "a frame that clients may read or not",
    "clock": "a clock that is wrong",
    "bomb": "a body that unpacks to more than the limit",
    "wait": "`Retry-After` in all forms",
}
_HEAD = """# Answers of the API

The wire lab (`tests/wire/`) made this page. It plays whole runs against a server whose answers it changes.
The clock is virtual, and the store, the client and the steps are the real ones. `make wire` plays all of it again.

Each change has a class. The class follows from the field and from who speaks, never from what the product does.

| class | what must hold |
|---|---|
| harmless | The run succeeds. All pages stand under their URLs. The job is bought once. |
| detected | The run ends and says why. No page that was served is lost or marked gone. The job is bought once. |
| undetectable | The answer is a valid lie, such as another status word. The run ends. The job is bought once. |

"All pages, order not proven" means that `order_verified` is false: the URLs of the answer do not prove the order.
"""
_RULES = """
## The rules behind the classes

- Only ids, status and content can make an answer unreadable. Any other field takes its default.
- Letter case and surrounding space of a status do not matter. A missing id is the id that was asked for.
- The API speaks in JSON objects. Its error body has an `Error` string or a `Code` integer.
- Every other answer is trouble on the way to the API. The product holds back and asks again.
- A purchase whose answer cannot be read may have been made. The product looks for the job before it buys again.
- A listing that denies the job, or names other targets for it, cannot be told from the truth.
"""


def digest(found: Iterable[Mutation]) -> str:
    """Return a short digest of all mutations with their classes. The page names the digest of its own mutations."""
    text = "\n".join(f"{one.name} {expectation_for(one).most_severe.name}" for one in found)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def render_page(results: Sequence[CaseResult], seed: int, count: int) -> str:
    """Return the whole page."""
    found = all_mutations()
    played = {result.name: result for result in results}
    alone = [result for result in results if len(result.fields) == 1]
    paired = [result for result in results if len(result.fields) > 1]
    broken = sum(bool(result.violations) for result in results)
    text = [
        _HEAD,
        "## The figures\n",
        f"- Mutations: {len(found)}. Played alone: {len(alone)}. Random pairs: {len(paired)}, from seed {seed}.",
        f"- Runs: {len(results)}. Violations: {broken}.",
        f"- Command: `python -m tests.wire --seed {seed} --pairs {count} --markdown docs/explanation/answers.md`.",
        f"- Digest of the tables: `{digest(found)}`.",
        _RULES,
        "## Fields\n",
        "Each field is written in all ways of the table in `tests/wire/values.py`: missing, null, another type,",
        "another case, twice, out of range, and more. `[0]` is the first entry of a list, `[*]` each entry.",
    ]
    fields = [one for one in found if not one.field.startswith("HTTP") and "error body" not in one.facts]
    for kind, title in _ANSWERS.items():
        text += [f"\n### {title}\n", *_table("field", _grouped([m for m in fields if m.kind == kind], _field), played)]
    errors = [one for one in found if "error body" in one.facts]
    text += ["\n## Error bodies\n", *_table("answer", _grouped(errors, _error), played)]
    text += ["\n## HTTP status\n", "All statuses of the table in `tests/wire/http_layer.py`, by who speaks.\n"]
    statuses = [one for one in found if one.field.startswith("HTTP status")]
    for kind, title in _ANSWERS.items():
        text += [
            f"\n### {title}\n",
            *_table("answer", _grouped([m for m in statuses if m.kind == kind], _status), played),
        ]
    text += ["\n## Coding, headers, cuts\n", "\n".join(_frames()), ""]
    frames = [one for one in found if one.field == "HTTP frame"]
    text += _table("answer", _grouped(frames, _frame), played)
    return "\n".join(text) + "\n"


def _grouped(found: Iterable[Mutation], by: Callable[[Mutation], str]) -> dict[str, list[Mutation]]:
    groups: dict[str, list[Mutation]] = defaultdict(list)
    for one in found:
        groups[by(one)].append(one)
    return groups


def _field(one: Mutation) -> str:
    where = _SCENARIOS[one.scenario]
    return (f"`{one.field}`" if one.field != "surplus" else "a field that no answer has") + (
        f", {where}" if where else ""
    )


def _error(one: Mutation) -> str:
    name = one.field.replace(".", ", `") + "`"
    return f"{one.kind}: {name} wrong, {_SPANS[one.span]}"


def _status(one: Mutation) -> str:
    status, body = one.facts["status"], one.facts["body"]
    kind = {2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}[status // 100]
    if status in {401, 403, 404, 410, 429}:
        kind = str(status)
    who = _BODIES["api"] if body == "api" else "another body"
    sold = ", nothing sold" if one.field.endswith("not sold") else ""
    where = f", {_SCENARIOS[one.scenario]}" if _SCENARIOS[one.scenario] else ""
    return f"{kind} with {who}{sold}{where}, {_SPANS[one.span]}"


def _frame(one: Mutation) -> str:
    where = f", {_SCENARIOS[one.scenario]}" if _SCENARIOS[one.scenario] else ""
    return f"{one.kind}{where}: {_FRAMES[one.facts['frame']]}, {_SPANS[one.span]}"


def _frames() -> Iterable[str]:
    for sort, title in _FRAMES.items():
        names = "; ".join(name for name, (held, _) in FRAMES.items() if held == sort and sort != "wait")
        if names:
            yield f"- {title.capitalize()}: {names}."


def _table(first: str, groups: dict[str, list[Mutation]], played: dict[str, CaseResult]) -> list[str]:
    rows = [f"| {first} | changes | class at most | what happens then |", "|---|---:|---|---|"]
    for name, held in groups.items():
        classes = Counter(expectation_for(one).most_severe for one in held)
        most = ", ".join(f"{one.name.lower()} {classes[one]}" for one in MutationClass if classes[one])
        outcomes = Counter(played[one.name].outcome for one in held if one.name in played)
        told = "; ".join(f"{what} ({times})" for what, times in outcomes.most_common(4)) or "not played"
        rows.append(f"| {name} | {len(held)} | {most} | {told} |")
    return rows
