"""Studies: runs with their evidence, and many runs compared."""
