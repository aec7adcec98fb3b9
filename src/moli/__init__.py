"""Moli: a local-first workbench that turns a base language model into a team's own assistant."""

__version__ = "0.1.0"
