"""Compare the URLs of a job's tasks with the targets of a part."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from scrape_do_celery.models.urls import coarse_digest, loose_form, previous_digests, strict_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Likeness(IntEnum):
    """How far the URLs of a job are those of a part."""

    NONE = 0  #: the job has other targets
    COARSE = 1  #: every writer of URLs could have written the job's URLs for these targets, or for similar ones
    STRICT = 2  #: the job's URLs have the WHATWG forms of these targets


@dataclass(frozen=True, slots=True)
class JobDigests:
    """The digests of the URLs of one job."""

    strict: str
    coarse: str

    @classmethod
    def from_urls(cls, urls: Iterable[str]) -> JobDigests:
        """Make the digests of the URLs that the tasks of a job name."""
        named = list(urls)
        return cls(strict_digest(named), coarse_digest(named))


@dataclass(frozen=True, slots=True)
class PartDigests:
    """The digests of a part's targets.

    A server may answer equal targets with one task. So a part with equal targets has the digests of its distinct
    targets as well.
    """

    strict: tuple[str, ...]
    coarse: tuple[str, ...]
    #: Digests by earlier versions of this package. They name target locks while workers of both versions run.
    previous: tuple[str, ...]

    @classmethod
    def from_targets(cls, targets: Sequence[str]) -> PartDigests:
        """Make the digests of a part's targets; a plugin's parameter sets are texts here."""
        kinds = [list(targets)]
        if len(distinct := list(dict.fromkeys(targets))) < len(targets):
            kinds.append(distinct)
        return cls(
            tuple(map(strict_digest, kinds)), tuple(map(coarse_digest, kinds)), tuple(previous_digests(list(targets)))
        )

    def compare(self, job: JobDigests) -> Likeness:
        """Tell how far a job's URLs are those of the part."""
        if job.strict in self.strict:
            return Likeness.STRICT
        return Likeness.COARSE if job.coarse in self.coarse else Likeness.NONE


def may_be_part_of(urls: Iterable[str], targets: Iterable[str]) -> bool:
    """Tell whether the URLs that a job names so far can grow to the targets."""
    return not Counter(map(loose_form, urls)) - Counter(map(loose_form, targets))
