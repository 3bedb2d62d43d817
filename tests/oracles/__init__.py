"""Slow, obvious implementations written from the papers in float64, sharing no tensor operation with the package."""
