"""Test the rules that decide on a second purchase, over all possible job lists."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from ada_url import URL
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.models import JobCreationRequest, JobDetails
from scrape_do_celery.rules.polling import RETENTION
from scrape_do_celery.rules.reconciliation import (
    Candidate,
    Resolution,
    SearchEvidence,
    StartOrder,
    carries,
    date_intent,
    decide,
    hides_marker,
    marker_of,
    read_back_to,
    started_relative_to,
    with_marker,
)

SECONDS = st.floats(-200.0, RETENTION * 2, allow_nan=False)
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.uuids().map(str),
        st.sampled_from(StartOrder),
        st.booleans(),
        st.booleans(),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=4,
    unique_by=lambda candidate: candidate.job_id,
)
EVIDENCE = st.builds(
    SearchEvidence,
    intent=st.just(0.0),
    began=SECONDS,
    complete=st.booleans(),
    not_found_at=st.none() | SECONDS,
    purchases=st.integers(1, 3),
    visibility_delay=st.just(90.0),
    min_gap=st.just(15.0),
    marker=st.booleans(),
    ambiguity=st.sampled_from(["", "others buy here"]),
    alike=st.integers(1, 3),
    refused=st.booleans(),
)


@given(CANDIDATES, EVIDENCE)
def test_absence_is_never_early_and_never_unread(candidates, evidence):
    resolution, _ = decide(candidates, evidence)
    if resolution is Resolution.NOT_FOUND and evidence.refused:
        assert evidence.complete
        assert not any(
            candidate.marked if evidence.marker else candidate.start_order is StartOrder.AFTER
            for candidate in candidates
        )
    elif resolution is Resolution.NOT_FOUND:
        assert evidence.complete
        assert evidence.began > 90.0
        assert evidence.not_found_at is not None
        assert evidence.began - evidence.not_found_at >= 15.0
        assert not any(
            candidate.marked if evidence.marker else candidate.start_order is not StartOrder.BEFORE
            for candidate in candidates
        )


@given(CANDIDATES, EVIDENCE)
def test_nothing_is_adopted_that_may_be_somebody_elses(candidates, evidence):
    resolution, job_id = decide(candidates, evidence)
    if resolution is not Resolution.ADOPT:
        return
    (adopted,) = [candidate for candidate in candidates if candidate.job_id == job_id]
    if adopted.hooked:
        return
    if evidence.marker:
        assert adopted.marked
        return
    if evidence.refused:
        candidates = [candidate for candidate in candidates if candidate.start_order is StartOrder.AFTER]
    possible = [candidate for candidate in candidates if candidate.start_order is not StartOrder.BEFORE]
    possible = [candidate for candidate in possible if candidate.strict] or possible
    assert {candidate.start_order for candidate in possible} == {StartOrder.AFTER}
    assert len(possible) <= evidence.purchases
    assert not evidence.ambiguity
    assert adopted.strict or evidence.alike == 1


@given(CANDIDATES, EVIDENCE)
def test_a_purchase_in_doubt_is_given_up_late_only(candidates, evidence):
    resolution, why = decide(candidates, evidence)
    if resolution is Resolution.AMBIGUOUS:
        assert evidence.began > 90.0
        assert why


@given(EVIDENCE)
def test_one_newer_job_is_the_one(evidence):
    found = decide([Candidate("j", StartOrder.AFTER, marked=True)], evidence)
    expected = Resolution.ADOPT if evidence.marker or not evidence.ambiguity else None
    assert found == (Resolution.ADOPT, "j") if expected else found[0] in {Resolution.SEARCH_LATER, Resolution.AMBIGUOUS}


@given(CANDIDATES, EVIDENCE)
def test_job_with_the_webhook_of_the_purchase_goes_before_all_evidence(candidates, evidence):
    hooked = [candidate.job_id for candidate in candidates if candidate.hooked]
    resolution, job_id = decide(candidates, evidence)
    assert not hooked or (resolution, job_id) == (Resolution.ADOPT, hooked[0])


@given(EVIDENCE)
def test_every_search_ends(evidence):
    late = SearchEvidence(**{**{n: getattr(evidence, n) for n in evidence.__slots__}, "began": RETENTION + 1.0})
    assert decide([], late)[0] is Resolution.AMBIGUOUS


def job(start, status="success"):
    return JobDetails(job_id="j", status=status, start_time=start and datetime.fromtimestamp(start, UTC))


@given(age=st.floats(0.0, 1e6), unwatched=st.floats(0.0, 1e6), step=st.sampled_from([0.0, 119.0, 7200.0, 2_592_000.0]))
def test_intent_is_dated_again_only_after_a_step_back(age, unwatched, step):
    """Let the server's clock step after an intent, and let no dispatcher see some of the time since."""
    intent, watched_age = 1e9, max(0.0, age - unwatched)
    assert date_intent(intent, intent + age + step, watched_age) == intent
    dated = date_intent(intent, intent + age - step, watched_age)
    if not step or not unwatched:
        # The true time by the present clock, but for some seconds. A job of the intent never looks older than it.
        assert -10.001 <= dated - (intent - step) <= 5.001
    assert dated <= intent


