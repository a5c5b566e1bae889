"""Integrations with web frameworks. A module here needs its framework; no other module imports it."""
