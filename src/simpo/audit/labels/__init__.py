"""Whether the labels can be foretold, by what, and which of them stand against it."""
