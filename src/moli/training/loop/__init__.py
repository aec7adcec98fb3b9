"""The one training loop: steps, checkpoints, one process or several."""
