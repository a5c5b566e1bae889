"""Carry out each step in the module of its name, with the objects that all steps of a worker process share."""
