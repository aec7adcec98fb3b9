"""Rollouts by the serving engine: its probabilities are those of training, at any temperature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training.small_models import write_model

from moli.alignment.roles import SharedBase
from moli.alignment.rollouts.buffer import Rollouts, TrainingPrompt, make_rollouts
from moli.alignment.rollouts.engine import EngineRollouts
from moli.alignment.rollouts.sampling import SamplingLimits
from moli.records.errors import InputError

PROMPTS = [TrainingPrompt((5, 9, 12)), TrainingPrompt((7,)), TrainingPrompt((8, 20, 21, 22, 23))]
LIMITS = SamplingLimits(8, [3, 11], temperature=0.7)


@pytest.fixture
def sources(tmp_path: Path) -> tuple[SharedBase, EngineRollouts]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = write_model(tmp_path, "llama")
    base: Any = AutoModelForCausalLM.from_pretrained(folder)
    base.get_output_embeddings().weight.data *= 5
    tokenizer = AutoTokenizer.from_pretrained(folder)
    weights: dict[str, torch.Tensor] = {}
    engine = EngineRollouts(base, tokenizer, LIMITS, lambda: weights, max_num_seqs=40)
    shared = SharedBase(base, tokenizer, LIMITS, rank=4)
    torch.manual_seed(1)
    for name, parameter in shared.named_parameters():
        if ".policy." in name:
            parameter.data.normal_(0, 0.3)
    weights |= shared.merged_weights()
    return shared, engine


def largest_gap(shared: SharedBase, rollouts: Rollouts) -> float:
    with torch.no_grad():
        scores = shared.policy(rollouts)
    return float((scores.logprobs - rollouts.sampled_logprobs)[rollouts.mask].abs().max())


def test_probabilities_are_those_of_training_after_the_temperature(
    sources: tuple[SharedBase, EngineRollouts],
) -> None:
    shared, engine = sources
    prompts = PROMPTS * 12  # more than the engine usually answers at once
    rollouts = make_rollouts(prompts, engine(prompts, 0))
    assert largest_gap(shared, rollouts) < 1e-4
    for parameter in shared.parameters():
        parameter.data *= 0.9  # another policy
    assert largest_gap(shared, rollouts) > 1e-2


def test_a_seed_gives_the_same_answers_which_end_at_the_runs_own_tokens(
    sources: tuple[SharedBase, EngineRollouts],
) -> None:
    _, engine = sources
    answers = engine(PROMPTS * 10, 3)
    assert engine(PROMPTS * 10, 3) == answers != engine(PROMPTS * 10, 4)
    assert {answer.ids[-1] for answer in answers if answer.ended} == {3, 11}
    for answer in answers:
        assert not {3, 11} & set(answer.ids[:-1])
        assert answer.ended or len(answer.ids) == 8
    assert answers[0] != answers[3]  # the same prompt in another row


def test_prompts_that_the_model_cannot_read_are_refused(
    sources: tuple[SharedBase, EngineRollouts],
) -> None:
    _, engine = sources
    with pytest.raises(InputError, match=r"58 tokens and an answer of 8"):
        engine([TrainingPrompt((5,) * 58)], 0)
    with pytest.raises(InputError, match="no tokens"):
        engine([TrainingPrompt(())], 0)
