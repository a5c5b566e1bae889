"""An application whose messages do not go through the producer that a caller passes, as behind a team's gateway."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery

#: Seconds for which `send_task` goes on after its message is out. A worker is faster.
SLOW_RETURN = float(os.environ.get("SHOP_SLOW_RETURN", "0.5"))


class GatewayApp(Celery):  # type: ignore[misc]
    """An app that publishes each message by a producer of its own, and has other work to do then."""

    def send_task(self, name: str, *args: Any, **options: Any) -> Any:
        """Publish as Celery does, without the caller's producer."""
        options.pop("producer", None)
        result = super().send_task(name, *args, **options)
        if name == "scrape_do.scrape":
            time.sleep(SLOW_RETURN)
        return result


class AuditedProducer:
    """A producer that publishes a line of an audit log before each message."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, body: Any, **options: Any) -> Any:
        """Publish the line, and a copy of the message."""
        self._producer.publish({"audit": "message"}, routing_key="audit", exchange="", serializer="json", retry=False)
        return self._producer.publish(tuple(body), **options)


class AuditingApp(Celery):  # type: ignore[misc]
    """An app that wraps the caller's producer."""

    def send_task(self, name: str, *args: Any, producer: Any = None, **options: Any) -> Any:
        """Publish as Celery does, by the wrapped producer."""
        wrapped = producer and AuditedProducer(producer)
        return super().send_task(name, *args, producer=wrapped, **options)


_KIND = {"gateway": GatewayApp, "audit": AuditingApp}[os.environ.get("SHOP_KIND", "gateway")]
app = _KIND(
    "shop",
    broker=os.environ["SHOP_BROKER"],
    backend=os.environ["SHOP_BACKEND"],
    include=["scrape_do_celery.tasks"],
)
