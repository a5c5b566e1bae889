"""The rules on which a second purchase hangs, over everything that a listing may show."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ada_url import URL
from hypothesis import given, settings
from hypothesis import strategies as st

from scrape_do_celery.doubt import (
    Age,
    Evidence,
    Match,
    Verdict,
    age,
    carries,
    hides_marker,
    judge,
    marker_of,
    read_back_to,
    with_marker,
)
from scrape_do_celery.models import JobCreationRequest, JobDetails
from scrape_do_celery.polling import RETENTION

SECONDS = st.floats(-200.0, RETENTION * 2, allow_nan=False)
MATCHES = st.lists(
    st.builds(Match, st.uuids().map(str), st.sampled_from(Age), st.booleans(), st.booleans()),
    max_size=4,
    unique_by=lambda match: match.job_id,
)
EVIDENCE = st.builds(
    Evidence,
    intent=st.just(0.0),
    began=SECONDS,
    complete=st.booleans(),
    not_found_at=st.none() | SECONDS,
    purchases=st.integers(1, 3),
    patience=st.just(90.0),
    apart=st.just(15.0),
    marker=st.booleans(),
    distrust=st.sampled_from(["", "others buy here"]),
    alike=st.integers(1, 3),
    refused=st.booleans(),
)


@given(MATCHES, EVIDENCE)
def test_absence_is_never_early_and_never_unread(matches, known):
    verdict, _ = judge(matches, known)
    if verdict is Verdict.ABSENT and known.refused:
        assert known.complete
        assert not any(match.marked if known.marker else match.age is Age.FRESH for match in matches)
    elif verdict is Verdict.ABSENT:
        assert known.complete
        assert known.began > 90.0
        assert known.not_found_at is not None
        assert known.began - known.not_found_at >= 15.0
        assert not any(match.marked if known.marker else match.age is not Age.OLDER for match in matches)


@given(MATCHES, EVIDENCE)
def test_nothing_is_adopted_that_may_be_somebody_elses(matches, known):
    verdict, job_id = judge(matches, known)
    if verdict is not Verdict.ADOPT:
        return
    (adopted,) = [match for match in matches if match.job_id == job_id]
    if known.marker:
        assert adopted.marked
        return
    if known.refused:
        matches = [match for match in matches if match.age is Age.FRESH]
    rivals = [match for match in matches if match.age is not Age.OLDER]
    rivals = [match for match in rivals if match.strict] or rivals
    assert {match.age for match in rivals} == {Age.FRESH}
    assert len(rivals) <= known.purchases
    assert not known.distrust
    assert adopted.strict or known.alike == 1


@given(MATCHES, EVIDENCE)
def test_doubt_is_given_up_late_only(matches, known):
    verdict, why = judge(matches, known)
    if verdict is Verdict.AMBIGUOUS:
        assert known.began > 90.0
        assert why


@given(EVIDENCE)
def test_one_fresh_job_is_the_one(known):
    found = judge([Match("j", Age.FRESH, marked=True)], known)
    expected = Verdict.ADOPT if known.marker or not known.distrust else None
    assert found == (Verdict.ADOPT, "j") if expected else found[0] in {Verdict.AGAIN, Verdict.AMBIGUOUS}


@given(EVIDENCE)
def test_every_doubt_ends(known):
    late = Evidence(**{**{n: getattr(known, n) for n in known.__slots__}, "began": RETENTION + 1.0})
    assert judge([], late)[0] is Verdict.AMBIGUOUS


def job(start, status="success"):
    return JobDetails(job_id="j", status=status, start_time=start and datetime.fromtimestamp(start, UTC))


@pytest.mark.parametrize("ahead", [0.0, 60.0, -60.0])
@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (None, Age.FRESH),
        (1000, Age.FRESH),
        (996, Age.FRESH),
        (990, Age.NEAR),
        (911, Age.NEAR),
        (905, Age.NEAR),
        (-2500, Age.NEAR),
        # A local time without a zone is up to fourteen hours off.
        (-2700, Age.NEAR),
        (1000 - 14 * 3600, Age.NEAR),
        (999 - 14 * 3600, Age.OLDER),
        (2000, Age.FRESH),
    ],
)
def test_the_age_of_a_job_by_whatever_clock(start, expected, ahead):
    assert age(job(start and start + ahead), 1000.0, ahead, 3600.0) is expected


@pytest.mark.parametrize(("start", "expected"), [(911, Age.FRESH), (905, Age.NEAR)])
def test_an_api_that_does_not_tell_its_time_is_given_a_minute_and_a_half(start, expected):
    assert age(job(start), 1000.0, None, 3600.0) is expected


def test_a_tolerance_of_more_than_a_zone_holds():
    assert age(job(1000 - 80_000), 1000.0, 0.0, 80_000.0) is Age.NEAR
    assert age(job(999 - 80_000), 1000.0, 0.0, 80_000.0) is Age.OLDER


@pytest.mark.parametrize("status", ["queued", "pending", "rotating", "a word that nobody knows"])
@given(before=st.floats(0, 1e9))
def test_a_job_that_has_not_ended_is_never_older(status, before):
    assert age(job(1e9 - before + 1, status), 1e9, 0.0, 3600.0) is not Age.OLDER


@given(st.floats(0, 1e9), st.none() | st.floats(-100, 100), st.floats(0, 200))
def test_what_a_listing_leaves_out_may_not_have_come_from_the_intent(intent, ahead, before):
    start = read_back_to(intent, ahead, 3600.0).timestamp() - before - 0.001
    assert age(job(start or None), intent, ahead, 3600.0) is not Age.FRESH or start == 0


def test_a_marker_is_the_parts_own_and_stands_in_the_query():
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
def test_the_text_of_a_webhook_stays_as_it_is_around_its_marker(url, marked):
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
@settings(deadline=None)
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
