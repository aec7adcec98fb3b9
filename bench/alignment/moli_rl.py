"""Moli's loop on the same prompts as the peers, by the same clock, writing the same file.

ppo: five roles on one base, two of them frozen reward adapters. grpo: groups of four answers, and a
reward that takes no time.
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

from moli.models.hardware.memory import ensure_tight_heap

OPTIONS: dict[str, dict[str, Any]] = {
    "ppo": {"epochs": 4, "minibatches": 2},
    "grpo": {"answers_per_prompt": rollouts.GROUP, "beta": 0.01},
}


def shared_base(folder: str) -> Any:
    """The base in all roles, with answers that end where the model's configuration says."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from moli.alignment.roles import SharedBase
    from moli.alignment.rollouts.sampling import SamplingLimits

    torch.manual_seed(0)
    base: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    limits = SamplingLimits(rollouts.TOKENS, [base.config.eos_token_id])
    return SharedBase(base, AutoTokenizer.from_pretrained(folder), limits, rollouts.RANK)


def model_rewards(shared: Any) -> Any:
    """Safety and helpfulness of random frozen adapters, as scores of the answers' last tokens."""
    import torch
    from peft import LoraConfig

    from moli.alignment.rewards.gate import GatedReward
    from moli.alignment.rollouts.buffer import make_rollouts
    from moli.alignment.scoring import value_answers_of

    def make(name: str) -> Any:
        config = LoraConfig(
            task_type="CAUSAL_LM", r=rollouts.RANK, target_modules="all-linear", inference_mode=True
        )
        shared.model.add_adapter(name, config)
        head = torch.nn.Linear(shared.value_function_head.in_features, 1).requires_grad_(False)

        @torch.no_grad()
        def score(prompts: Any, answers: Any) -> list[float]:
            batch = make_rollouts(prompts, answers)
            with shared.adapter(name):
                values = value_answers_of(shared.model, head, batch, packed=shared.packed)
            last = batch.lengths - 1
            scores: list[float] = values.gather(1, last[:, None])[:, 0].tolist()
            return scores

        return score

    reward = GatedReward(make("safety"), make("helpfulness"))
    shared.eval()
    return reward


def main() -> None:
    ensure_tight_heap()  # as `moli tune` does
    args = measure.parser(__doc__.splitlines()[0], tuple(OPTIONS)).parse_args()
    measure.offline()
    from moli.alignment.alarms import AlarmLimits, Alarms
    from moli.alignment.algorithms.table import make_algorithm
    from moli.alignment.loop import AlignmentLoop, BatchSizes
    from moli.alignment.rollouts.buffer import TrainingPrompt
    from moli.training.loop.loop import RunSchedule

    shared = shared_base(args.model)
    algorithm = make_algorithm(args.recipe, OPTIONS[args.recipe])
    repeats = algorithm.options.answers_per_prompt
    batch = rollouts.PROMPTS // repeats
    steps = args.examples // rollouts.PROMPTS
    prompts = rollouts.prompt_ids(args.model, (steps + 1) * batch)
    constant = lambda _, answers: [rollouts.reward(answer.ids) for answer in answers]  # noqa: E731
    with tempfile.TemporaryDirectory() as folder:
        loop = AlignmentLoop(
            algorithm=algorithm,
            roles=shared.roles(),
            reward=model_rewards(shared) if args.recipe == "ppo" else constant,
            prompts=[TrainingPrompt(tuple(ids)) for ids in prompts],
            learners=_learners(shared, args.recipe),
            schedule=RunSchedule(steps + 1, 10**9, 0, 1e9),
            sizes=BatchSizes(batch),
            seed=args.seed,
            folder=Path(folder),
            on_event=lambda _: None,
            alarms=Alarms(
                AlarmLimits(kl=None, length_growth=None, repetition=None, entropy_share=None)
            ),
        )
        loop.take_step()  # warm-up
        before = loop.progress.supervised
        begun, processor = time.perf_counter(), time.process_time()
        losses = [loop.take_step().loss for _ in range(steps)]
        seconds, processor = time.perf_counter() - begun, time.process_time() - processor
    settings = {"packed": shared.packed, "processor_seconds": round(processor, 2)}
    tokens = loop.progress.supervised - before
    measure.write(args, "moli", settings, measure.Pass(seconds, tokens, losses))


def _learners(shared: Any, algorithm: str) -> Any:
    """The learners of an algorithm: only PPO has a value function."""
    learners = shared.learners(rollouts.RATE)
    return learners if algorithm == "ppo" else {"policy": learners["policy"]}


if __name__ == "__main__":
    main()
