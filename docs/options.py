"""The table of docs/*/alignment.md with the options of tasks, from the options themselves."""

from __future__ import annotations

from pathlib import Path

from moli.training.recipes.task_table import TASKS
from moli.translations.catalogue import Language, read_entries

FILES: dict[Language, Path] = {
    "en": Path(__file__).parent / "en" / "alignment.md",
    "zh": Path(__file__).parent / "zh" / "alignment.md",
}
BEGIN, END = "<!-- options -->\n", "<!-- end of options -->\n"
_COLUMNS: dict[Language, str] = {
    "en": "Task | Option | Default | Meaning",
    "zh": "任务 | 选项 | 默认值 | 含义",
}


def write() -> None:
    """Write the tables into the pages."""
    for language, path in FILES.items():
        page = path.read_text(encoding="utf-8")
        path.write_text(with_table(page, language), encoding="utf-8")


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
