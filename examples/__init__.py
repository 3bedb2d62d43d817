"""Worked examples that need nothing but the Python standard library."""
