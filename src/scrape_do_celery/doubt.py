"""What to believe of a purchase whose answer was lost: the rules on which a second one hangs. No I/O, no clock."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode

from ada_url import URL

from scrape_do_celery.models.base import aware
from scrape_do_celery.models.urls import is_web_url
from scrape_do_celery.polling import RETENTION
from scrape_do_celery.rules.listing import MAX_ZONE_OFFSET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.models import JobCreationRequest, JobDetails

_PARAMETER = "scrape_do_intent"
#: Seconds by which the API's clock may be misread: `Date` has whole seconds, and travels.
_SLACK = 5.0
#: Seconds by which clocks may differ at least, and where the API did not tell its time.
_APART = 90.0


class Age(StrEnum):
    """When a job began, as far as its start time tells. A job that has not started may be of any age: it is fresh."""

    FRESH = "fresh"  #: it may have come from the intent
    NEAR = "near"  #: it looks older than the intent. Clocks differ, so its start time proves nothing
    OLDER = "older"  #: it began longer before the intent than clocks and time zones can explain, and has ended


class Verdict(StrEnum):
    """What follows from a look for a job."""

    ADOPT = "adopt"  #: it is the part's own
    AGAIN = "again"  #: nothing is certain yet
    ABSENT = "absent"  #: by all that can be known, the `POST` was not taken
    AMBIGUOUS = "ambiguous"  #: there is a job that may be the part's, and may be another's


@dataclass(frozen=True, slots=True)
class Match:
    """A job that no run owns and whose targets are the part's.

    `marked`: the job carries the part's own marker. `strict`: its URLs have the WHATWG forms of the targets; else they
    only have the loose forms, which the targets of another part may share.
    """

    job_id: str
    age: Age
    marked: bool = False
    strict: bool = True


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known when the matches of one full listing are judged. Times are by the store's clock.

    `began` is when the listing began, `complete` whether each entry in it that could be the job was read, `absent_at`
    when the listing began that was the first to count as showing no job. `patience` is the time after the intent that a
    `POST` may take and its traces need to appear, `apart` the time between the two listings that show an absence.
    `distrust` says why an equal job need not be the part's own. `alike` counts the unresolved purchases whose targets
    have the same loose forms, the part's own among them. `refused`: the API answered the `POST` with 429, 401 or 403,
    so that one complete listing without a job is enough.
    """

    intent: float
    began: float
    complete: bool
    not_found_at: float | None
    purchases: int
    patience: float
    apart: float
    marker: bool
    distrust: str
    alike: int = 1
    refused: bool = False

    @property
    def in_vain(self) -> bool:
        """Whether the API has forgotten by now what was to be found."""
        return self.began - self.intent > RETENTION

    @property
    def counts(self) -> bool:
        """Whether this listing can show that there is no job."""
        return self.complete and self.began - self.intent > self.patience

    @property
    def awaits_second(self) -> bool:
        """Whether a whole listing, this one or one before, has shown no job, and it is too early for the second."""
        return self.counts if self.not_found_at is None else self.began - self.not_found_at < self.apart


def judge(matches: Sequence[Match], known: Evidence) -> tuple[Verdict, str]:
    """The verdict, with the job to adopt, or in words why none is. Of several jobs the first is taken.

    Where a marker was sent, only what carries it is a match. Without one, a job may be adopted only if nothing hints
    that somebody else bought it: the wire shows targets, and never with which options.
    """
    if known.marker:
        mine = [match for match in matches if match.marked]
    else:
        candidates = _candidates(matches, known)
        mine = [match for match in candidates if match.age is Age.FRESH]
        if why := _ambiguity(candidates, mine, known):
            late = known.began - known.intent > known.patience
            return (Verdict.AMBIGUOUS if late else Verdict.AGAIN), why
    if mine:
        return Verdict.ADOPT, mine[0].job_id
    if known.in_vain:
        return Verdict.AMBIGUOUS, "it could not be found out for as long as the API keeps jobs"
    if known.refused and known.complete:
        return Verdict.ABSENT, "the API refused it, and no such job is listed"
    if not known.counts or known.awaits_second:
        return Verdict.AGAIN, "no such job was seen yet"
    return Verdict.ABSENT, "no such job was seen in two full listings"


