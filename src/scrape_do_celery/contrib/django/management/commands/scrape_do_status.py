"""The command `manage.py scrape_do_status`."""

from __future__ import annotations

from scrape_do_celery.cli.runs import print_status
from scrape_do_celery.contrib.django.management.click_command import ClickCommand


class Command(ClickCommand):
    """The command that prints the status of a run."""

    help = print_status.help or ""
    command = print_status
