"""From files of preferences to a dataset version: repaired, grouped, split, and written so that it can be trusted."""
