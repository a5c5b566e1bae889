"""Compare the URLs of a job's tasks with the targets of a part."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from scrape_do_celery.models.urls import (
    coarse_digest,
    is_web_url,
    loose_form,
    strict_digest,
    whatwg_form,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scrape_do_celery.models import JobDetails, UndetailedTaskResponse


#: URLs of a job whose forms are remembered, at most.
_SAMPLE: Final = 8
#: Characters of a URL that a summary shows at least if it cuts long URLs.
_SHOWN: Final = 100


class Likeness(IntEnum):
    """The likeness of a job's URLs and a part's targets."""

    NONE = 0  #: the job has other targets
    COARSE = 1  #: the job's URLs have the loose forms of these targets, which similar targets may share
    STRICT = 2  #: the job's URLs have the WHATWG forms of these targets


@dataclass(frozen=True, slots=True)
class JobDigests:
    """The digests of the URLs of one job.

    `sample` has the hashes of some URL forms, which quickly reveal a job with another target. All forms of all jobs of
    an account would take too much memory.
    """

    strict: str
    coarse: str
    sample: frozenset[tuple[int, int]]

    @classmethod
    def from_urls(cls, urls: Iterable[str]) -> JobDigests:
        """Make the digests of the URLs that the tasks of a job name."""
        named = list(urls)
        distinct = list(dict.fromkeys(named))
        # Take samples from the whole job: two lists of targets often have the same beginning.
        some = distinct[:: max(1, len(distinct) // _SAMPLE)][:_SAMPLE]
        return cls(strict_digest(named), coarse_digest(named), frozenset(map(_form_hashes, some)))


@dataclass(frozen=True, slots=True)
class PartDigests:
    """The digests of a part's targets.

    A server may answer equal targets with one task. So a part with equal targets also has the digests of its distinct
    targets.
    """

    strict: tuple[str, ...]
    coarse: tuple[str, ...]

    @classmethod
    def from_targets(cls, targets: Sequence[str]) -> PartDigests:
        """Make the digests of a part's targets. Parameter sets of a plugin are given as texts."""
        kinds = [list(targets)]
        if len(distinct := distinct_targets(targets)) < len(targets):
            kinds.append(distinct)
        return cls(tuple(map(strict_digest, kinds)), tuple(map(coarse_digest, kinds)))

    def is_like(self, targets: Sequence[str]) -> bool:
        """Return whether the targets of another part are similar or equal."""
        return not set(self.coarse).isdisjoint(PartDigests.from_targets(targets).coarse)

    def compare(self, job: JobDigests) -> Likeness:
        """Return the likeness of a job's URLs and the part's targets."""
        if job.strict in self.strict:
            return Likeness.STRICT
        return Likeness.COARSE if job.coarse in self.coarse else Likeness.NONE


def distinct_targets(targets: Iterable[str]) -> list[str]:
    """Return the first target of each WHATWG form, in order."""
    first: dict[str, str] = {}
    for target in targets:
        first.setdefault(whatwg_form(target), target)
    return list(first.values())


def named_tasks(job: JobDetails) -> list[UndetailedTaskResponse]:
    """Return the tasks of a job's summary that show their target.

    An entry does not count if the job does not name its id, or if its text is no URL.
    """
    ids = {task_id.lower() for task_id in job.task_ids}
    return [task for task in job.tasks if (not ids or task.task_id.lower() in ids) and is_web_url(task.url)]


class TargetSet:
    """The loose forms of a part's targets, and the first characters of their URLs.

    A job belongs to another part only if it names a URL that is not among them. An answer may name only some tasks of a
    job, name a task once for each attempt, or cut long URLs.
    """

    def __init__(self, targets: Iterable[str]) -> None:
        pairs = list(map(_form_hashes, targets))
        self._forms = {form for form, _ in pairs}
        self._starts = {start for _, start in pairs}

    def has_all(self, urls: Iterable[str]) -> bool:
        """Return whether each URL may be one of the targets."""
        return self._may_have(map(_form_hashes, urls))

    def may_have(self, job: JobDigests) -> bool:
        """Return whether no URL of a job is known to belong to another part."""
        return self._may_have(job.sample)

    def _may_have(self, pairs: Iterable[tuple[int, int]]) -> bool:
        return all(form in self._forms or start in self._starts for form, start in pairs)


def _form_hashes(url: str) -> tuple[int, int]:
    form = whatwg_form(url)
    return hash(loose_form(form)), hash(form[:_SHOWN])
