"""Hugging Face's Trainer on a classification set: rows of `text` and `label` (0, 1, ...).

tutorial: what the classic IMDb examples teach: every text padded to 512, float32, batches of 16 in
random order, AdamW at 2e-5 with warm-up and weight decay, the model's own dropout.
best: all that can be had without writing a loop: texts of like length together, padded to the
longest of their batch, bf16 autocast (unless --precision fp32), and no dropout on attention, for
which there is no fused kernel on a CPU. Compiling is left out: each new length would be compiled
anew.

The Trainer sorts within groups of a quarter of the pass and at most 50 batches, so a pass over few
examples pads a little more than a long one.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from typing import Any

import measure

BATCH = 16
LONGEST = 512
LEARNING_RATE = 2e-5
LORA_LEARNING_RATE = 1e-3
RECIPES: dict[str, dict[str, Any]] = {
    "tutorial": {"train_sampling_strategy": "random"},
    "best": {"train_sampling_strategy": "group_by_length"},
}


def main() -> None:
    parser = measure.parser(__doc__.splitlines()[0], tuple(RECIPES))
    parser.add_argument("--lora", type=int, metavar="R", help="LoRA of rank R on query and value")
    parser.add_argument(
        "--attention-dropout",
        type=float,
        metavar="P",
        help="(default: the model's own in `tutorial`, 0 in `best`)",
    )
    args = parser.parse_args()
    measure.offline()
    if args.attention_dropout is None and args.recipe == "best":
        args.attention_dropout = 0.0
    rows = measure.examples(args.data, args.examples, args.seed)
    classes = len({row["label"] for row in rows})
    dataset = tokenized(args, rows)
    with tempfile.TemporaryDirectory() as folder:
        few = dataset.select(range(min(measure.WARM_UP * BATCH, len(dataset))))
        trained(args, few, classes, folder, steps=measure.WARM_UP)
        gc.collect()
        one = trained(args, dataset, classes, folder)
    settings = {"batch": BATCH, "lora": args.lora, "attention_dropout": args.attention_dropout}
    measure.write(args, "transformers", settings, one)


def tokenized(args: argparse.Namespace, rows: list[measure.Row]) -> Any:
    from datasets import Dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    padding = "max_length" if args.recipe == "tutorial" else False

    def encoded(batch: dict[str, list[Any]]) -> Any:
        return tokenizer(batch["text"], padding=padding, truncation=True, max_length=LONGEST)

    kept = [{"text": row["text"], "label": row["label"]} for row in rows]
    return Dataset.from_list(kept).map(encoded, batched=True, remove_columns="text")


def trained(
    args: argparse.Namespace, dataset: Any, classes: int, folder: str, steps: int = -1
) -> measure.Pass:
    from transformers import AutoTokenizer, Trainer, TrainingArguments, set_seed

    set_seed(args.seed)  # the head is drawn anew
    trainer = Trainer(
        model=classifier(args, classes),
        args=TrainingArguments(
            **measure.arguments_of_trainer(folder, args.seed, steps),
            **RECIPES[args.recipe],
            bf16=args.recipe == "best" and args.precision == "bf16",
            per_device_train_batch_size=BATCH,
            learning_rate=LORA_LEARNING_RATE if args.lora else LEARNING_RATE,
            warmup_steps=0.1,  # of all steps
            weight_decay=0.01,
        ),
        train_dataset=dataset,
        # With a tokenizer the Trainer collates by padding to the longest of the batch.
        processing_class=AutoTokenizer.from_pretrained(args.model),
    )
    return measure.timed_training(trainer, sum(map(sum, dataset["attention_mask"])))


def classifier(args: argparse.Namespace, classes: int) -> Any:
    from transformers import AutoModelForSequenceClassification

    dropout = args.attention_dropout
    changed = {} if dropout is None else {"attention_probs_dropout_prob": dropout}
    model = AutoModelForSequenceClassification.from_pretrained(
        args.model, num_labels=classes, dtype="float32", **changed
    )
    if not args.lora:
        return model
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="SEQ_CLS",
        r=args.lora,
        lora_alpha=2 * args.lora,
        target_modules=["query", "value"],
    )
    return get_peft_model(model, config)


if __name__ == "__main__":
    main()
