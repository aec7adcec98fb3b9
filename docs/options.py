"""The tables of docs/*/alignment.md with the options of tasks, and of docs/*/align.md with the keys
of recipes, from the options and recipes themselves.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from moli.alignment.recipe import AlignmentRecipe
from moli.alignment.rounds_recipe import RoundsRecipe
from moli.training.recipes.task_table import TASKS
from moli.translations.catalogue import Language, read_entries

FILES: dict[Language, Path] = {
    "en": Path(__file__).parent / "en" / "alignment.md",
    "zh": Path(__file__).parent / "zh" / "alignment.md",
}
BEGIN, END = "<!-- options -->\n", "<!-- end of options -->\n"
RECIPE_FILES: dict[Language, Path] = {
    language: path.with_name("align.md") for language, path in FILES.items()
}
_RECIPES: dict[str, type[BaseModel]] = {"recipe": AlignmentRecipe, "rounds": RoundsRecipe}
_KEYS: dict[Language, str] = {"en": "Key | Default | Meaning", "zh": "键 | 默认值 | 含义"}
_COLUMNS: dict[Language, str] = {
    "en": "Task | Option | Default | Meaning",
    "zh": "任务 | 选项 | 默认值 | 含义",
}


def write() -> None:
    """Write the tables into the pages."""
    for language, path in FILES.items():
        page = path.read_text(encoding="utf-8")
        path.write_text(with_table(page, language), encoding="utf-8")
    for language, path in RECIPE_FILES.items():
        page = path.read_text(encoding="utf-8")
        path.write_text(with_recipes(page, language), encoding="utf-8")


def with_table(page: str, language: Language) -> str:
    """A page with its table of options as it has to be."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + "\n" + table(language) + "\n" + END + rest.partition(END)[2]


def table(language: Language) -> str:
    """A row for each option of each task."""
    translated = {} if language == "en" else read_entries(language)
    rows = []
    for task, spec in TASKS.items():
        for name, field in spec.options.model_fields.items():
            meaning = str(field.description)
            default = str(field.default).lower()  # as in YAML
            rows.append(
                f"| `{task}` | `{name}` | `{default}` | {translated.get(meaning, meaning)} |"
            )
    return "\n".join([f"| {_COLUMNS[language]} |", "| --- | --- | --- | --- |", *rows, ""])


def with_recipes(page: str, language: Language) -> str:
    """A page with its tables of recipes as they have to be."""
    for name, model in _RECIPES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = page.partition(begin)
        table = recipe_table(model, language)
        page = before + begin + "\n" + table + "\n" + end + rest.partition(end)[2]
    return page


def recipe_table(model: type[BaseModel], language: Language) -> str:
    """A row for each key of a recipe."""
    translated = {} if language == "en" else read_entries(language)
    rows = []
    for name, field in model.model_fields.items():
        meaning = str(field.description)
        shown = field.default if field.default and not field.is_required() else ""
        default = f"`{shown}`" if shown else ""
        # Entries of the catalogue have braces doubled, as formats do.
        key = meaning.replace("{", "{{").replace("}", "}}")
        text = translated.get(key, meaning).replace("{{", "{").replace("}}", "}")
        rows.append(f"| `{name}` | {default} | {text} |")
    return "\n".join([f"| {_KEYS[language]} |", "| --- | --- | --- |", *rows, ""])
