"""Files to pairs and examples, and those to token ids."""
