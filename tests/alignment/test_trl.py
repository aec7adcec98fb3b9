"""Losses and gradients of GRPO, its variants and RLOO equal those that TRL's trainers compute.

`trl_losses.json` was written by bench/alignment/record_trl_groups.py, in TRL's own environment.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from moli.alignment.algorithms.protocol import Minibatch
from moli.alignment.algorithms.surrogate import spread
from moli.alignment.algorithms.table import make_algorithm
from moli.alignment.rollouts.buffer import (
    Experience,
    SampledAnswer,
    TrainingPrompt,
    make_experience,
    make_rollouts,
)
from moli.alignment.rollouts.protocols import TokenScores

RECORDED = json.loads((Path(__file__).parent / "trl_losses.json").read_text(encoding="utf-8"))
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("grpo", {}),
    "grpo_kl": ("grpo", {"kl_in": "loss"}),
    "dr_grpo": ("grpo", {"variant": "dr_grpo", "max_tokens": RECORDED["max_tokens"]}),
    "dapo": ("grpo", {"variant": "dapo"}),
    "gspo": ("grpo", {"variant": "gspo"}),
    "grpo_other_engine": ("grpo", {"importance_cap": 2.0}),
    "rloo": ("rloo", {}),
}


def experience(*, other_engine: bool) -> Experience:
    """The recorded batch, whose answers another engine may have sampled."""
    inputs = {name: torch.tensor(value) for name, value in RECORDED["inputs"].items()}
    inputs = {n: t.double() if t.is_floating_point() else t for n, t in inputs.items()}
    sampled = inputs["sampled_logprobs" if other_engine else "old_logprobs"]
    answers = []
    for ids, mask, logprobs in zip(inputs["ids"], inputs["mask"], sampled, strict=True):
        length = int(mask.sum())
        answers.append(
            SampledAnswer(tuple(ids[:length].tolist()), tuple(logprobs[:length].tolist()))
        )
    prompts = [TrainingPrompt((1,))] * len(answers)
    batch = make_experience(
        make_rollouts(prompts, answers),
        logprobs=inputs["old_logprobs"],
        reference_logprobs=inputs["reference_logprobs"],
        scores=inputs["advantages"],
    )
    return dataclasses.replace(batch, advantages=spread(inputs["advantages"], batch.mask))


@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_equal_those_of_trl(name: str) -> None:
    algorithm = make_algorithm(*CASES[name])
    batch = experience(other_engine=name == "grpo_other_engine")
    logits = torch.tensor(RECORDED["inputs"]["logits"], dtype=torch.float64, requires_grad=True)
    ids = torch.tensor(RECORDED["inputs"]["ids"])
    logprobs = torch.log_softmax(logits, -1).gather(2, ids[..., None])[..., 0]
    minibatch = Minibatch(batch, algorithm.weights(batch), 0.1)
    current = TokenScores(logprobs, torch.ones_like(logprobs))
    loss = algorithm.loss(minibatch, current, None).total
    loss.backward()
    expected = RECORDED["results"][name]
    assert float(loss.detach()) == pytest.approx(expected["loss"], abs=1e-6)
    assert logits.grad is not None
    assert torch.allclose(logits.grad, torch.tensor(expected["gradient"]).double(), atol=1e-6)
    assert RECORDED["trl"] == "1.16.0"
