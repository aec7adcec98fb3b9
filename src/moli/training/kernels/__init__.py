"""Faster computations of what takes most of a forward and a backward pass."""
