"""Training: one step, and the loop that decides when to evaluate, save and stop."""
