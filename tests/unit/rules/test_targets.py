"""The URLs that a job names, held against a part's targets."""

from __future__ import annotations

import pytest

from scrape_do_celery.models.urls import fingerprint
from scrape_do_celery.rules.targets import JobDigests, Likeness, PartDigests, TargetCount


def job(*urls, settled=True):
    return JobDigests.from_urls(urls, settled=settled)


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


def test_earlier_digests_come_along():
    assert PartDigests.from_targets(["https://a.example/"]).previous == (fingerprint(["https://a.example/"]),)


def test_only_a_job_that_goes_on_may_grow():
    assert job("https://a.example/", settled=False).may_grow_to(2)
    assert not job("https://a.example/", settled=True).may_grow_to(2)
    assert not job("https://a.example/", settled=False).may_grow_to(1)


def test_a_target_is_named_as_often_as_it_was_given():
    count = TargetCount(["https://a.example/", "https://a.example/", "https://b.example/"])
    named = [
        "https://A.example",
        "https://b.example/#x",
        "https://a.example/",
        "https://a.example/",
        "https://c.example/",
    ]
    assert [count.take(url) for url in named] == [True, True, True, False, False]
