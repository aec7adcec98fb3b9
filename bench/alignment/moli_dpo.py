"""Moli's DPO on the same pairs as TRL's, by the same clock, writing the same file.

lora: rank 16 on every linear layer, prompts computed once; the time includes the reference's pass.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "training" / "peers"))
import measure
import pairs

from moli.models.hardware.memory import ensure_tight_heap


def main() -> None:
    ensure_tight_heap()  # as `moli tune` does
    args = measure.parser(__doc__.splitlines()[0], ("lora",)).parse_args()
    measure.offline()
    rows = pairs.pairs_of(measure.examples(args.data, args.examples, args.seed))
    with tempfile.TemporaryDirectory() as name:
        time_run(args, rows[: measure.WARM_UP * pairs.BATCH], Path(name, "warm-up"))
        gc.collect()
        one, settings = time_run(args, rows, Path(name, "run"))
    measure.write(args, "moli", settings, one)


def time_run(
    args: Any, rows: list[measure.Row], folder: Path
) -> tuple[measure.Pass, dict[str, Any]]:
    """One pass over the pairs, and the settings that Moli chose for it."""
    from moli.records.training import StepTaken
    from moli.training.recipes.recipe import make_recipe
    from moli.training.setup.prepared import prepare
    from moli.training.setup.references import prepare_reference

    folder.mkdir()
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    losses: list[float] = []

    def on_event(event: object) -> None:
        if isinstance(event, StepTaken):
            losses.append(event.loss)

    values = {"task": "dpo", "rank": pairs.RANK, "batch": pairs.BATCH, "max_length": pairs.LENGTH}
    values |= {"base": args.model, "seed": args.seed, "held_out": 0.0, "data": data}
    values |= {"precision": args.precision, "learning_rate": pairs.RATE}
    prepared = prepare(make_recipe(values), folder, on_event)
    begun, processor = time.perf_counter(), time.process_time()
    prepare_reference(prepared, folder, prepared.loop.world)
    reference = time.perf_counter() - begun
    prepared.loop.run()
    seconds, processor = time.perf_counter() - begun, time.process_time() - processor
    settings = {
        "precision": args.precision,
        "max_tokens": prepared.resolved.max_tokens,
        "packed": prepared.resolved.packed,
        "reference_seconds": round(reference, 2),
        "processor_seconds": round(processor, 2),
    }
    return measure.Pass(seconds, pairs.tokens_of(rows, prepared.task.tokenizer), losses), settings


if __name__ == "__main__":
    main()
