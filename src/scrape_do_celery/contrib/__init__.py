"""What makes this package at home in frameworks. Each module needs its framework, and nothing else imports it."""
