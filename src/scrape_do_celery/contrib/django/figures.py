"""Write figures as the language of a page does."""

from __future__ import annotations

from django.utils.formats import number_format

from scrape_do_celery.figures import format_figure


def localize_figure(value: float) -> str:
    """Return a figure with at most four decimals: `1,234.5` on an English page, `1.234,5` on a German one."""
    return number_format(format_figure(value).replace(",", ""), force_grouping=True)
