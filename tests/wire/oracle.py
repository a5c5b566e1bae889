"""Judge a play by principle: the class of each mutation, and the verdict on a play.

A class follows from the wrong field, from the author of the answer (API or gateway) and from the span. Only ids, status
and content may do more than no harm. Nothing here reads the product.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from tests.wire.mutation import TRANSIENT
from tests.wire.scenarios import HOUR, SCENARIOS
from tests.wire.server import page_of
from tests.wire.values import WORDS

if TYPE_CHECKING:
    from tests.wire.mutation import Mutation
    from tests.wire.scenarios import ObservedRun, Scenario


class MutationClass(IntEnum):
    """The most that a mutation may do."""

    HARMLESS = 0  #: all pages under their URLs, one purchase
    DETECTED = 1  #: the run ends, says why, loses nothing that was served, one purchase
    UNDETECTABLE = 2  #: a valid lie: the run ends, one purchase


@dataclass(frozen=True)
class Expectation:
    """A class, and the exceptions of a mutation."""

    most_severe: MutationClass
    #: URLs or their lists are wrong: the order of the tasks need not be proven
    unordered: bool = False
    #: the server denies the job, or gives it other targets: the purchase cannot be known
    denied: bool = False
    #: two mutations of this sort may do together more than each does alone
    structural: bool = False

    def combined_with(self, other: Expectation) -> Expectation:
        """Return the expectation of both mutations together."""
        most_severe = max(self.most_severe, other.most_severe)
        if self.structural and other.structural:
            most_severe = max(most_severe, MutationClass.DETECTED)
        return Expectation(most_severe, self.unordered or other.unordered, self.denied or other.denied, structural=True)


_HARMLESS, _DETECTED, _LIE = (Expectation(one) for one in MutationClass)
#: Temporary refusals, from the API or from a gateway.
_TEMPORARY_STATUSES = (401, 403, 408, 425, 429)
_AS_MISSING = ("missing", "null", "key in lower case", "key in camel case", "twice, null last")
_SAME = ("twice, null first",)
_IDS_KEPT = ("reversed", "each twice", "first twice", "with null", "upper case", "empty list", *_AS_MISSING, *_SAME)
_TRUE = ("true", "as text: true", "as text: yes", "one", "two", "2**70", "1e400", "fraction", "negative", "in a list")
_OTHER_PAGES = ("other host", "other target", "slash at the end", "not ASCII")


def expectation_for(mutation: Mutation) -> Expectation:
    """Return the expectation of a mutation."""
    found = _expect_change(mutation)
    # Nothing in the answers shows which task belongs to which parameter set.
    return replace(found, unordered=True) if SCENARIOS[mutation.scenario].plugin else found


def _expect_delivery(mutation: Mutation) -> Expectation:
    """Return the expectation of a delivery. The API itself still tells the truth, so a lie must be found.

    Only a page that is stored without a fetch may lie, in its content alone. The URL of such a page may be wrong.
    """
    if SCENARIOS[mutation.scenario].is_calibrated and mutation.facts.get("sort") in {"content", "flag", "url"}:
        return _BY_SORT[mutation.facts["sort"]](mutation)
    return _HARMLESS


def _expect_change(mutation: Mutation) -> Expectation:
    if mutation.kind == "delivery":
        return _expect_delivery(mutation)
    if mutation.field.startswith("HTTP status"):
        return _expect_status(mutation)
    if mutation.field == "HTTP frame":
        return _expect_frame(mutation)
    if mutation.field == "surplus":
        return _HARMLESS
    if "error body" in mutation.facts:
        return _expect_error(mutation)
    return _BY_SORT[mutation.facts["sort"]](mutation)


def _expect_status(one: Mutation) -> Expectation:
    status, body = one.facts["status"], one.facts["body"]
    if one.span not in TRANSIENT or one.kind in {"delete", "me"}:
        return Expectation(MutationClass.DETECTED, structural=True)
    its_word = (body == "api" and status not in _TEMPORARY_STATUSES and 400 <= status < 500) or (
        body == "api" and status < 300 and one.span == "window"
    )
    if body == "right" and status in {204, 206}:
        its_word = False
    return Expectation(MutationClass.DETECTED if its_word else MutationClass.HARMLESS, structural=True)


def _expect_frame(one: Mutation) -> Expectation:
    sort = one.facts["frame"]
    if sort == "same":
        return _HARMLESS
    if sort == "clock":
        return _DETECTED if one.scenario == "lost" else _HARMLESS
    if sort == "bomb" and one.kind == "task":
        return Expectation(MutationClass.DETECTED, structural=True)
    if one.kind in {"delete", "me"} or one.span not in TRANSIENT:
        return Expectation(MutationClass.DETECTED, structural=True)
    return Expectation(MutationClass.HARMLESS, structural=True)


def _expect_error(one: Mutation) -> Expectation:
    body, status = one.facts["error body"], one.facts["status"]
    code = body.get("Code")
    speaks = isinstance(body.get("Error"), str) or (isinstance(code, int) and not isinstance(code, bool))
    its_word = speaks and status < 500
    return Expectation(
        MutationClass.DETECTED if its_word or one.span not in TRANSIENT else MutationClass.HARMLESS, structural=True
    )


def _expect_id(one: Mutation) -> Expectation:
    kept = one.what in {"upper case", *_SAME}
    if one.kind in {"create", "list"} or one.scenario == "lost":
        most_severe = MutationClass.HARMLESS if one.what in _SAME else MutationClass.DETECTED
        return Expectation(most_severe, unordered="entry" in one.facts, structural=True)
    harmless = kept or one.what in _AS_MISSING
    return Expectation(
        MutationClass.HARMLESS if harmless else MutationClass.DETECTED, unordered="entry" in one.facts, structural=True
    )


def _expect_ids(one: Mutation) -> Expectation:
    kept = one.what in _IDS_KEPT and one.scenario != "lost"
    kept = kept or (one.kind == "list" and one.scenario == "list")
    return Expectation(MutationClass.HARMLESS if kept else MutationClass.DETECTED, unordered=True, structural=True)


def _expect_status_word(one: Mutation) -> Expectation:
    return Expectation(_class_of_word(one), structural=True)


def _class_of_word(one: Mutation) -> MutationClass:
    what = one.what
    if what in {"upper case", "title case", "space around", *_SAME}:
        return MutationClass.HARMLESS
    if what.startswith(("word: ", "spelling: ")):
        word = what.partition(": ")[2]
        if word in WORDS[:4] or word == "running":
            # A single answer that says that the job goes on is only early.
            return MutationClass.HARMLESS if one.span == "once" else MutationClass.DETECTED
        return MutationClass.UNDETECTABLE if word in WORDS else MutationClass.HARMLESS
    unknown = what in {"unknown word", "word", "with an enum's name"} and one.kind != "delete"
    # If a summary is wrong, the job and the task still give the right value. After a lost purchase nothing does.
    is_known_elsewhere = "entry" in one.facts and not (one.kind == "list" and one.scenario == "lost")
    return MutationClass.HARMLESS if unknown or is_known_elsewhere else MutationClass.DETECTED


def _expect_time(one: Mutation) -> Expectation:
    if one.scenario != "lost" or one.facts["leaf"] != "StartTime":
        return _HARMLESS
    # If a start is further back than clocks may differ, the job is another one.
    return Expectation(MutationClass.DETECTED, denied=one.what in {"six days earlier", "epoch", "date only"})


def _expect_url(one: Mutation) -> Expectation:
    if one.facts["leaf"] == "WebhookURL":
        return _HARMLESS
    if one.scenario == "lost":
        denied = one.what in _OTHER_PAGES
        return Expectation(MutationClass.DETECTED, unordered=True, denied=denied, structural=True)
    return Expectation(MutationClass.HARMLESS, unordered=True, structural=True)


def _expect_entries(one: Mutation) -> Expectation:
    if one.facts["leaf"] == "Tasks":
        return Expectation(MutationClass.HARMLESS, unordered=True, structural=True)
    if one.scenario == "list":
        return Expectation(MutationClass.HARMLESS, structural=True)
    denied = one.what == "first missing" and one.span == "ever"
    return Expectation(MutationClass.DETECTED, denied=denied, structural=True)


def _expect_flag(one: Mutation) -> Expectation:
    lies = one.facts["leaf"] == "Base64EncodedContent" and one.what in _TRUE
    return _LIE if lies else _HARMLESS


def _expect_content(one: Mutation) -> Expectation:
    if one.what in _SAME:
        return _HARMLESS
    return Expectation(
        MutationClass.DETECTED if one.what == "over the limit" else MutationClass.UNDETECTABLE, structural=True
    )


def _expect_harmless(_: Mutation) -> Expectation:
    return _HARMLESS


_BY_SORT: dict[str, Any] = {
    "id": _expect_id,
    "ids": _expect_ids,
    "status": _expect_status_word,
    "time": _expect_time,
    "url": _expect_url,
    "entries": _expect_entries,
    "map": _expect_harmless,
    "number": _expect_harmless,
    "flag": _expect_flag,
    "text": _expect_harmless,
    "content": _expect_content,
}


@dataclass(frozen=True)
class Verdict:
    """The observed class of a play, and the rules that it broke."""

    found: MutationClass
    violations: tuple[str, ...]
    outcome: str


def evaluate(observed: ObservedRun, expected: Expectation, scenario: Scenario, *, transient: bool) -> Verdict:
    """Return the verdict on a play.

    Args:
        transient: the mutation ended by itself, so the run must end soon.
    """
    found = _observed_class(observed, expected, scenario)
    broken = list(_broken_invariants(observed, expected))
    if transient and observed.ended and observed.took > 6 * HOUR:
        broken.append("ended late")
    if found > expected.most_severe and observed.ended:
        broken.append(f"more than {expected.most_severe.name.lower()}")
    return Verdict(found, tuple(broken), _outcome(observed, found))


def _broken_invariants(observed: ObservedRun, expected: Expectation) -> list[str]:
    broken = []
    if observed.bought > 1 and not expected.denied:
        broken.append("second purchase")
    if not observed.ended:
        broken.append("no end")
    if observed.escaped_errors:
        broken.append("exception escaped")
    if observed.token_leaks:
        broken.append("token leaked")
    stored = {task.task_id.lower(): task for task in observed.tasks}
    pages = {task.content for task in observed.tasks}
    for task_id in observed.account.served:
        job = next(job for job in observed.account.jobs.values() if task_id in job.task_ids)
        if job.targets == observed.targets and page_of(job.target_of(task_id)) not in pages:
            broken.append("served page lost")
            break
    if any(task_id in stored and stored[task_id].gone for task_id in observed.account.shown):
        broken.append("served page marked gone")
    if observed.verified and _is_misplaced(observed):
        broken.append("pages under wrong URLs, verified")
    broken += find_broken_metas(observed)
    return broken


def find_broken_metas(observed: ObservedRun) -> list[str]:
    """Return the rules for `meta` that are broken. A `meta` is the page of its own target."""
    pages = {page_of(target) for target in observed.targets}
    given = [task for task in [*observed.tasks, *observed.streamed] if task.content in pages]
    broken = ["meta of another page"] if any(task.meta not in {None, task.content} for task in given) else []
    is_whole = observed.has_meta and observed.verified and observed.in_order
    return broken + (["meta lost"] if is_whole and any(task.meta is None for task in observed.tasks) else [])


def _is_misplaced(observed: ObservedRun) -> bool:
    """Return whether a page stands in the position of another target's page."""
    pages = [page_of(target) for target in observed.targets]
    if len(observed.tasks) != len(pages):
        return False
    return any(task.content in pages and task.content != page for task, page in zip(observed.tasks, pages, strict=True))


