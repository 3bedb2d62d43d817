"""The page of a sweep, from sweep.json alone."""
