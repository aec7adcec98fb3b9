"""The one training loop: batches, steps, optimisers, checkpoints, one process or several."""
