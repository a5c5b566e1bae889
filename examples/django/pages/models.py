"""The data that is kept of pages."""

from __future__ import annotations

from django.db import models


class Title(models.Model):
    """The title of a page."""

    run_id = models.CharField(max_length=255, db_index=True)
    url = models.URLField(max_length=2000)
    text = models.TextField(blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run_id", "url"], name="one_title_a_page")]

    def __str__(self) -> str:
        return self.text or self.url
