"""A run prepared: its recipe resolved, its data, model and loop, and estimates of its cost."""
