"""The feedback on a workspace's answers as training data, by the name `feedback`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moli.records.errors import InputError
from moli.records.examples import Preference, RatedAnswer
from moli.records.files import whole_file
from moli.training.recipes.recipe import Recipe
from moli.training.tasks import make_task
from moli.workspace import Workspace
from moli.workspace.feedback_rows import feedback_rows

NAME = "feedback"
_FOLDER = "feedback"  # in the workspace's folder


def with_feedback(recipe: Recipe, workspace: Workspace) -> Recipe:
    """The recipe with files of the workspace's feedback where its data name it.

    The files are a copy of the feedback as it is now, named by their content, so that a run can be
    resumed and repeated.

    Raises:
        InputError: there is no feedback that the task could learn from.
    """
    paths = (recipe.data,) if isinstance(recipe.data, Path) else recipe.data
    if not any(map(_is_feedback, paths)):
        return recipe
    kinds = make_task(recipe).example_types
    rows = feedback_rows(workspace)
    parts = {"pairs": (Preference, rows.pairs), "ratings": (RatedAnswer, rows.ratings)}
    files = [
        _write(workspace.folder / _FOLDER, name, part)
        for name, (kind, part) in parts.items()
        if part and kind in kinds
    ]
    if not files:
        if not {Preference, RatedAnswer} & set(kinds):
            raise InputError(
                f"the task {recipe.task} does not learn from feedback",
                where="data",
                fix="Use task: reward, dpo or kto.",
            )
        raise InputError(
            f"the workspace has no feedback that the task {recipe.task} learns from",
            where="data",
            fix="Clients give it with POST /v1/feedback: a rating, or a correction to make a pair.",
        )
    data = [file for path in paths for file in (files if _is_feedback(path) else [path])]
    return recipe.model_copy(update={"data": data[0] if len(data) == 1 else tuple(data)})


def _is_feedback(path: Path) -> bool:
    """Whether a path names the feedback, as it does if there is no such file or folder."""
    return path.name == NAME and not path.exists()


def _write(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows to a file that is named by their content, and return its path."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return path
