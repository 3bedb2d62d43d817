"""What a run says to a person: the report page and the closing table."""
