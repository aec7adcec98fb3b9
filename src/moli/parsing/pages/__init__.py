"""From the characters of a printed page to running text."""
