"""`scrape-do sandbox`."""

from __future__ import annotations

import click