def test_age_by_either_clock_ends_a_search():
    evidence = SearchEvidence(
        intent=0.0,
        began=100.0,
        complete=True,
        not_found_at=50.0,
        purchases=1,
        visibility_delay=90.0,
        min_gap=15.0,
        marker=False,
        ambiguity="",
    )
    assert decide([], evidence)[0] is Resolution.NOT_FOUND
    assert decide([], replace(evidence, outlived=True))[0] is Resolution.AMBIGUOUS
    assert decide([], replace(evidence, began=RETENTION + 1.0))[0] is Resolution.AMBIGUOUS


@pytest.mark.parametrize("ahead", [0.0, 60.0, -60.0])
@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (None, StartOrder.AFTER),
        (1000, StartOrder.AFTER),
        (996, StartOrder.AFTER),
        (990, StartOrder.UNCERTAIN),
        (911, StartOrder.UNCERTAIN),
        (905, StartOrder.UNCERTAIN),
        (-2500, StartOrder.UNCERTAIN),
        # A local time without a zone is up to fourteen hours off.
        (-2700, StartOrder.UNCERTAIN),
        (1000 - 14 * 3600, StartOrder.UNCERTAIN),
        (999 - 14 * 3600, StartOrder.BEFORE),
        (2000, StartOrder.AFTER),
    ],
)
def test_the_start_order_of_a_job_by_whatever_clock(start, expected, ahead):
    assert started_relative_to(job(start and start + ahead), 1000.0, ahead, 3600.0) is expected


@pytest.mark.parametrize(("start", "expected"), [(911, StartOrder.AFTER), (905, StartOrder.UNCERTAIN)])
def test_unknown_api_clock_gets_ninety_seconds_tolerance(start, expected):
    assert started_relative_to(job(start), 1000.0, None, 3600.0) is expected


def test_a_tolerance_of_more_than_a_zone_holds():
    assert started_relative_to(job(1000 - 80_000), 1000.0, 0.0, 80_000.0) is StartOrder.UNCERTAIN
    assert started_relative_to(job(999 - 80_000), 1000.0, 0.0, 80_000.0) is StartOrder.BEFORE


@pytest.mark.parametrize("status", ["queued", "pending", "rotating", "a word that nobody knows"])
@given(before=st.floats(0, 1e9))
def test_a_job_that_has_not_ended_is_never_older(status, before):
    assert started_relative_to(job(1e9 - before + 1, status), 1e9, 0.0, 3600.0) is not StartOrder.BEFORE


@given(st.floats(0, 1e9), st.none() | st.floats(-100, 100), st.floats(0, 200))
def test_omitted_jobs_are_older_than_the_intent(intent, ahead, before):
    start = read_back_to(intent, ahead, 3600.0).timestamp() - before - 0.001
    assert started_relative_to(job(start or None), intent, ahead, 3600.0) is not StartOrder.AFTER or start == 0


