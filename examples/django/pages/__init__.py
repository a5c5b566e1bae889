"""The app of the project: a page that scrapes."""
