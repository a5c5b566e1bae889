"""The Django app: put `scrape_do_celery.contrib.django` into `INSTALLED_APPS`.

Settings are one dict, `SCRAPE_DO`; the steps are found by the project's own `autodiscover_tasks`.
"""
