"""`python -m benchmarks`: the floor, the canvas and this package side by side, and the result for each limit."""
