"""What may become of a run, by principle: the class of each mutation, and the verdict on a play.

A class follows from which field is wrong, from whose word an answer is and from how long that lasts. Only ids, status
and content may do more than no harm. Nothing here looks at the product.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from tests.wire.driver import HOUR
from tests.wire.mutation import PASSING
from tests.wire.server import page_of
from tests.wire.values import WORDS

if TYPE_CHECKING:
    from tests.wire.driver import Played, Scenario
    from tests.wire.mutation import Mutation


class Class(IntEnum):
    """What a mutation may do at most."""

    HARMLESS = 0  #: all pages under their URLs, one purchase
    DETECTED = 1  #: the run ends, says why, loses nothing that was served, one purchase
    UNDETECTABLE = 2  #: a valid lie: the run ends, one purchase


@dataclass(frozen=True)
class Expected:
    """A class, and the exceptions of a mutation."""

    most: Class
    #: URLs or their lists are wrong: the order of the tasks need not be proven
    unordered: bool = False
    #: the server denies the job, or gives it other targets: nobody can know that it was bought
    denied: bool = False
    #: two mutations of this sort may do together what neither does alone
    structural: bool = False

    def with_(self, other: Expected) -> Expected:
        """What both together may do."""
        most = max(self.most, other.most)
        if self.structural and other.structural:
            most = max(most, Class.DETECTED)
        return Expected(most, self.unordered or other.unordered, self.denied or other.denied, structural=True)


_HARMLESS, _DETECTED, _LIE = (Expected(one) for one in Class)
#: Refusals for the moment, whoever speaks.
_NOT_NOW = (401, 403, 408, 425, 429)
_AS_MISSING = ("missing", "null", "key in lower case", "key in camel case", "twice, null last")
_SAME = ("twice, null first",)
_IDS_KEPT = ("reversed", "each twice", "first twice", "with null", "upper case", "empty list", *_AS_MISSING, *_SAME)
_TRUE = ("true", "as text: true", "as text: yes", "one", "two", "2**70", "1e400", "fraction", "negative", "in a list")
_OTHER_PAGES = ("other host", "other target", "slash at the end", "not ASCII")


def expect(mutation: Mutation) -> Expected:
    """The class of a mutation."""
    if mutation.field.startswith("HTTP status"):
        return _of_status(mutation)
    if mutation.field == "HTTP frame":
        return _of_frame(mutation)
    if mutation.field == "surplus":
        return _HARMLESS
    if "error body" in mutation.facts:
        return _of_error(mutation)
    return _BY_SORT[mutation.facts["sort"]](mutation)


def _of_status(one: Mutation) -> Expected:
    status, body = one.facts["status"], one.facts["body"]
    if one.span not in PASSING or one.kind in {"delete", "me"}:
        return Expected(Class.DETECTED, structural=True)
    its_word = (body == "api" and status not in _NOT_NOW and 400 <= status < 500) or (
        body == "api" and status < 300 and one.span == "window"
    )
    if body == "right" and status in {204, 206}:
        its_word = False
    return Expected(Class.DETECTED if its_word else Class.HARMLESS, structural=True)


def _of_frame(one: Mutation) -> Expected:
    sort = one.facts["frame"]
    if sort == "same":
        return _HARMLESS
    if sort == "clock":
        return _DETECTED if one.scenario == "lost" else _HARMLESS
    if sort == "bomb" and one.kind == "task":
        return Expected(Class.DETECTED, structural=True)
    if one.kind in {"delete", "me"} or one.span not in PASSING:
        return Expected(Class.DETECTED, structural=True)
    return Expected(Class.HARMLESS, structural=True)


def _of_error(one: Mutation) -> Expected:
    body, status = one.facts["error body"], one.facts["status"]
    code = body.get("Code")
    speaks = isinstance(body.get("Error"), str) or (isinstance(code, int) and not isinstance(code, bool))
    its_word = speaks and status < 500
    return Expected(Class.DETECTED if its_word or one.span not in PASSING else Class.HARMLESS, structural=True)


def _of_id(one: Mutation) -> Expected:
    kept = one.what in {"upper case", *_SAME}
    if one.kind in {"create", "list"} or one.scenario == "lost":
        most = Class.HARMLESS if one.what in _SAME else Class.DETECTED
        return Expected(most, unordered="entry" in one.facts, structural=True)
    harmless = kept or one.what in _AS_MISSING
    return Expected(Class.HARMLESS if harmless else Class.DETECTED, unordered="entry" in one.facts, structural=True)


def _of_ids(one: Mutation) -> Expected:
    kept = one.what in _IDS_KEPT and one.scenario != "lost"
    kept = kept or (one.kind == "list" and one.scenario == "list")
    return Expected(Class.HARMLESS if kept else Class.DETECTED, unordered=True, structural=True)


def _of_status_word(one: Mutation) -> Expected:
    return Expected(_class_of_word(one), structural=True)


def _class_of_word(one: Mutation) -> Class:
    what = one.what
    if what in {"upper case", "title case", "space around", *_SAME}:
        return Class.HARMLESS
    if what.startswith(("word: ", "spelling: ")):
        word = what.partition(": ")[2]
        if word in WORDS[:4] or word == "running":
            # One answer that says that the job goes on is only early.
            return Class.HARMLESS if one.span == "once" else Class.DETECTED
        return Class.UNDETECTABLE if word in WORDS else Class.HARMLESS
    unknown = what in {"unknown word", "word", "with an enum's name"} and one.kind != "delete"
    # Where a summary is wrong, the job and the task say the same by themselves. After a lost purchase nothing does.
    told_elsewhere = "entry" in one.facts and not (one.kind == "list" and one.scenario == "lost")
    return Class.HARMLESS if unknown or told_elsewhere else Class.DETECTED


def _of_time(one: Mutation) -> Expected:
    if one.scenario != "lost" or one.facts["leaf"] != "StartTime":
        return _HARMLESS
    # A start that is further back than clocks may differ is another job's.
    return Expected(Class.DETECTED, denied=one.what in {"six days earlier", "epoch", "date only"})


def _of_url(one: Mutation) -> Expected:
    if one.facts["leaf"] == "WebhookURL":
        return _HARMLESS
    if one.scenario == "lost":
        denied = one.what in _OTHER_PAGES
        return Expected(Class.DETECTED, unordered=True, denied=denied, structural=True)
    return Expected(Class.HARMLESS, unordered=True, structural=True)


def _of_entries(one: Mutation) -> Expected:
    if one.facts["leaf"] == "Tasks":
        return Expected(Class.HARMLESS, unordered=True, structural=True)
    if one.scenario == "list":
        return Expected(Class.HARMLESS, structural=True)
    denied = one.what == "first missing" and one.span == "ever"
    return Expected(Class.DETECTED, denied=denied, structural=True)


def _of_flag(one: Mutation) -> Expected:
    lies = one.facts["leaf"] == "Base64EncodedContent" and one.what in _TRUE
    return _LIE if lies else _HARMLESS


def _of_content(one: Mutation) -> Expected:
    if one.what in _SAME:
        return _HARMLESS
    return Expected(Class.DETECTED if one.what == "over the limit" else Class.UNDETECTABLE, structural=True)


def _harmless(_: Mutation) -> Expected:
    return _HARMLESS


_BY_SORT: dict[str, Any] = {
    "id": _of_id,
    "ids": _of_ids,
    "status": _of_status_word,
    "time": _of_time,
    "url": _of_url,
    "entries": _of_entries,
    "map": _harmless,
    "number": _harmless,
    "flag": _of_flag,
    "text": _harmless,
    "content": _of_content,
}


@dataclass(frozen=True)
class Verdict:
    """What a play was, and which rules it broke."""

    found: Class
    violations: tuple[str, ...]
    outcome: str


def judge(played: Played, expected: Expected, scenario: Scenario, *, passing: bool) -> Verdict:
    """The verdict on a play. `passing`: the mutation ended by itself, so the run must end soon."""
    found = _found(played, expected, scenario)
    broken = list(_always(played, expected))
    if passing and played.ended and played.took > 6 * HOUR:
        broken.append("ended late")
    if found > expected.most and played.ended:
        broken.append(f"more than {expected.most.name.lower()}")
    return Verdict(found, tuple(broken), _outcome(played, found))


def _always(played: Played, expected: Expected) -> list[str]:
    broken = []
    if played.bought > 1 and not expected.denied:
        broken.append("second purchase")
    if not played.ended:
        broken.append("no end")
    if played.escaped:
        broken.append("exception escaped")
    if played.leaks:
        broken.append("token leaked")
    stored = {task.task_id.lower(): task for task in played.tasks}
    pages = {task.content for task in played.tasks}
    for task_id in played.account.served:
        job = next(job for job in played.account.jobs.values() if task_id in job.task_ids)
        if job.targets == played.targets and page_of(job.target_of(task_id)) not in pages:
            broken.append("served page lost")
            break
    if any(task_id in stored and stored[task_id].gone for task_id in played.account.shown):
        broken.append("served page marked gone")
    if played.verified and _is_misplaced(played):
        broken.append("pages under wrong URLs, verified")
    return broken


def _is_misplaced(played: Played) -> bool:
    """Whether a page stands where the page of another target belongs."""
    pages = [page_of(target) for target in played.targets]
    if len(played.tasks) != len(pages):
        return False
    return any(task.content in pages and task.content != page for task, page in zip(played.tasks, pages, strict=True))


def _found(played: Played, expected: Expected, scenario: Scenario) -> Class:
    pages = {page_of(target) for target in played.targets}
    if scenario.cancel_at is not None:
        return Class.HARMLESS if played.state == "canceled" else Class.DETECTED if played.error else Class.UNDETECTABLE
    if (
        played.state == "succeeded"
        and {task.content for task in played.tasks} == pages
        and len(played.tasks) == len(played.targets)
    ):
        if played.placed and (played.verified or expected.unordered):
            return Class.HARMLESS
        if expected.unordered and not played.verified:
            return Class.HARMLESS
    if played.error:
        return Class.DETECTED
    good = {task.content for task in played.tasks if task.is_success}
    told = sum(1 for task in played.tasks if not task.is_success and task.error_message)
    return Class.DETECTED if len(good & pages) + told >= len(pages) and told else Class.UNDETECTABLE


def _outcome(played: Played, found: Class) -> str:
    """In a few words, for the table."""
    if not played.ended:
        return "no end"
    if found is Class.HARMLESS and played.state == "succeeded":
        return "all pages" if played.verified else "all pages, order not proven"
    if played.error:
        return f"{played.state}: {played.error.partition(':')[0]}"
    failed = [task for task in played.tasks if not task.is_success]
    if failed:
        gone = ", gone" if any(task.gone for task in failed) else ""
        return f"{played.state}, {'a task' if len(failed) == 1 else 'tasks'} failed{gone}"
    return f"{played.state}, other pages" if len(played.tasks) == len(played.targets) else f"{played.state}, pages lack"
