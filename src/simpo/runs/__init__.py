"""The run folder: what a run writes down, atomically, and how it is read again."""
