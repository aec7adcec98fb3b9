"""Moli on the same rows as its peers, by the same clock, writing the same file.

classification: Moli's defaults. classification-lora: with a LoRA of rank 8.
instruction: a LoRA of rank 16 on every linear layer, conversations of at most 1,024 tokens.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent / "peers"))
import measure

from moli.models.hardware.memory import ensure_tight_heap

RECIPES: dict[str, dict[str, Any]] = {
    "classification": {"task": "classification"},
    "classification-lora": {"task": "classification", "method": "lora", "rank": 8},
    "instruction": {"task": "instruction", "rank": 16, "max_length": 1024},
}


def main() -> None:
    ensure_tight_heap()  # as `moli tune` does
    parser = measure.parser(__doc__.splitlines()[0], tuple(RECIPES))
    args = parser.parse_args()
    measure.offline()
    rows = measure.examples(args.data, args.examples, args.seed)
    if args.recipe == "instruction":
        rows = [{"messages": measure.messages(row)} for row in rows]
    values = RECIPES[args.recipe] | {"base": args.model, "seed": args.seed, "held_out": 0.0}
    with tempfile.TemporaryDirectory() as name:
        time_run(values, rows[: measure.WARM_UP * 16], Path(name, "warm-up"))
        gc.collect()
        one, settings = time_run(values, rows, Path(name, "run"))
    measure.write(args, "moli", settings, one)


def time_run(
    values: dict[str, Any], rows: list[measure.Row], folder: Path
) -> tuple[measure.Pass, dict[str, Any]]:
    """One pass over the rows, and the settings that Moli chose for it."""
    from moli.records.training import StepTaken
    from moli.training.recipes.recipe import make_recipe
    from moli.training.setup.prepared import prepare

    folder.mkdir()
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    losses: list[float] = []

    def on_event(event: object) -> None:
        if isinstance(event, StepTaken):
            losses.append(event.loss)

    prepared = prepare(make_recipe(values | {"data": data}), folder, on_event)
    prepared.loop.run()
    progress, recipe = prepared.loop.progress, prepared.resolved.recipe
    settings = {
        name: getattr(recipe, name) for name in ("method", "batch", "precision", "learning_rate")
    } | {"max_tokens": prepared.resolved.max_tokens, "packed": prepared.resolved.packed}
    return measure.Pass(progress.seconds, progress.tokens, losses), settings


if __name__ == "__main__":
    main()
