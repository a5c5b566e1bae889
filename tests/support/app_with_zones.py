"""An application whose schedules have time zones of their own, in which it is another hour than in UTC."""

from __future__ import annotations

import os
from datetime import datetime
from zoneinfo import ZoneInfo

from celery import Celery
from django_celery_beat.tzcrontab import TzAwareCrontab

from scrape_do_celery import scheduled_run

app = Celery("zones", broker=os.environ["SCRAPE_DO_BROKER_URL"], backend=os.environ["SCRAPE_DO_RESULT_BACKEND"])
TOKYO = ZoneInfo("Asia/Tokyo")
#: The hours in Tokyo now and next. In UTC they are many hours away.
HOURS = ",".join(str((datetime.now(TOKYO).hour + later) % 24) for later in (0, 1))
tokyo = scheduled_run(
    "tokyo", TzAwareCrontab(minute="*", hour=HOURS, tz=TOKYO, app=app), ["https://tokyo.example/"], if_running="queue"
)
# An entry whose schedule was edited after its declaration, as in the tables of django-celery-beat.
edited = scheduled_run("edited", TzAwareCrontab(minute="0", tz=TOKYO, app=app), ["https://edited.example/"])
app.conf.update(
    include=["scrape_do_celery.tasks"],
    task_default_queue=os.environ["SCRAPE_DO_QUEUE"],
    beat_max_loop_interval=1,
    beat_schedule={"tokyo": tokyo, "edited": {**edited, "schedule": TzAwareCrontab(minute="*", tz=TOKYO, app=app)}},
)
