"""Alignment: reinforcement learning of language models from rewards."""
