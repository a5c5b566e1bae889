"""Prometheus metrics of the store, served by `scrape-do metrics`. The extra `metrics` is needed."""
