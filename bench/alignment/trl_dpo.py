"""TRL's DPOTrainer on pairs, with LoRA of rank 16 on every linear layer.

precomputed: the reference's log probabilities before the first step. each-step: in every step.
Both without gradient checkpointing, in the precision of the machine; the time includes the
reference's pass.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "training" / "peers"))
import measure
import pairs

RECIPES: dict[str, dict[str, Any]] = {
    "precomputed": {"precompute_ref_log_probs": True},
    "each-step": {},
}


def main() -> None:
    args = measure.parser(__doc__.splitlines()[0], tuple(RECIPES)).parse_args()
    measure.offline()
    rows = pairs.pairs_of(measure.examples(args.data, args.examples, args.seed))
    with tempfile.TemporaryDirectory() as folder:
        trained(args, rows[: measure.WARM_UP * pairs.BATCH], folder)
        gc.collect()
        one, processor = trained(args, rows, folder)
    settings = RECIPES[args.recipe] | {"processor_seconds": round(processor, 2)}
    measure.write(args, "trl", settings, one)


def trained(args: Any, rows: list[measure.Row], folder: str) -> tuple[measure.Pass, float]:
    """One pass over the pairs, and the processor's time for it."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    class TimedTrainer(DPOTrainer):
        """Adds up the time of the reference's pass before the first step."""

        reference_seconds = reference_processor = 0.0

        def _precompute_ref_logps(self, *arguments: Any) -> Any:
            begun, processor = time.perf_counter(), time.process_time()
            result = super()._precompute_ref_logps(*arguments)
            self.reference_seconds += time.perf_counter() - begun
            self.reference_processor += time.process_time() - processor
            return result

    half = args.precision == "bf16"
    dtype = "bfloat16" if half else "float32"
    trainer = TimedTrainer(
        model=args.model,
        args=DPOConfig(
            **measure.arguments_of_trainer(folder, args.seed, -1),
            **RECIPES[args.recipe],
            bf16=half,
            model_init_kwargs={"dtype": dtype},
            gradient_checkpointing=False,
            per_device_train_batch_size=pairs.BATCH,
            max_length=pairs.LENGTH,
            learning_rate=pairs.RATE,
        ),
        train_dataset=Dataset.from_list(rows),
        peft_config=LoraConfig(r=pairs.RANK, lora_alpha=pairs.ALPHA, target_modules="all-linear"),
    )
    tokens = pairs.tokens_of(rows, trainer.processing_class)
    processor = time.process_time()
    one = measure.timed_training(trainer, tokens)
    processor = time.process_time() - processor + trainer.reference_processor
    return measure.Pass(one.seconds + trainer.reference_seconds, tokens, one.losses), processor


if __name__ == "__main__":
    main()
