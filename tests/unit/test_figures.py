"""Test how figures are written for people."""

from __future__ import annotations

import pytest

from scrape_do_celery.figures import format_figure


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1_234_567, "1,234,567"),
        (1_234_567.0, "1,234,567"),
        (1e6, "1,000,000"),
        (123_456_789_012.5, "123,456,789,012.5"),
        (0.1 + 0.2, "0.3"),
        (0, "0"),
        (100.0, "100"),
        (-1500, "-1,500"),
    ],
)
def test_figures_are_digits(value, text):
    assert format_figure(value) == text
