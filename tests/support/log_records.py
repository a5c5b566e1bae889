"""Read the log of a test."""

from __future__ import annotations


def own_records(caplog):
    """Return the records of this package. A thread that an earlier test has left may log through another logger."""
    return [record for record in caplog.records if record.name.partition(".")[0] == "scrape_do_celery"]
