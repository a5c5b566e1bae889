"""A Flask application that receives webhooks, with a limit for the bodies of its forms."""

from __future__ import annotations

from flask import Flask

from scrape_do_celery.contrib.flask import ScrapeDo

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 100
ScrapeDo(app, webhooks="/hooks")
