"""Memory and time of a run, worked out from a configuration and a recipe before anything is loaded."""
