"""Checks that compare pairs with each other: copies, near copies, contradictions, frequent prompts."""
