"""Attacks, one module for each kind."""
