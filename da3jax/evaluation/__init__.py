"""Evaluation: how far predicted depth and cameras are from the truth."""
