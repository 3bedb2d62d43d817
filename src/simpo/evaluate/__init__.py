"""What a policy is worth: accuracy on held-out pairs, the replies it writes, what a judge says of them."""
