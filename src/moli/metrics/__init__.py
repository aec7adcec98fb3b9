"""Pure functions that score results."""
