"""The source of a function in a file: the file itself, and the files beside it that it imports."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path


def hash_source(path: Path) -> str:
    """SHA-256 of a file of Python and of the files below its folder that it imports."""
    files = source_files(path)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def source_files(path: Path) -> list[Path]:
    """A file of Python, and the files below its folder that it imports, or that these import."""
    folder = path.resolve().parent
    files = [path.resolve()]
    for file in files:  # which grows
        for name in _imported_names(file, folder):
            place = folder.joinpath(*name.split("."))
            for candidate in (place / "__init__.py", Path(f"{place}.py")):
                if candidate.is_file() and candidate not in files:
                    files.append(candidate)
    return files


def _imported_names(file: Path, folder: Path) -> Iterator[str]:
    """Names of what a file imports and of the packages around it, as seen from a folder.

    A name that is imported from a module may be a module itself, and is among them.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # it is imported by a function that was not called yet
        return
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = file.relative_to(folder).parts[: -node.level] if node.level else ()
            module = ".".join((*package, *([node.module] if node.module else [])))
            names = [".".join(filter(None, (module, alias.name))) for alias in node.names]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))
