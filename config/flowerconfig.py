"""Flower's settings (`celery -A worker flower --conf=config/flowerconfig.py`). Flower never runs without a password."""

from __future__ import annotations

import os
import secrets
import sys

_given = os.environ.get("FLOWER_BASIC_AUTH", "").strip()
if not _given:
    _given = f"flower:{secrets.token_urlsafe(12)}"
    sys.stdout.write(
        f"Flower: the user and password of this start are {_given}\n"
        "Flower: set FLOWER_BASIC_AUTH=user:password to keep them for later starts.\n"
    )
    sys.stdout.flush()

#: Flower's own option: a list of `user:password`.
basic_auth = _given.split(",")
if not all(user and password for user, _, password in (one.partition(":") for one in basic_auth)):
    raise SystemExit("FLOWER_BASIC_AUTH must be user:password; separate several entries by commas")
