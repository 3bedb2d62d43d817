"""Speed and memory of training steps, side by side with other trainers, each in its own process."""
