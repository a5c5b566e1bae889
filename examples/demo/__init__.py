"""`make demo`: the whole path on real parts, on this machine."""
