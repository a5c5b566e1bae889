"""webhook: the receivers of webhooks, and the delays of pages and outcomes with webhooks and without."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from benchmarks import webhook_faces, webhook_ways
from benchmarks.receivers import PATH, find_ports
from benchmarks.report import Outcome

if TYPE_CHECKING:
    from benchmarks.bench import Bench


def play(bench: Bench) -> Outcome:
    """Measure each receiver alone; then measure runs with each use of webhooks, and without."""
    (port,) = find_ports(1)
    settings = {
        "webhook_base_url": f"http://127.0.0.1:{port}{PATH}",
        "webhook_keys": secrets.token_hex(32),
        "webhook_trust": "content",
    }
    faces, ways = {}, {}
    with bench.ours(settings=settings) as ours:
        for face, figures in webhook_faces.measure_faces(bench, ours):
            bench.say(f"receiver {face}")
            faces[face] = figures
    with bench.ours(settings=settings) as ours, ours.working():
        for way, figures in webhook_ways.measure_ways(bench, ours):
            bench.say(f"runs {way}")
            ways[way] = figures
    rows = [*webhook_faces.list_rows(faces), *webhook_ways.list_rows(ways)]
    return Outcome(rows, {"faces": faces, "ways": ways})
