"""The page of an audit, from audit.json alone."""
