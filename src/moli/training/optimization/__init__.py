"""Optimizers, master weights and the learning rate schedule."""
