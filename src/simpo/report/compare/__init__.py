"""The page of a comparison, from compare.json alone."""
