"""Recipes and option groups as YAML, and the models that check them."""
