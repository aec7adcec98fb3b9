"""Plain words: names are the field's own, and docstrings say what a thing is.

- A public class name stands for one thing in the whole package.
- Words of the banned list are no names, and some of them stand in no docstring or comment.
- A docstring, or the description of an argument, does not begin like a fragment ("Of the base's").
- `each` is a name in comprehensions of one or two lines only.

Use: python dev/words.py [FOLDER]    (prints what breaks a rule, exits 1 if anything does)
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Names that were coined or say nothing, with the words to use.
NAMES = {
    "asked": "request, requested",
    "beside": "extra, neighbor",
    "found": "matches, findings, the thing itself",
    "given": "the thing itself",
    "hear": "on_event, on_delta",
    "heard": "event, deltas",
    "judged": "evaluated, scored",
    "lane": "adapter_slot",
    "lanes": "adapter_slots",
    "learnt": "trained, supervised",
    "places": "positions, max_model_len",
    "said": "message, text",
    "settled": "resolved",
    "spoken": "text",
    "tell": "report, emit",
    "told": "reported, message",
    "unlike": "the difference it tells",
    "untold": "ignore",
    "wanted": "requested, expected",
}
# Words that no docstring or comment has either, since the field has another.
TEXT = {
    "judged": "evaluated",
    "learnt": "trained, or supervised for tokens",
    "lane": "adapter slot",
    "lanes": "adapter slots",
}
# First words of sentence fragments, and of riddles.
OPENERS = re.compile(
    "As|How|Its?|Of|So|Such|That|Their|Them|There|These|Those|To|What|Where|Which|Who"
)
ARGUMENT_OPENERS = re.compile("as|its?|of|such|that|them|those|which|who")
_SECTION = re.compile(r"^(Args|Attributes):$")
_ENTRY = re.compile(r"^    [\w*, ]+(?: \([^)]*\))?: +(\w+)")
_MOST_LINES = 2  # of a comprehension that may use `each`


def problems_of(path: Path) -> Iterator[str]:
    """What breaks a rule in one file, by line."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    for line, name in _names(tree):
        if name.strip("_") in NAMES:
            yield f"{path}:{line}: the name '{name}'; rather: {NAMES[name.strip('_')]}"
    for line in _each(tree):
        yield f"{path}:{line}: 'each' outside of a short comprehension; name the thing"
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            line = getattr(node, "lineno", 1)
            for problem in _docstring_problems(ast.get_docstring(node) or ""):
                yield f"{path}:{line}: {problem}"
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            for problem in _text_problems(token.string):
                yield f"{path}:{token.start[0]}: {problem}"


def _names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that a file defines, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def _each(tree: ast.AST) -> Iterator[int]:
    """Lines on which `each` is a name outside of a short comprehension or a one-line lambda."""
    short: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            if _height(node) <= _MOST_LINES:
                short.update(id(inner) for inner in ast.walk(node))
        elif isinstance(node, ast.Lambda) and _height(node) == 1:
            short.update(id(inner) for inner in ast.walk(node))
    for node in ast.walk(tree):
        stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        name = node.id if isinstance(node, ast.Name) else getattr(node, "arg", "")
        if name == "each" and (stored or isinstance(node, ast.arg)) and id(node) not in short:
            yield node.lineno  # type: ignore[attr-defined]


def _height(node: ast.expr) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _docstring_problems(docstring: str) -> Iterator[str]:
    first = docstring.split(maxsplit=1)[0].strip(".,:;") if docstring.strip() else ""
    if OPENERS.fullmatch(first):
        yield f"the docstring begins with '{first}'; say what the thing is or returns"
    section = ""
    for line in docstring.splitlines():
        if line and not line.startswith(" "):
            section = line if _SECTION.match(line) else ""
        entry = _ENTRY.match(line) if section else None
        if entry and ARGUMENT_OPENERS.fullmatch(entry[1]):
            yield f"a description begins with '{entry[1]}' ({line.strip()[:50]})"
    yield from _text_problems(docstring)


def _text_problems(text: str) -> Iterator[str]:
    for word in re.findall(r"[A-Za-z]+", text):
        if word.lower() in TEXT:
            yield f"the word '{word}'; rather: {TEXT[word.lower()]}"


def repeated_classes(paths: list[Path]) -> Iterator[str]:
    """Public class names that stand for more than one thing."""
    places = defaultdict(list)
    for path in paths:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(f"{path}:{node.lineno}")
    for name, where in sorted(places.items()):
        if len(where) > 1:
            yield f"{where[0]}: the class name '{name}' is also in {', '.join(where[1:])}"


def main() -> None:
    """Check src/moli, or the folders and files that are named."""
    roots = [Path(name) for name in sys.argv[1:]] or [ROOT / "src" / "moli"]
    paths = [
        path
        for root in roots
        for path in (sorted(root.rglob("*.py")) if root.is_dir() else [root])
        if "migrations" not in path.parts
    ]
    problems = [line for path in paths for line in problems_of(path)]
    problems += repeated_classes(paths)
    print("\n".join(problems), end="\n" if problems else "")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
