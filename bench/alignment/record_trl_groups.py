"""Records the losses of TRL's GRPO and RLOO trainers on fixed log probabilities, as JSON.

Use: sh bench/peers/setup.sh trl_sft bench/training/peers/trl_sft.requirements.txt
     bench/.envs/trl_sft/bin/python bench/alignment/record_trl_groups.py > trl_losses.json
The file goes to tests/alignment, where test_trl.py compares. The methods `_compute_loss` of the
trainers run as they are, without a model: log probabilities come from logits that are recorded too.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
import trl
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

ANSWERS, TOKENS, VOCABULARY = 6, 5, 7
LENGTHS = (5, 1, 3, 4, 2, 5)
MAX_TOKENS = 8
CASES: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo"},
    "grpo_kl": {"loss_type": "grpo", "beta": 0.1},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},
    "gspo": {"loss_type": "grpo", "level": "sequence", "epsilon_low": 3e-4, "epsilon_high": 4e-4},
    "grpo_other_engine": {"loss_type": "grpo", "corrected": True},
    "rloo": {},
}


def accelerator() -> SimpleNamespace:
    """What the trainers ask of accelerate to report figures, for one process."""
    return SimpleNamespace(
        gather=lambda x: x,
        gather_for_metrics=lambda x: x,
        reduce=lambda x, **_: x,
        num_processes=1,
        device=torch.device("cpu"),
    )


def trainer_stub(options: dict[str, Any], logprobs: torch.Tensor) -> Any:
    """The attributes that `_compute_loss` reads."""
    return SimpleNamespace(
        model=SimpleNamespace(training=True),
        args=SimpleNamespace(delta=None, use_bias_correction_kl=True, steps_per_generation=1),
        accelerator=accelerator(),
        _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *_, **__: (
            logprobs,
            torch.ones_like(logprobs),
            None,
        ),
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level=options.get("level", "token"),
        loss_type=options.get("loss_type"),
        beta=options.get("beta", 0.0),
        epsilon_low=options.get("epsilon_low", 0.2),
        epsilon_high=options.get("epsilon_high", 0.2),
        use_vllm=options.get("corrected", False),
        vllm_importance_sampling_correction=True,
        max_completion_length=MAX_TOKENS,
        current_gradient_accumulation_steps=1,
        _entropy_bonus_enabled=False,
    )


def record(name: str, options: dict[str, Any], data: dict[str, torch.Tensor]) -> dict[str, Any]:
    """A trainer's loss, and its gradient by the logits."""
    logits = data["logits"].clone().requires_grad_()
    logprobs = torch.log_softmax(logits, -1).gather(2, data["ids"][..., None])[..., 0]
    mask = data["mask"].long()
    inputs = {
        "prompt_ids": torch.ones(ANSWERS, 1, dtype=torch.long),
        "prompt_mask": torch.ones(ANSWERS, 1, dtype=torch.long),
        "completion_ids": data["ids"],
        "completion_mask": mask,
        "advantages": data["advantages"],
        "old_per_token_logps": data["old_logprobs"],
        "ref_per_token_logps": data["reference_logprobs"],
        "num_items_in_batch": mask.sum(),
        "old_logps": (data["old_logprobs"] * mask).sum(1),
        "importance_sampling_ratio": torch.exp(
            data["old_logprobs"] - data["sampled_logprobs"]
        ).clamp(max=2.0),
    }
    stub = trainer_stub(options, logprobs)
    trainer = RLOOTrainer if name == "rloo" else GRPOTrainer
    loss = trainer._compute_loss(stub, stub.model, inputs)
    loss.backward()
    return {"loss": loss.item(), "gradient": logits.grad.tolist()}


def main() -> None:
    """Draw the tensors, and print them with what TRL makes of them."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    shape = (ANSWERS, TOKENS)
    ids = torch.randint(VOCABULARY, shape)
    logits = torch.randn(*shape, VOCABULARY)
    logprobs = torch.log_softmax(logits, -1).gather(2, ids[..., None])[..., 0]
    data = {
        "ids": ids,
        "logits": logits,
        "mask": torch.arange(TOKENS)[None] < torch.tensor(LENGTHS)[:, None],
        "old_logprobs": logprobs + 0.3 * torch.randn(*shape),
        "reference_logprobs": logprobs + 0.5 * torch.randn(*shape),
        "advantages": torch.randn(ANSWERS),
    }
    data["sampled_logprobs"] = data["old_logprobs"] + 0.5 * torch.randn(*shape)
    results = {name: record(name, options, data) for name, options in CASES.items()}
    json.dump(
        {
            "trl": trl.__version__,
            "max_tokens": MAX_TOKENS,
            "inputs": {name: tensor.tolist() for name, tensor in data.items()},
            "results": results,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
