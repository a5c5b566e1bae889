"""The command `manage.py scrape_do_enqueue`."""

from __future__ import annotations

from scrape_do_celery.cli.runs import enqueue_run
from scrape_do_celery.contrib.django.management.click_command import ClickCommand


class Command(ClickCommand):
    """The command that starts a run and prints its id."""

    help = enqueue_run.help or ""
    command = enqueue_run
