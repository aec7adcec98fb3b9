"""Messages in the reader's language: the catalogue, and which language a person prefers."""
