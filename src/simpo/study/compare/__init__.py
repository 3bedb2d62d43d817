"""Methods side by side: trained alike, measured on the same things, told with intervals and a verdict."""
