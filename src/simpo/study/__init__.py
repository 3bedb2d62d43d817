"""Studies: runs with their evidence, and (later) many runs compared."""
