"""The project's app: a page that starts runs."""