def _observed_class(observed: ObservedRun, expected: Expectation, scenario: Scenario) -> MutationClass:
    pages = {page_of(target) for target in observed.targets}
    if scenario.cancel_at is not None:
        return (
            MutationClass.HARMLESS
            if observed.state == "canceled"
            else MutationClass.DETECTED
            if observed.error
            else MutationClass.UNDETECTABLE
        )
    if (
        observed.state == "succeeded"
        and {task.content for task in observed.tasks} == pages
        and len(observed.tasks) == len(observed.targets)
    ):
        if observed.in_order and (observed.verified or expected.unordered):
            return MutationClass.HARMLESS
        if expected.unordered and not observed.verified:
            return MutationClass.HARMLESS
    if observed.error:
        return MutationClass.DETECTED
    good = {task.content for task in observed.tasks if task.is_success}
    told = sum(1 for task in observed.tasks if not task.is_success and task.error_message)
    return MutationClass.DETECTED if len(good & pages) + told >= len(pages) and told else MutationClass.UNDETECTABLE


def _outcome(observed: ObservedRun, found: MutationClass) -> str:
    """Return the outcome in a few words, for the table."""
    if not observed.ended:
        return "no end"
    if found is MutationClass.HARMLESS and observed.state == "succeeded":
        return "all pages" if observed.verified else "all pages, order not proven"
    if observed.error:
        return f"{observed.state}: {observed.error.partition(':')[0]}"
    failed = [task for task in observed.tasks if not task.is_success]
    if failed:
        gone = ", gone" if any(task.gone for task in failed) else ""
        return f"{observed.state}, {'a task' if len(failed) == 1 else 'tasks'} failed{gone}"
    return (
        f"{observed.state}, other pages"
        if len(observed.tasks) == len(observed.targets)
        else f"{observed.state}, pages lack"
    )
