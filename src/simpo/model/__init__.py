"""A policy, and what it says of a batch."""
