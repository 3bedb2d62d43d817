"""Mathematics that could be checked with pencil and paper: tensors or numbers in, tensors or numbers out."""
