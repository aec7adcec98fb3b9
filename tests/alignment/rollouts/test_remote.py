"""Rollouts by a server: vLLM's stand-in, which has the policy's adapter before each batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from models.vllm_stand_in import ServerOptions, StandIn

from moli.alignment.roles import SharedBase
from moli.alignment.rollouts.buffer import TrainingPrompt, make_rollouts
from moli.alignment.rollouts.remote import RemoteRollouts
from moli.alignment.rollouts.sampling import SamplingLimits
from moli.models.engine.engine import Engine
from moli.models.engine.transformers_runner import load_transformers_runner
from moli.models.engine.worker import EngineWorker
from moli.models.remote.backend import RemoteBackend
from moli.models.tokenizers import load_tokenizer
from moli.models.weights.loading import load_model
from moli.records.errors import InputError, ModelError

BASE = "builtin:starter"
PROMPTS = [TrainingPrompt((476, 1238, 310)), TrainingPrompt((400, 520))] * 2


@pytest.fixture(scope="module")
def worker() -> Iterator[EngineWorker]:
    runner = load_transformers_runner(BASE, adapter_slots=4, precision="fp32")
    made = EngineWorker(Engine(runner, load_tokenizer(BASE), max_model_len=256))
    yield made
    made.close()


@pytest.fixture
def server(worker: EngineWorker) -> Iterator[tuple[StandIn, RemoteBackend]]:
    with ExitStack() as stack:
        made = StandIn(worker, load_tokenizer(BASE), "starter", ServerOptions())
        backend = RemoteBackend(stack.enter_context(made.served()), "starter")
        stack.callback(backend.close)
        yield made, backend
        assert made.mistakes == []


@pytest.fixture
def shared() -> SharedBase:
    base: Any = load_model("AutoModelForCausalLM", BASE, dtype=torch.float32)
    stop = load_tokenizer(BASE).eos_token_id
    return SharedBase(base, load_tokenizer(BASE), SamplingLimits(12, [stop]), rank=4)


def move(shared: SharedBase, scale: float) -> None:
    torch.manual_seed(1)
    for name, parameter in shared.named_parameters():
        if ".policy." in name:
            parameter.data.normal_(0, scale)


@pytest.mark.slow
def test_answers_are_the_present_policys_with_their_probabilities(
    shared: SharedBase, server: tuple[StandIn, RemoteBackend], tmp_path: Path
) -> None:
    made, backend = server
    saved = lambda folder: shared.save_policy(folder, BASE)  # noqa: E731
    source = RemoteRollouts(backend, shared.tokenizer, shared.limits, saved, tmp_path)
    for scale in (0.02, 0.05):
        move(shared, scale)
        answers = source(PROMPTS, 0)
        rollouts = make_rollouts(PROMPTS, answers)
        with torch.no_grad():
            scores = shared.policy(rollouts)
            reference = shared.reference(rollouts)
        gap = (scores.logprobs - rollouts.sampled_logprobs)[rollouts.mask].abs().max()
        drift = (reference.logprobs - rollouts.sampled_logprobs)[rollouts.mask].abs().max()
        assert float(gap) < 1e-3 < 0.05 < float(drift)
        assert source(PROMPTS, 0) == answers != source(PROMPTS, 1)
        assert answers[0] != answers[2]
    assert len(made.adapters) == 2
    assert len(list(tmp_path.glob("*/adapter_config.json"))) == 2  # the draft, and the present one


@pytest.mark.slow
def test_failures_and_wrong_probabilities_are_errors(
    shared: SharedBase, server: tuple[StandIn, RemoteBackend], tmp_path: Path
) -> None:
    made, backend = server
    saved = lambda folder: shared.save_policy(folder, BASE)  # noqa: E731
    warm = SamplingLimits(12, shared.limits.stop_token_ids, temperature=0.7)
    with pytest.raises(InputError, match="after the temperature"):
        RemoteRollouts(backend, shared.tokenizer, warm, saved, tmp_path)
    source = RemoteRollouts(backend, shared.tokenizer, shared.limits, saved, tmp_path)
    with pytest.raises(InputError, match="no tokens"):
        source([TrainingPrompt(())], 0)
    made.failure = "errs"
    with pytest.raises(ModelError, match=r"answer 1 of 4 was not completed"):
        source(PROMPTS, 0)
