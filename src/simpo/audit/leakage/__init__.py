"""What of held-out files and benchmarks stands in the data already."""
