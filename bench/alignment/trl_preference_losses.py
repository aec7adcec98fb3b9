"""Losses of TRL's trainers on small random models, recorded as data of tests.

Each case has the log probabilities of its answers, computed here from the models' logits by plain
torch, and the loss that the trainer gives for the same batch.

Use: bench/.envs/trl_sft/bin/python bench/alignment/trl_preference_losses.py
It writes tests/training/tasks/trl_losses.json.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

OUTPUT = Path(__file__).parents[2] / "tests" / "training" / "tasks" / "trl_losses.json"
WORDS = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", *(f"w{number}" for number in range(40))]
PAIRS = [
    ("w1 w2 w3 ", "w4 w5 w6 w7", "w8"),
    ("w9 ", "w10 w11", "w12 w13 w14 w15 w16"),
    ("w17 w18 w19 w20 w21 ", "w22 w23 w24", "w25 w26"),
]


def make_tokenizer() -> Any:
    raw = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]"
    )


def make_model(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, pad_token_id=0, eos_token_id=3,
        initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@torch.no_grad()
def logps(model: Any, ids: torch.Tensor, attention: torch.Tensor, answer: torch.Tensor) -> Any:
    """Sums of the log probabilities of the tokens of each answer, and their numbers, [rows]."""
    logits = model(input_ids=ids, attention_mask=attention).logits.double()
    own = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    mask = answer[:, 1:].bool()
    return (own * mask).sum(1), mask.sum(1)


def in_columns(values: torch.Tensor) -> list[Any]:
    """Values of all chosen answers and then of all rejected ones as pairs."""
    return values.view(2, -1).t().tolist()


def options(folder: str, **values: Any) -> dict[str, Any]:
    return {
        "output_dir": folder, "report_to": [], "use_cpu": True, "bf16": False,
        "per_device_train_batch_size": len(PAIRS), "remove_unused_columns": False, **values,
    }  # fmt: skip


def record_dpo(folder: str, loss_type: str, beta: float, ours: dict[str, Any]) -> dict[str, Any]:
    """A case of DPOTrainer."""
    policy, reference = make_model(0), make_model(1)
    rows = [dict(zip(("prompt", "chosen", "rejected"), pair, strict=True)) for pair in PAIRS]
    trainer = trl.DPOTrainer(
        model=policy, ref_model=reference, processing_class=make_tokenizer(),
        args=trl.DPOConfig(**options(folder, loss_type=[loss_type], beta=beta)),
        train_dataset=Dataset.from_list(rows),
    )  # fmt: skip
    batch = trainer.data_collator(list(trainer.train_dataset))
    inputs = (batch["input_ids"], batch["attention_mask"], batch["completion_mask"])
    trainer.model.eval()
    with torch.no_grad():
        loss = float(trainer.compute_loss(trainer.model, batch))
    sums, tokens = logps(policy, *inputs)
    return {
        "options": {"beta": beta, **ours}, "loss": loss, "policy": in_columns(sums),
        "reference": in_columns(logps(reference, *inputs)[0]), "tokens": in_columns(tokens),
    }  # fmt: skip


def record_kto(folder: str, weights: tuple[float, float]) -> dict[str, Any]:
    """A case of KTOTrainer, whose second answers are those to other prompts."""
    policy, reference = make_model(0), make_model(1)
    rows = [
        {"prompt": prompt, "completion": answer, "label": good}
        for prompt, chosen, rejected in PAIRS
        for answer, good in ((chosen, True), (rejected, False))
    ]
    values = options(folder, beta=0.3, desirable_weight=weights[0], undesirable_weight=weights[1])
    values |= {"per_device_train_batch_size": len(rows), "train_sampling_strategy": "sequential"}
    trainer = trl.KTOTrainer(
        model=policy, ref_model=reference, processing_class=make_tokenizer(),
        args=trl.KTOConfig(**values), train_dataset=Dataset.from_list(rows),
    )  # fmt: skip
    batch = trainer.data_collator(list(trainer.train_dataset))
    trainer.model.eval()
    with torch.no_grad():
        loss = float(trainer.compute_loss(trainer.model, batch))
    names = ("input_ids", "attention_mask", "completion_mask")
    by_answer = [
        [logps(model, *(batch[prefix + name] for name in names))[0] for prefix in ("", "KL_")]
        for model in (policy, reference)
    ]
    sums = [torch.stack(each, 1).tolist() for each in by_answer]
    return {
        "options": {"beta": 0.3, "desirable_weight": weights[0], "undesirable_weight": weights[1]},
        "loss": loss, "policy": sums[0], "reference": sums[1],
        "is_good": [bool(each) for each in batch["label"]],
    }  # fmt: skip


def record_without_reference(folder: str) -> dict[str, Any]:
    """Cases of CPOTrainer as SimPO and of ORPOTrainer, on mean log probabilities of a token."""
    rows = [dict(zip(("prompt", "chosen", "rejected"), pair, strict=True)) for pair in PAIRS]
    common = {"processing_class": make_tokenizer(), "train_dataset": Dataset.from_list(rows)}
    simpo = CPOTrainer(
        model=make_model(0),
        args=CPOConfig(
            **options(folder, loss_type="simpo", cpo_alpha=0.0, beta=2.0, simpo_gamma=0.7)
        ),
        **common,
    )
    orpo = ORPOTrainer(model=make_model(0), args=ORPOConfig(**options(folder, beta=0.2)), **common)
    batch = orpo.data_collator(list(orpo.train_dataset))
    with torch.no_grad():
        chosen, rejected, *_ = orpo.concatenated_forward(orpo.model.eval(), batch)
    means = torch.stack([chosen, rejected], 1)
    return {
        "simpo": [{
            "options": {"beta": 2.0, "gamma": 0.7}, "means": means.tolist(),
            "losses": simpo.cpo_loss(chosen, rejected)[0].tolist(),
        }],
        # The trainer's cross-entropy is of prompts as well, so the odds ratio is recorded alone.
        "orpo": [{
            "options": {"beta": 0.2}, "means": means.tolist(),
            "odds_ratio_losses": (-orpo.odds_ratio_loss(chosen, rejected)[0]).tolist(),
        }],
    }  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        recorded = {
            "trl": trl.__version__,
            "dpo": [
                record_dpo(folder, "sigmoid", 0.1, {}),
                record_dpo(folder, "sigmoid", 0.5, {}),
                record_dpo(folder, "sigmoid_norm", 2.0, {"length_normalized": True}),
            ],
            "ipo": [record_dpo(folder, "ipo", 0.1, {})],
            "kto": [record_kto(folder, (1.0, 1.0)), record_kto(folder, (1.5, 0.8))],
            **record_without_reference(folder),
        }
    OUTPUT.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
