"""The module behind `python -m scrape_do_celery`, which runs `scrape-do`."""

from __future__ import annotations

from scrape_do_celery.cli import main

if __name__ == "__main__":
    main()
