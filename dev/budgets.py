"""Budgets on size: a file, class, function or signature that outgrows them should be divided.

A function may go to 60 lines where its `def` line says why: `# long: REASON`.

Use: python dev/budgets.py    (prints what is over, exits 1 if anything is)
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE, CLASS, FUNCTION, LONG_FUNCTION, PARAMETERS = 400, 250, 40, 60, 7
COMMON_OPTIONS = ("JsonOption", "WorkspaceOption")
ROOT = Path(__file__).resolve().parents[1]


def overruns(path: Path) -> Iterator[str]:
    """What in one file is over its budget."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    if len(lines) > FILE:
        yield f"{path}: {len(lines)} lines, at most {FILE}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            yield from _over(path, node, _length(node), CLASS)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            long = "# long:" in lines[node.lineno - 1]
            yield from _over(path, node, _body_length(node), LONG_FUNCTION if long else FUNCTION)
            if (count := _count_parameters(node.args)) > PARAMETERS:
                yield f"{path}:{node.lineno}: {node.name} has {count} parameters"


def _over(
    path: Path, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, size: int, budget: int
) -> Iterator[str]:
    if size > budget:
        yield f"{path}:{node.lineno}: {node.name} has {size} lines, at most {budget}"


def _count_parameters(arguments: ast.arguments) -> int:
    """Number of parameters without `self`, and without the options that every command has."""
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    annotations = [ast.unparse(each.annotation) if each.annotation else "" for each in every]
    common = sum(annotation in COMMON_OPTIONS for annotation in annotations)
    has_self = bool(arguments.args) and arguments.args[0].arg in ("self", "cls")
    return len(every) - common - has_self


def _length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _body_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without its docstring."""
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or first.lineno) - first.lineno + 1


def main() -> None:
    """Check src/, dev/ and bench/."""
    folders = [ROOT / name for name in ("src", "dev", "bench")]
    files = [
        path
        for folder in folders
        for path in sorted(folder.rglob("*.py"))
        if ".envs" not in path.parts and "migrations" not in path.parts
    ]
    found = [line for path in files for line in overruns(path)]
    print("\n".join(found), end="\n" if found else "")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
