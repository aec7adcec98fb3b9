"""The command line: one file per verb, each of which parses, calls the library and prints."""

from moli.cli.main import main

__all__ = ["main"]
