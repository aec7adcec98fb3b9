"""Messages that people see, and what of them `src/moli/translations` lacks.

Messages are the texts in calls that show or raise them: arguments of errors and findings, help
texts, what the commands print, and the docstrings of commands. A name or a function of the same
file that stands for a text is followed.

Use: python dev/translations.py    (prints lines to add to zh.toml, exits 1 if there are any)
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from moli.cli.command import paragraphs
from moli.translations.catalogue import read_entries, shape

ROOT = Path(__file__).resolve().parents[1] / "src" / "moli"
COMMANDS = ROOT / "cli"

# Functions whose arguments people read, beside all classes of errors and warnings.
SHOWS = {
    "App", "Argument", "BadParameter", "Field", "Finding", "Option", "_Refusal", "_report", "echo",
    "error_response", "on_interrupt", "print_fields", "print_table", "translate", "warn",
}  # fmt: skip
SHOWN_KEYWORDS = {"description", "fix", "help", "what"}  # of any call
# Arguments before those that people read.
CODES = {
    "DocumentError": 1,
    "Finding": 1,
    "_Refusal": 1,
    "_report": 2,
    "error_response": 2,
}
_DEPTH = 3  # of names that stand for texts with names
_MESSAGE = re.compile(r"^(?!--|[A-Z_]+$|\S*_\S*$).*[A-Za-z]{2}", re.DOTALL)
_FOREIGN = re.compile(
    r"(Value|Type|Assertion|NotImplemented|Attribute|Key|Connection|BrokenPipe)Error"
)


def messages_of(path: Path) -> Iterator[tuple[int, str]]:
    """The messages in one file as templates, with their lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = _Texts(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name_of(node) == "Translation":  # the page's templates
            for keyword in node.keywords:
                if isinstance(keyword.value, ast.Constant) and keyword.arg != "language":
                    yield node.lineno, str(keyword.value.value)
        elif isinstance(node, ast.Call) and not _is_border(node, path):
            for argument in _shown_arguments(node):
                for template in texts.of(argument):
                    yield node.lineno, template
        elif isinstance(node, ast.FunctionDef) and _is_command(node, path):
            for paragraph in paragraphs(ast.get_docstring(node) or ""):
                yield node.lineno, _escape(paragraph)


def _name_of(call: ast.Call) -> str:
    """The name of the function or class that is called."""
    return str(getattr(call.func, "id", getattr(call.func, "attr", "")))


def _is_command(function: ast.FunctionDef, path: Path) -> bool:
    """Whether a function is a command: one with parameters that are described for typer."""
    described = re.search(r"Annotated|JsonOption|typer", ast.dump(function.args))
    return path.parent == COMMANDS and not function.name.startswith("_") and bool(described)


def _is_border(call: ast.Call, path: Path) -> bool:
    """Whether a call prints what is translated already, or describes the API, in English."""
    if path.is_relative_to(ROOT / "serving"):
        return _name_of(call) == "Field"
    return path.name in ("output.py", "main.py") and ast.unparse(call.func) == "typer.echo"


def _shown_arguments(call: ast.Call) -> list[ast.expr]:
    """The arguments of a call that people read; a place is shown as it is if it is one word."""
    name = _name_of(call)
    keywords = [each.value for each in call.keywords if each.arg in SHOWN_KEYWORDS]
    if name == "Field":
        return keywords
    raises = name.endswith(("Error", "_error")) and not _FOREIGN.fullmatch(name)
    if not raises and name not in SHOWS:
        return []
    shown = call.args[CODES.get(name, 0) :]
    places = [*shown[1:2], *(each.value for each in call.keywords if each.arg == "where")]
    if raises:
        shown = [each for each in shown if each not in places]
        shown += [each for each in places if _has_space(each)]
    return [*shown, *keywords]


def _has_space(argument: ast.expr) -> bool:
    """Whether a text in an argument has several words."""
    texts = (node.value for node in ast.walk(argument) if isinstance(node, ast.Constant))
    return any(" " in text for text in texts if isinstance(text, str))


class _Texts:
    """The texts that expressions of a file can have."""

    def __init__(self, tree: ast.Module) -> None:
        self._values: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name):
                        self._values.setdefault(target.id, []).append(node.value)
            elif isinstance(node, ast.FunctionDef):
                results = (each.value for each in ast.walk(node) if isinstance(each, ast.Return))
                self._values.setdefault(node.name, []).extend(each for each in results if each)

    def of(self, node: ast.expr, depth: int = _DEPTH) -> Iterator[str]:
        """Templates of the texts in an expression, and in what its names stand for."""
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and _MESSAGE.search(node.value):
                yield _escape(node.value)
        elif isinstance(node, ast.JoinedStr):
            yield from self._of_formatted(node, depth)
        elif isinstance(node, ast.Name | ast.Call):
            name = getattr(node, "id", getattr(getattr(node, "func", None), "id", ""))
            for value in self._values.get(name, ()) if depth else ():
                if isinstance(value, ast.Dict) and depth < _DEPTH:
                    continue  # inside a text, its values are no texts
                yield from self.of(value, depth - 1)
        elif isinstance(node, ast.IfExp):
            yield from self.of(node.body, depth)
            yield from self.of(node.orelse, depth)
        elif isinstance(node, ast.Subscript):
            yield from self.of(node.value, depth)
        elif isinstance(node, ast.BoolOp | ast.BinOp | ast.Dict | ast.Tuple):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    yield from self.of(child, depth)

    def _of_formatted(self, node: ast.JoinedStr, depth: int) -> Iterator[str]:
        """The template of an f-string, and the texts in its values."""
        template = ""
        for number, part in enumerate(node.values):
            if isinstance(part, ast.FormattedValue):
                template += "{" + _name(part.value, number, template) + "}"
                if depth and not isinstance(part.value, ast.Dict):
                    yield from self.of(part.value, depth - 1)
            elif isinstance(part, ast.Constant):
                template += _escape(str(part.value))
        if _MESSAGE.search(re.sub(r"\{\w*\}", "", template)):
            yield template


def _escape(text: str) -> str:
    """A text as a template without names."""
    return text.replace("{", "{{").replace("}", "}}")


def _name(value: ast.expr, number: int, template: str) -> str:
    """A readable name for a value, other than those before it."""
    names = [each.attr for each in ast.walk(value) if isinstance(each, ast.Attribute)]
    names += [each.id for each in ast.walk(value) if isinstance(each, ast.Name)]
    name = next(
        (each for each in names if len(each) > 1 and each not in ("len", "join", "str")), "value"
    )
    name = name.strip("_")
    return f"{name}{number}" if "{" + name + "}" in template else name


def all_messages() -> dict[str, str]:
    """Templates by their shape, in the order of the files."""
    messages: dict[str, str] = {}
    for path in [*sorted(ROOT.rglob("*.py")), ROOT.parents[1] / "dev" / "install.py"]:
        for _, template in messages_of(path):
            messages.setdefault(shape(template), template)
    return messages


def main() -> int:
    """Print what is missing; return the exit status."""
    entries = {shape(template): template for template in read_entries("zh")}
    messages = all_messages()
    missing = [template for key, template in messages.items() if key not in entries]
    for template in missing:
        quoted = template.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        print(f'"{quoted}" = ""')
    if missing:
        print(f"# {len(missing)} of {len(messages)} messages are not translated")
    return bool(missing)


if __name__ == "__main__":
    raise SystemExit(main())
