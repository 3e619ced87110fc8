"""Weights from the command line, from a clone: `python -m convert SOURCE OUT_DIR` and `python -m convert.verify SOURCE`."""
