"""A Flask application that receives webhooks below `/hooks`."""

from __future__ import annotations

from flask import Flask

from scrape_do_celery.contrib.flask import ScrapeDo

app = Flask(__name__)
ScrapeDo(app, webhooks="/hooks")