def _candidates(matches: Sequence[Match], known: Evidence) -> list[Match]:
    """Select the jobs that may be the purchase's: those that match strictly, else those that match coarsely.

    A purchase that the API refused has no older job: its answer was not lost. One before it may have.
    """
    ages = {Age.FRESH} if known.refused and known.purchases == 1 else {Age.FRESH, Age.NEAR}
    found = [match for match in matches if match.age in ages]
    return [match for match in found if match.strict] or found


def _ambiguity(candidates: Sequence[Match], fresh: Sequence[Match], known: Evidence) -> str:
    if len(fresh) < len(candidates):
        return "an equal job that no run owns looks older than the purchase, and nothing proves that it is"
    if not fresh:
        return ""
    if known.distrust:
        return known.distrust
    if len(fresh) > known.purchases:
        return f"{len(fresh)} equal jobs that no run owns for {known.purchases} purchase(s)"
    if not fresh[0].strict and known.alike != 1:
        return f"a job has similar URLs, and {known.alike} unresolved purchases have such targets"
    return ""


def age(job: JobDetails, intent: float, api_ahead: float | None, tolerance: float) -> Age:
    """When a job began, seen from an intent at a moment of the store's clock.

    `api_ahead` is by how many seconds the API's clock is ahead of the store's; None where it is not known. Servers
    behind one address may be off by `tolerance` seconds. A server may also write its local time without a zone, or as
    if it was UTC. A job that runs has no certain age at all: its start time is the API's word alone.
    """
    if job.start_time is None:
        return Age.FRESH
    before = intent - (aware(job.start_time).timestamp() - (api_ahead or 0.0))
    if before <= (_APART if api_ahead is None else _SLACK):
        return Age.FRESH
    is_near = before <= max(tolerance, MAX_ZONE_OFFSET) or not job.is_terminal
    return Age.NEAR if is_near else Age.OLDER


def youngest(*ages: Age) -> Age:
    """Select the youngest of several ages of one job."""
    return min(ages, key=tuple(Age).index)


def read_back_to(intent: float, api_ahead: float | None, tolerance: float) -> datetime:
    """How far back, by the API's clock, a listing has to be read to show all that may have come from an intent."""
    return datetime.fromtimestamp(intent + (api_ahead or 0.0) - max(tolerance, _APART), UTC)


def marker_of(prefix: str, member: str) -> str:
    """What tells a part's job from any other's."""
    return hashlib.sha256(f"{prefix}:{member}".encode()).hexdigest()[:32]


def with_marker(request: JobCreationRequest, marker: str, fallback: str | None) -> JobCreationRequest | None:
    """The request with its marker in the query of its webhook's URL; None where it has no webhook, nor is there one."""
    url = request.webhook_url or fallback
    if url is None:
        return None
    # Text only: parsers of other languages refuse URLs that a WHATWG parser takes.
    base, mark, fragment = url.partition("#")
    path, _, query = base.partition("?")
    joint = "&" if query and not query.endswith("&") else ""
    marked = f"{path}?{query}{joint}{urlencode({_PARAMETER: marker})}{mark}{fragment}"
    return request.model_copy(update={"webhook_url": marked})


def carries(url: str | None, marker: str) -> bool:
    """Whether a task's webhook shows this marker."""
    if url is None or not is_web_url(url):
        return False
    return marker in parse_qs(URL(url).search.removeprefix("?")).get(_PARAMETER, [])


def hides_marker(url: str | None) -> bool:
    """Tell whether a task shows no webhook, or a masked one: then its job may have any marker."""
    return url is None or not is_web_url(url)
