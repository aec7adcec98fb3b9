"""A run made ready: what the recipe leaves open is decided, the model built, its cost estimated."""
