"""Decide about a purchase in doubt: adopt a job, search again, resubmit, or give up. No I/O, no clock."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode

from ada_url import URL

from scrape_do_celery.models.fields import assume_utc
from scrape_do_celery.models.urls import is_web_url
from scrape_do_celery.rules.listing import MAX_ZONE_OFFSET
from scrape_do_celery.rules.polling import RETENTION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from scrape_do_celery.models import JobCreationRequest, JobDetails

_PARAMETER = "scrape_do_intent"
#: Seconds by which the API's clock may be misread: `Date` has whole seconds, and its answer takes time to arrive.
_SLACK = 5.0
#: Seconds by which clocks may differ: the lower bound, and the value if the API's time is unknown.
_MIN_CLOCK_GAP = 90.0


class StartOrder(StrEnum):
    """The start of a job compared with the intent. A job without a start time counts as `AFTER`."""

    AFTER = "after"  #: the intent may have bought the job
    UNCERTAIN = "uncertain"  #: the job seems older than the intent, but clocks differ, so its start time proves nothing
    BEFORE = "before"  #: the job has ended, and began longer before the intent than clocks and time zones explain


class Resolution(StrEnum):
    """The next action after one search for a job."""

    ADOPT = "adopt"  #: the job is the part's own
    SEARCH_LATER = "search_later"  #: nothing is certain yet
    NOT_FOUND = "not_found"  #: by all evidence, the API did not take the `POST`
    AMBIGUOUS = "ambiguous"  #: a job may be the part's own, or another buyer's


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job that no run owns and that has the part's targets.

    `marked`: the job carries the part's own marker. `strict`: its URLs have the WHATWG forms of the targets. Otherwise
    the URLs have only the loose forms, which the targets of another part may share. `hooked`: the job has the webhook
    of the part's last purchase, which nobody else can sign.
    """

    job_id: str
    start_order: StartOrder
    marked: bool = False
    strict: bool = True
    hooked: bool = False


@dataclass(frozen=True, slots=True)
class SearchEvidence:
    """The evidence for comparing all candidates in one full listing. Times are by the watched clock, in seconds.

    `began`: a time before the start of the listing. `complete`: each entry that could be the job was read.
    `not_found_at`: a time after the start of the first listing that proved an absence. `visibility_delay`: the seconds
    after the intent within which a `POST` ends and its job appears, at the latest. `min_gap`: the seconds between the
    two listings that prove an absence.
    `ambiguity`: the reason why an equal job may not be the part's own. `alike`: the number of unresolved purchases
    whose targets have the same loose forms, including the part's own. `refused`: the API answered the `POST` with 429,
    401 or 403, so that one complete listing without a job is enough. `outlived`: by the server's clock, the API no
    longer keeps a job of the intent. While no dispatcher was at work, only that clock counted.
    """

    intent: float
    began: float
    complete: bool
    not_found_at: float | None
    purchases: int
    visibility_delay: float
    min_gap: float
    marker: bool
    ambiguity: str
    alike: int = 1
    refused: bool = False
    outlived: bool = False

    @classmethod
    def of_one_job(cls, *, purchases: int, marker: bool, ambiguity: str, alike: int, refused: bool) -> Self:
        """Return the evidence for a single job that was read without a listing. It never proves an absence."""
        return cls(0.0, 0.0, False, None, purchases, 0.0, 0.0, marker, ambiguity, alike, refused)

    @property
    def retention_passed(self) -> bool:
        """Whether the API no longer keeps a job that the intent may have bought."""
        return self.outlived or self.began - self.intent > RETENTION

    @property
    def proves_absence(self) -> bool:
        """Whether this listing can prove that no job exists."""
        return self.complete and self.began - self.intent > self.visibility_delay

    @property
    def needs_second_listing(self) -> bool:
        """Whether this or an earlier full listing showed no job, and the time for the second listing has not come."""
        return self.proves_absence if self.not_found_at is None else self.began - self.not_found_at < self.min_gap


def decide(candidates: Sequence[Candidate], evidence: SearchEvidence) -> tuple[Resolution, str]:
    """Return the resolution, with the id of the job to adopt or the reason against it. Of several jobs, take the first.

    A job with the webhook of the purchase is the part's own. If a marker was sent, otherwise only a job with this
    marker can be. Without a marker, a job may be adopted only if nothing suggests another buyer: the API shows the
    targets of a job, but never its options.
    """
    mine, why = _own_jobs(candidates, evidence)
    if why:
        late = evidence.began - evidence.intent > evidence.visibility_delay
        return (Resolution.AMBIGUOUS if late else Resolution.SEARCH_LATER), why
    if mine:
        return Resolution.ADOPT, mine[0].job_id
    if evidence.retention_passed:
        return Resolution.AMBIGUOUS, "no search was conclusive while the API kept the job"
    if evidence.refused and evidence.complete:
        return Resolution.NOT_FOUND, "the API refused the purchase, and the job list shows no such job"
    if not evidence.proves_absence or evidence.needs_second_listing:
        return Resolution.SEARCH_LATER, "no listing has shown such a job yet"
    return Resolution.NOT_FOUND, "two full listings showed no such job"


