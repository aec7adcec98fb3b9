"""Parsing: files of any supported format as canonical text with headings and pages.

`Sandbox` reads files in a child process, so that a hostile or broken file harms only itself;
`parse_file` and `parse_bytes` read in this process. `SUFFIXES` lists the supported files.
"""

from moli.parsing.formats import SUFFIXES, detect
from moli.parsing.limits import Limits
from moli.parsing.parse import parse_bytes, parse_file
from moli.parsing.sandbox.sandbox import Sandbox

__all__ = ["SUFFIXES", "Limits", "Sandbox", "detect", "parse_bytes", "parse_file"]
