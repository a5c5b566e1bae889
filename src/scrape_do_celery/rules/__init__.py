"""The decisions of the package as pure functions. No I/O, no clock, no store."""
