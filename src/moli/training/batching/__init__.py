"""Samples, and the batches that they are put together to."""
