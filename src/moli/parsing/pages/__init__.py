"""Layout analysis of printed pages: running text from positioned characters."""
