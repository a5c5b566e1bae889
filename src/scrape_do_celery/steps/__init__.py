"""The logic of each step, in the module of its name, and the objects that all steps of a worker process share."""
