"""Align a language model from pairwise preferences with SimPO, and get the evidence that it is better."""

__version__ = "0.1.0"
