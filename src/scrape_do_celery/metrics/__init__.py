"""Prometheus metrics of the store. `scrape-do metrics` serves them; it needs the extra `metrics`."""
