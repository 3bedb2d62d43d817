"""Checks that look at the texts of one pair at a time."""
