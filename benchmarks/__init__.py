"""`python -m benchmarks`: floor, canvas and this package side by side, and every line of what they must reach."""
