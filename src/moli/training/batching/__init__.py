"""Samples, and the batches and steps that are made of them."""