def _own_jobs(candidates: Sequence[Candidate], evidence: SearchEvidence) -> tuple[list[Candidate], str]:
    """Return the jobs that are the part's own, and the reason why they may not be."""
    if hooked := [candidate for candidate in candidates if candidate.hooked]:
        return hooked, ""
    if evidence.marker:
        return [candidate for candidate in candidates if candidate.marked], ""
    possible = _possible_candidates(candidates, evidence)
    newer = [candidate for candidate in possible if candidate.start_order is StartOrder.AFTER]
    return newer, _ambiguity(possible, newer, evidence)


def _possible_candidates(candidates: Sequence[Candidate], evidence: SearchEvidence) -> list[Candidate]:
    """Select the jobs that the purchase may have bought: the strict matches, or the coarse ones if none is strict.

    A purchase that the API refused has no older job, because its answer was not lost. An earlier purchase may have one.
    """
    orders = (
        {StartOrder.AFTER} if evidence.refused and evidence.purchases == 1 else {StartOrder.AFTER, StartOrder.UNCERTAIN}
    )
    found = [candidate for candidate in candidates if candidate.start_order in orders]
    return [candidate for candidate in found if candidate.strict] or found


def _ambiguity(possible: Sequence[Candidate], newer: Sequence[Candidate], evidence: SearchEvidence) -> str:
    if len(newer) < len(possible):
        return "an equal job without a run seems older than the purchase, but its age is not certain"
    if not newer:
        return ""
    if evidence.ambiguity:
        return evidence.ambiguity
    if len(newer) > evidence.purchases:
        return f"{len(newer)} equal jobs without a run match {evidence.purchases} purchase(s)"
    if not newer[0].strict and evidence.alike != 1:
        return f"a job has similar URLs, and {evidence.alike} unresolved purchases may have bought it"
    return ""


def started_relative_to(job: JobDetails, intent: float, api_clock_offset: float | None, tolerance: float) -> StartOrder:
    """Compare the start of a job with an intent at a moment of the store's clock.

    `api_clock_offset`: seconds by which the API's clock is ahead of the store's clock, None if unknown. `tolerance`:
    seconds by which the clocks of servers behind one address may differ. A server may also write its local time without
    a zone, or as if it was UTC. The age of a running job is never certain: only the API states its start time.
    """
    if job.start_time is None:
        return StartOrder.AFTER
    before = intent - (assume_utc(job.start_time).timestamp() - (api_clock_offset or 0.0))
    if before <= (_MIN_CLOCK_GAP if api_clock_offset is None else _SLACK):
        return StartOrder.AFTER
    is_near = before <= max(tolerance, MAX_ZONE_OFFSET) or not job.is_terminal
    return StartOrder.UNCERTAIN if is_near else StartOrder.BEFORE


def date_intent(intent: float, now: float, watched_age: float) -> float:
    """Return the time of an intent by the present clock of the server, with the age of the intent by the watched clock.

    If the server's clock was set back after the intent, the stored time is too late, and a job of the intent would look
    older than the intent. The watched clock never counts more time than has passed, so its age shows such a step.
    """
    return intent if now - intent >= watched_age - _SLACK else now - watched_age - 2 * _SLACK


def latest_order(*orders: StartOrder) -> StartOrder:
    """Select the latest of several start orders of one job."""
    return min(orders, key=tuple(StartOrder).index)


def read_back_to(intent: float, api_clock_offset: float | None, tolerance: float) -> datetime:
    """Return the time, by the API's clock, back to which a listing must reach to show all jobs of an intent."""
    return datetime.fromtimestamp(intent + (api_clock_offset or 0.0) - max(tolerance, _MIN_CLOCK_GAP), UTC)


def marker_of(prefix: str, part_id: str) -> str:
    """Return the marker that distinguishes a part's job from all other jobs."""
    return hashlib.sha256(f"{prefix}:{part_id}".encode()).hexdigest()[:32]


def with_marker(request: JobCreationRequest, marker: str, fallback: str | None) -> JobCreationRequest | None:
    """Return the request with a marker in the query of its webhook URL, or of `fallback`. Return None without a URL."""
    url = request.webhook_url or fallback
    if url is None:
        return None
    # Change only the text: parsers of other languages refuse URLs that a WHATWG parser accepts.
    base, mark, fragment = url.partition("#")
    path, _, query = base.partition("?")
    joint = "&" if query and not query.endswith("&") else ""
    marked = f"{path}?{query}{joint}{urlencode({_PARAMETER: marker})}{mark}{fragment}"
    return request.model_copy(update={"webhook_url": marked})


def carries(url: str | None, marker: str) -> bool:
    """Return whether a task's webhook shows this marker."""
    if url is None or not is_web_url(url):
        return False
    return marker in parse_qs(URL(url).search.removeprefix("?")).get(_PARAMETER, [])


def hides_marker(url: str | None) -> bool:
    """Return whether a task shows no webhook, or a masked one: then its job may have any marker."""
    return url is None or not is_web_url(url)
