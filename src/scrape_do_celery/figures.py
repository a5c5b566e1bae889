"""Write figures for people."""

from __future__ import annotations


def format_figure(value: float) -> str:
    """Return a figure in digits, with a comma for each thousand and at most four decimals: `1,234,567`."""
    return f"{value:,.4f}".rstrip("0").rstrip(".")
