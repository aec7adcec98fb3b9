"""Parse: from a file to canonical text with its headings and pages.

`Sandbox` reads files in a child process, so that a hostile or broken file harms only itself;
`parse_file` and `parse_bytes` read in this process. `SUFFIXES` lists what can be read.
"""

from moli.parsing.formats import SUFFIXES, detect, parse_bytes, parse_file
from moli.parsing.limits import Limits
from moli.parsing.sandbox.sandbox import Sandbox

__all__ = ["SUFFIXES", "Limits", "Sandbox", "detect", "parse_bytes", "parse_file"]
