"""What is wrong with a file of preferences, and what it is fit for."""
