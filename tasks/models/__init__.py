"""Networks of our own: for what no class of transformers computes."""