def test_marker_is_unique_and_stands_in_the_query():
    marker = marker_of("p", "r:0")
    assert marker != marker_of("p", "r:1")
    request = JobCreationRequest(targets=["https://a.example"], webhook_url="https://h.example/x?a=1")
    marked = with_marker(request, marker, None)
    assert marked.webhook_url.startswith("https://h.example/x?a=1&")
    assert carries(marked.webhook_url, marker)
    assert not carries(request.webhook_url, marker)
    assert not carries(None, marker)
    assert not carries(marked.webhook_url, marker_of("p", "r:1"))


@pytest.mark.parametrize(
    ("url", "marked"),
    [
        ("https://h.example", "https://h.example?scrape_do_intent=m"),
        ("https://h.example/x?", "https://h.example/x?scrape_do_intent=m"),
        ("https://h.example/x??", "https://h.example/x??&scrape_do_intent=m"),
        ("https://h.example/x?a&", "https://h.example/x?a&scrape_do_intent=m"),
        ("https://h.example/x?a#b?c", "https://h.example/x?a&scrape_do_intent=m#b?c"),
        ("https://user:[pw@h.example/x", "https://user:[pw@h.example/x?scrape_do_intent=m"),
    ],
)
def test_webhook_text_is_unchanged_around_its_marker(url, marked):
    request = JobCreationRequest(targets=["https://a.example"], webhook_url=url)
    assert with_marker(request, "m", None).webhook_url == marked


WEBHOOKS = st.builds(
    "{}://{}{}{}{}{}".format,
    st.sampled_from(["https", "HTTP"]),
    st.text(alphabet="u:[]@%;|{}'ä", max_size=6).map(lambda user: f"{user}@") | st.just(""),
    st.sampled_from(["h.example", "bücher.example:8080", "[::1]:1", "1.2.3.4", "h.example."]),
    st.text(alphabet="/\\a%2e.;:[]@|", max_size=8).map(lambda path: f"/{path}") | st.just(""),
    st.text(alphabet="?&=a+%[]{}/'scrape_do_intent", max_size=12).map(lambda query: f"?{query}") | st.just(""),
    st.text(alphabet="#?&=[]ä", max_size=5).map(lambda fragment: f"#{fragment}") | st.just(""),
)


@given(WEBHOOKS)
def test_each_webhook_that_is_taken_can_carry_a_marker(url):
    try:
        request = JobCreationRequest(targets=["https://a.example"], webhook_url=url)
    except ValueError:
        return
    marked = with_marker(request, marker_of("p", "r:0"), None)
    assert JobCreationRequest.model_validate(marked.to_wire()).webhook_url == marked.webhook_url
    assert carries(marked.webhook_url, marker_of("p", "r:0"))
    assert not carries(url, marker_of("p", "r:0"))
    assert (URL(marked.webhook_url).host, URL(marked.webhook_url).pathname) == (URL(url).host, URL(url).pathname)


@pytest.mark.parametrize("url", [None, "", "***", "https://[hidden]/x", "https://h.example:port/", "\ud800"])
def test_a_webhook_that_cannot_be_read_hides_its_marker(url):
    assert hides_marker(url)
    assert not carries(url, "m")
    assert not hides_marker("https://h.example/")


def test_a_request_without_a_webhook_takes_the_fallback():
    request = JobCreationRequest(targets=["https://a.example"])
    assert with_marker(request, "m", None) is None
    assert carries(with_marker(request, "m", "https://h.example").webhook_url, "m")


@given(CANDIDATES, st.integers(1, 3), st.booleans(), st.sampled_from(["", "others buy here"]), st.integers(1, 3))
def test_single_job_without_a_list_proves_no_absence(candidates, purchases, marker, ambiguity, alike):
    for refused in (False, True):
        evidence = SearchEvidence.of_one_job(
            purchases=purchases, marker=marker, ambiguity=ambiguity, alike=alike, refused=refused
        )
        resolution, job_id = decide(candidates[:1], evidence)
        assert resolution in {Resolution.ADOPT, Resolution.SEARCH_LATER}
        assert resolution is not Resolution.ADOPT or job_id == candidates[0].job_id
