"""Example programs that use the package, to read and to run."""
