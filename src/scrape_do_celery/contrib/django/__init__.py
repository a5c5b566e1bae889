"""The Django app: put `scrape_do_celery.contrib.django` into `INSTALLED_APPS`.

The settings are one dict, `SCRAPE_DO`. The `autodiscover_tasks` of the project finds the steps.
"""
