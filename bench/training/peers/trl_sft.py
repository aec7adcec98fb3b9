"""TRL's SFTTrainer on instructions: rows of `instruction`, `input` and `output` become two turns.

default: packing to 1,024 tokens, and all else as TRL has it: float32 weights under bf16 autocast,
gradient checkpointing, the loss on every token. best: bf16 weights, no checkpointing, and the loss
on the assistant's tokens, which is what is wanted of it (and takes it as long: without a GPU its
head scores every position, whatever the labels).

Both have LoRA of rank 16 on every linear layer of the blocks, and one sequence a step, where TRL's
own batch is 8: a step is then the same work for each system, and a timing of a few steps is enough.
With --precision fp32 there is no bfloat16 in either.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from typing import Any

import measure

LENGTH = 1024
RANK, ALPHA = 16, 32
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "best": {"gradient_checkpointing": False},
}


def main() -> None:
    args = measure.parser(__doc__.splitlines()[0], tuple(RECIPES)).parse_args()
    measure.offline()
    rows = measure.examples(args.data, args.examples, args.seed)
    chats = [example(measure.messages(row), args.recipe) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        trained(args, chats[:64], folder, steps=measure.WARM_UP)
        gc.collect()
        one = trained(args, chats, folder)
    settings = {"length": LENGTH, "lora": RANK, "lora_alpha": ALPHA, **config_options(args)}
    measure.write(args, "trl", settings, one)


def example(messages: list[dict[str, str]], recipe: str) -> measure.Row:
    """A conversation; for `best` parted, since TRL then counts the answer's tokens alone."""
    if recipe == "best":
        return {"prompt": messages[:1], "completion": messages[1:]}
    return {"messages": messages}


def config_options(args: argparse.Namespace) -> dict[str, Any]:
    """Options of SFTConfig that the recipe sets."""
    half = args.precision == "bf16"
    weights = {"model_init_kwargs": {"dtype": "bfloat16"}} if half else {}
    return RECIPES[args.recipe] | {"bf16": half} | (weights if args.recipe == "best" else {})


def trained(
    args: argparse.Namespace, chats: list[measure.Row], folder: str, steps: int = -1
) -> measure.Pass:
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    trainer = SFTTrainer(
        model=args.model,
        args=SFTConfig(
            **measure.arguments_of_trainer(folder, args.seed, steps),
            **config_options(args),
            packing=True,
            max_length=LENGTH,
            per_device_train_batch_size=1,
        ),
        train_dataset=Dataset.from_list(chats),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear"),
    )
    # Packed rows hold no padding; what was cut off at LENGTH is no longer in them.
    return measure.timed_training(trainer, sum(map(len, trainer.train_dataset["input_ids"])))


if __name__ == "__main__":
    main()
