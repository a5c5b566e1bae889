"""Receive webhooks: calls of Scrape.do that tell that a task has ended.

`core` judges a call without I/O. A face is a view of a framework, or an app of WSGI or ASGI. A face gives `core` the
request, writes what `core` returned to the store by one command, and sends the answer.
"""
