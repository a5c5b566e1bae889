"""`python -m scrape_do_celery` is `scrape-do`."""

from __future__ import annotations

from scrape_do_celery.cli import main

if __name__ == "__main__":
    main()
