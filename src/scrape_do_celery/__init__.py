"""Scrape.do's Async API in Celery."""

from __future__ import annotations
