"""An application with a schedule, for each scheduler of beat."""

from __future__ import annotations

import os

import redis
from celery import Celery, shared_task

from scrape_do_celery import scheduled_run

EVERY = 2.0


@shared_task(name="app_with_schedule.follow")
def follow(result):
    """Note for the test that this task has followed a run."""
    with redis.Redis.from_url(os.environ["SCRAPE_DO_REDIS_URL"]) as client:
        client.sadd(f"{os.environ['SCRAPE_DO_KEY_PREFIX']}:followed", result["run_id"])


app = Celery(
    "app_with_schedule", broker=os.environ["SCRAPE_DO_BROKER_URL"], backend=os.environ["SCRAPE_DO_RESULT_BACKEND"]
)
app.conf.update(
    include=["scrape_do_celery.tasks"],
    task_default_queue=os.environ["SCRAPE_DO_QUEUE"],
    beat_max_loop_interval=1,
    redbeat_redis_url=os.environ["SCRAPE_DO_REDIS_URL"],
    redbeat_key_prefix=os.environ["SCRAPE_DO_KEY_PREFIX"],
    redbeat_lock_timeout=5,
    # Let several leaders publish, as after a lost lock.
    redbeat_lock_key=None,
    beat_schedule={
        "prices": scheduled_run(
            "prices",
            EVERY,
            ["https://a.example/"],
            if_running="queue",
            export=os.environ.get("EXPORT_TO"),
            on_success=follow.s().set(queue=os.environ["SCRAPE_DO_QUEUE"]),
        )
    },
)
