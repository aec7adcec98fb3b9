"""TRL's GRPOTrainer on prompts, with LoRA of rank 16 on every linear layer.

Groups of four answers, one update for each batch of rollouts, a reference (adapters off), float32,
no gradient checkpointing, and all else as TRL has it. The first step is the warm-up.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "training" / "peers"))
import measure
import rollouts


def main() -> None:
    args = measure.parser(__doc__.splitlines()[0], ("grpo",)).parse_args()
    measure.offline()
    ends: list[tuple[float, float]] = []  # clock and processor time at the end of each step
    tokens: list[int] = []  # sampled in each step

    def reward(completion_ids: list[list[int]], **_: object) -> list[float]:
        tokens.append(sum(map(len, completion_ids)))
        return [rollouts.reward(ids) for ids in completion_ids]

    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(args, reward, folder)
        trainer.add_callback(step_clock(ends))
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    seconds, processor = (ends[-1][part] - ends[0][part] for part in (0, 1))
    settings = {"processor_seconds": round(processor, 2)}
    measure.write(args, "trl", settings, measure.Pass(seconds, sum(tokens[1:]), losses[1:]))


def step_clock(ends: list[tuple[float, float]]) -> Any:
    """A TrainerCallback that notes when each step ends."""
    from transformers import TrainerCallback

    class StepClock(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            ends.append((time.perf_counter(), time.process_time()))

    return StepClock()


def make_trainer(args: Any, reward: Any, folder: str) -> Any:
    """The trainer, for one step more than there are examples for."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    steps = args.examples // rollouts.PROMPTS + 1
    prompts = rollouts.prompt_ids(args.model, steps * rollouts.PROMPTS // rollouts.GROUP)
    config = GRPOConfig(
        **measure.arguments_of_trainer(folder, args.seed, steps),
        model_init_kwargs={"dtype": "float32"},
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=rollouts.PROMPTS,
        num_generations=rollouts.GROUP,
        max_completion_length=rollouts.TOKENS,
        learning_rate=rollouts.RATE,
        beta=0.01,
    )
    return GRPOTrainer(
        model=args.model,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": tokenizer.decode(ids)} for ids in prompts]),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=rollouts.RANK, lora_alpha=2 * rollouts.RANK, target_modules="all-linear"
        ),
    )


if __name__ == "__main__":
    main()
