"""Import cycles: no file or folder may import, by any path, a neighbor that imports it.

Every depth is checked: the rooms, the files and folders inside each room, and so on. An import
inside a function or under `TYPE_CHECKING` counts like any other.

Use: python dev/cycles.py    (prints each cycle with its imports, exits 1 if there is one)
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Import:
    """One module imports another; both are dotted names."""

    importer: str
    imported: str


def modules_of(source: Path) -> dict[str, Path]:
    """The modules below a source folder by their dotted names."""
    modules = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def imports_of(modules: Mapping[str, Path]) -> Iterator[Import]:
    """All imports of one of the modules by another."""
    for importer, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                imported = _nearest(name, modules)
                if imported and imported != importer:
                    yield Import(importer, imported)


def _nearest(name: str, modules: Mapping[str, Path]) -> str:
    """The module that a dotted name belongs to, or "" if it is not one of ours."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def cycles_of(source: Path) -> list[str]:
    """A description of one cycle for each folder that has any, and of one among single modules."""
    modules = modules_of(source)
    neighbors: dict[str, dict[str, dict[str, Import]]] = defaultdict(lambda: defaultdict(dict))
    for edge in imports_of(modules):
        neighbors["modules"][edge.importer].setdefault(edge.imported, edge)
        folder, importer, imported = _branch(edge)
        if importer and imported:
            neighbors[folder][importer].setdefault(imported, edge)
    cycles = []
    for folder, graph in sorted(neighbors.items()):
        try:
            TopologicalSorter({name: set(edges) for name, edges in graph.items()}).prepare()
        except CycleError as error:
            ring = list(reversed(error.args[1]))
            steps = [graph[one][other] for one, other in pairwise(ring)]
            shown = "\n".join(f"    {step.importer} imports {step.imported}" for step in steps)
            cycles.append(f"{folder}: {' -> '.join(ring)}\n{shown}")
    return cycles


def _branch(edge: Import) -> tuple[str, str, str]:
    """The folder below which two modules part, and the neighbor in it that holds each of them.

    A folder's own `__init__` is no neighbor of what the folder contains; its name is "".
    """
    one, other = edge.importer.split("."), edge.imported.split(".")
    depth = 0
    while depth < min(len(one), len(other)) and one[depth] == other[depth]:
        depth += 1
    importer = one[depth] if depth < len(one) else ""
    imported = other[depth] if depth < len(other) else ""
    return ".".join(one[:depth]), importer, imported


def main() -> None:
    """Check src/."""
    cycles = cycles_of(ROOT / "src")
    print("\n".join(cycles), end="\n" if cycles else "")
    sys.exit(bool(cycles))


if __name__ == "__main__":
    main()
