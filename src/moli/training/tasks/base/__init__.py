"""Parts that tasks are made of."""
