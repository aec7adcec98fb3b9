"""The machine: its memory, its devices and their speed."""
