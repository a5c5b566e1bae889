"""Test the comparison of a job's URLs with a part's targets."""

from __future__ import annotations

import pytest

from scrape_do_celery.rules.targets import JobDigests, Likeness, PartDigests, TargetSet


def job(*urls):
    return JobDigests.from_urls(urls)


@pytest.mark.parametrize(
    ("targets", "urls", "likeness"),
    [
        (["https://a.example/?q=men's"], ["https://a.example/?q=men%27s"], Likeness.STRICT),
        (["https://straße.example/"], ["https://xn--strae-oqa.example/"], Likeness.STRICT),
        (["https://[2001:DB8:0:0::1]/"], ["https://[2001:db8::1]/"], Likeness.STRICT),
        (["https://bücher.example/"], ["https://b%C3%BCcher.example/"], Likeness.STRICT),
        (["https://straße.example/"], ["https://strasse.example/"], Likeness.COARSE),
        (["https://app.example/#/p/1"], ["https://app.example/#/p/2"], Likeness.COARSE),
        (["https://app.example/#/p/1"], ["https://app.example/"], Likeness.COARSE),
        (["https://a.example/?b=1&a=2"], ["https://a.example/?a=2&b=1"], Likeness.COARSE),
        (["https://a.example/1"], ["https://a.example/2"], Likeness.NONE),
        (["https://a.example/", "https://b.example/"], ["https://a.example/"], Likeness.NONE),
        (["https://a.example/"] * 2, ["https://a.example/"], Likeness.STRICT),
        (["https://a.example/"] * 2, ["https://a.example/"] * 2, Likeness.STRICT),
        (["https://a.example/"], ["https://a.example/"] * 2, Likeness.NONE),
        (['{"q": "x"}'], ['{"q": "x"}'], Likeness.STRICT),
    ],
)
def test_a_job_is_known_by_its_urls(targets, urls, likeness):
    assert PartDigests.from_targets(targets).compare(job(*urls)) is likeness


LONG = "https://a.example/?signature=" + "a" * 400
MANY = [f"https://a.example/{n}" for n in range(1_000)]


@pytest.mark.parametrize(
    ("urls", "may_be"),
    [
        (MANY, True),
        (MANY[:1], True),
        (MANY[:100], True),
        ([MANY[0]] * 3, True),
        ([], True),
        (["https://A.example/1#x"], True),
        ([*MANY[:99], "https://b.example/"], False),
        ([f"https://b.example/{n}" for n in range(1_000)], False),
    ],
)
def test_only_a_foreign_url_makes_a_job_foreign(urls, may_be):
    targets = TargetSet(MANY)
    assert targets.has_all(urls) is may_be
    # The stored hashes of a job never mark a job of the part as foreign.
    assert targets.may_have(job(*urls)) >= may_be


def test_few_hashes_tell_a_job_of_other_targets():
    half = [f"https://b.example/{n}" for n in range(500)]
    assert not TargetSet(MANY).may_have(job(*MANY[:500], *half))
    assert len(job(*MANY).sample) == 8


@pytest.mark.parametrize(
    ("written", "may_be"),
    [(LONG[:256], True), (f"{LONG[:100]}...", True), (LONG[:99], False), (f"{LONG[:50]}b", False)],
)
def test_truncated_url_is_not_known_to_be_foreign(written, may_be):
    targets = TargetSet([LONG, "https://a.example/"])
    assert (targets.has_all([written]), targets.may_have(job(written))) == (may_be, may_be)
