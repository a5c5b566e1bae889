"""Celery's settings for our application and our producers. Each line keeps a result or a worker alive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrape_do_celery.config.celery_sentinels import override_for_sentinels
from scrape_do_celery.config.variables import env_name

if TYPE_CHECKING:
    from scrape_do_celery.config.settings import Settings


def celery_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of a Celery app of this package.

    For a store on a cluster, the addresses of the broker and the results may be missing: readers need neither.
    """
    config = {
        "broker_url": settings.broker_url,
        "result_backend": settings.result_backend,
        "result_expires": settings.record_ttl,
        "task_default_queue": settings.queue,
        "accept_content": ["json"],
        # A message only wakes a step up. A worker reserves few messages, because it may die with them.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # Celery 5.7 applies this setting before the setting above, and counts the retries.
        "task_retry_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_hijack_root_logger": True,
        "task_track_started": False,
        "result_extended": False,
        # Wait for a broker that restarts. Write a result again until the backend accepts it.
        "task_publish_retry_policy": {
            "max_retries": 30,
            "interval_start": 0.2,
            "interval_step": 0.5,
            "interval_max": 2,
        },
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A broker that refuses for now, such as with NOREPLICAS after a failover, would end the worker.
        "broker_channel_error_retry": True,
        "result_backend_always_retry": True,
        "result_backend_max_retries": 60,
        "result_backend_thread_safe": True,
        "worker_soft_shutdown_timeout": 20.0,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        **_redis_options(settings),
    }
    return override_for_sentinels(config, settings.redis_url)


def find_missing_servers(settings: Settings) -> str | None:
    """Return a sentence about a broker or results that no setting names, as for a store on a cluster."""
    missing = [name for name in ("broker_url", "result_backend") if not getattr(settings, name)]
    if not missing:
        return None
    return (
        f"{' and '.join(map(env_name, missing))} must be set, because SCRAPE_DO_KEY_PREFIX has a hash tag, as on "
        "Redis Cluster: Celery's broker and results do not work there. Name another server, such as redis://host:6379/0"
    )


def _redis_options(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if settings.broker_url.startswith(("redis", "sentinel")):
        options["broker_transport_options"] = {
            "visibility_timeout": 900,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            # Seconds. If a worker dies during a redelivery, the other workers redeliver nothing for this time. The
            # default is five minutes.
            "unacked_mutex_expire": 30,
            "health_check_interval": 25,
            "socket_keepalive": True,
            # A worker whose broker accepts and never answers would wait for ever, and would not even shut down.
            "socket_timeout": 10,
            "socket_connect_timeout": 10,
        }
    if settings.result_backend.startswith(("redis", "sentinel")):
        options |= {
            "redis_backend_health_check_interval": 30,
            "redis_socket_keepalive": True,
            "result_backend_transport_options": {
                "retry_policy": {"max_retries": 60},
                # A server that refuses for now, such as with NOREPLICAS, would turn a result into a failure.
                "additional_connection_errors": ["redis.exceptions.ResponseError"],
            },
        }
    return options
