"""Fine-tuning, whatever the kind of model: a training that goes on where it was killed, and what it leaves behind."""

NEEDS = ("torch", "transformers", "peft", "safetensors", "polars", "numpy")
"""Distributions without which nothing is fine-tuned."""
