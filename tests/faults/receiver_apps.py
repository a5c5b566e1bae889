"""The applications of the lab's receivers: the faces of the package, perhaps without one protection."""

from __future__ import annotations

import os

from scrape_do_celery.webhooks import asgi, wsgi
from tests.faults.mutants import RECEIVER_MUTANTS

if (mutant := os.environ.get("LAB_MUTANT", "")) in RECEIVER_MUTANTS:
    RECEIVER_MUTANTS[mutant]()
asgi_app, wsgi_app = asgi.app, wsgi.app
