"""Weights: released files and Orbax checkpoints to parameters and back, from a folder or the hub."""

from da3jax.weights.store import convert, load, read_config, save_pretrained

__all__ = ["convert", "load", "read_config", "save_pretrained"]
