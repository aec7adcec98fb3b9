"""The tables of docs/*/alignment.md and docs/*/align.md with the options of tasks and algorithms
and the keys of recipes, from the code that reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from moli.alignment.algorithms.protocol import AlgorithmOptions
from moli.alignment.algorithms.table import ALGORITHMS
from moli.alignment.recipe import AlignmentRecipe
from moli.alignment.rounds_recipe import RoundsRecipe
from moli.training.recipes.task_table import TASKS
from moli.translations.catalogue import Language, read_entries

LANGUAGES: tuple[Language, ...] = ("en", "zh")
# The tables of each page, which stand between two comments with their names.
PAGES = {"alignment.md": ("options",), "align.md": ("recipe", "algorithms", "rounds")}
_COLUMNS: dict[str, dict[Language, str]] = {
    "options": {"en": "Task | Option | Default | Meaning", "zh": "任务 | 选项 | 默认值 | 含义"},
    "algorithms": {
        "en": "Algorithm | Option | Default | Meaning",
        "zh": "算法 | 选项 | 默认值 | 含义",
    },
    "recipe": {"en": "Key | Default | Meaning", "zh": "键 | 默认值 | 含义"},
    "rounds": {"en": "Key | Default | Meaning", "zh": "键 | 默认值 | 含义"},
}


def write() -> None:
    """Write the tables into the pages."""
    for language in LANGUAGES:
        for name in PAGES:
            path = path_of(name, language)
            page = path.read_text(encoding="utf-8")
            path.write_text(with_tables(page, name, language), encoding="utf-8")


def path_of(name: str, language: Language) -> Path:
    """The file of a page."""
    return Path(__file__).parent / language / name


def with_tables(page: str, name: str, language: Language) -> str:
    """The text of a page with its tables as they have to be."""
    for each in PAGES[name]:
        begin, end = f"<!-- {each} -->\n", f"<!-- end of {each} -->\n"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n{table(each, language)}\n\n{end}{rest.partition(end)[2]}"
    return page


def table(name: str, language: Language) -> str:
    """A table by its name."""
    # Entries of the catalogue have braces doubled, as formats do.
    entries = {} if language == "en" else read_entries(language)
    translated = {text.format(): entries[text].format() for text in entries if _is_plain(text)}
    lines = [_COLUMNS[name][language]]
    lines.append(" | ".join("---" for _ in lines[0].split("|")))
    for names, field in _fields(name):
        meaning = translated.get(str(field.description), str(field.description))
        if get_origin(field.annotation) is Literal:
            choices = [f"`{each}`" for each in get_args(field.annotation)]
            meaning += ": " + ", ".join(choices) if language == "en" else "：" + "、".join(choices)
        lines.append(" | ".join([*(f"`{each}`" for each in names), _default(field), meaning]))
    return "\n".join(f"| {line} |" for line in lines)


def _is_plain(text: str) -> bool:
    """Whether an entry of the catalogue has no values to fill in."""
    return "{" not in text.replace("{{", "").replace("}}", "")


def _fields(name: str) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """The names in each row of a table, and the field that it is about."""
    if name in ("recipe", "rounds"):
        model: type[BaseModel] = AlignmentRecipe if name == "recipe" else RoundsRecipe
        yield from (((key,), field) for key, field in model.model_fields.items())
    elif name == "options":
        for task, spec in TASKS.items():
            yield from (((task, key), each) for key, each in spec.options.model_fields.items())
    else:
        common = _without_rate(AlgorithmOptions)
        yield from ((("*", key), field) for key, field in common.items())
        for algorithm, (_, options) in ALGORITHMS.items():
            own = _without_rate(options)
            yield from (((algorithm, key), own[key]) for key in own if _differs(key, own, common))


def _without_rate(options: type[BaseModel]) -> dict[str, FieldInfo]:
    """An algorithm's options without the learning rate, which is a key of the recipe."""
    return {key: field for key, field in options.model_fields.items() if key != "learning_rate"}


def _differs(key: str, own: Mapping[str, FieldInfo], common: Mapping[str, FieldInfo]) -> bool:
    """Whether an algorithm has an option that others lack, or another default for it."""
    return key not in common or own[key].default != common[key].default


def _default(field: FieldInfo) -> str:
    """A field's default as in YAML; "" if it has none or is left empty."""
    if field.is_required() or field.default in (None, "", {}, ()):
        return ""
    shown = str(field.default)
    return f"`{shown.lower() if isinstance(field.default, bool) else shown}`"
