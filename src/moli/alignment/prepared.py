"""A run prepared from its recipe: prompts, rewards, roles and loop, ready for its next step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moli.alignment.alarms import AlarmLimits, Alarms
from moli.alignment.algorithms.table import make_algorithm
from moli.alignment.comparison import PolicyComparison, compare_policies
from moli.alignment.held_out import HeldOutReward
from moli.alignment.loop import AlignmentLoop, BatchSizes
from moli.alignment.policy_model import PolicyModel, make_policy
from moli.alignment.prompts import Prompts, read_prompts
from moli.alignment.recipe import AlignmentRecipe, stored_values
from moli.alignment.rewards.load import LoadedReward, load_reward
from moli.alignment.rewards.protocol import Reward
from moli.alignment.roles import SharedBase
from moli.alignment.rollouts.buffer import TrainingPrompt
from moli.alignment.shared_rewards import load_shared_reward
from moli.models.hardware.probe import probe
from moli.models.protocols.chat import ChatModel
from moli.models.weights.json_files import write_json
from moli.records.training import Event
from moli.training.loop.loop import RunSchedule
from moli.training.recipes.run_folder import RESOLVED, check_unchanged
from moli.training.setup.environment import write_environment
from moli.training.trained.names import check_named_chat
from moli.workspace import Workspace
from moli.workspace.content import StoredModel

_EVALUATIONS = 5  # during a run
_SAMPLES, _COMPARISON_SEED = 6, 2


@dataclass(frozen=True, slots=True)
class PreparedAlignment:
    """All parts of a run.

    Attributes:
        recipe: the recipe with the learning rate.
        held_out_reward: the reward of evaluations.
        lineage: what the result is made from, for its manifest.
        facts: numbers of prompts, parameters and the like.
    """

    recipe: AlignmentRecipe
    policy: PolicyModel
    prompts: Prompts
    shared: SharedBase
    loop: AlignmentLoop
    held_out_reward: Reward
    lineage: Mapping[str, Any]
    facts: Mapping[str, Any]

    def compare(self, judge: ChatModel | None) -> dict[str, Any]:
        """The policy's answers against the reference's, by the reward of evaluations and a judge.

        Without held-out prompts, it is only a few answers of both.
        """
        prompts: Sequence[TrainingPrompt] = self.prompts.held_out
        if not prompts:
            return {"sample_answers": self._compare(self.prompts.train[:_SAMPLES]).sample_answers}
        comparison = self._compare(prompts, judge)
        return {
            "sample_answers": comparison.sample_answers,
            "against_reference": comparison.metrics(),
        }

    def _compare(
        self, prompts: Sequence[TrainingPrompt], judge: ChatModel | None = None
    ) -> PolicyComparison:
        """The comparison on some prompts."""
        before = self.shared.sample_reference(prompts, _COMPARISON_SEED)
        after = self.shared.sample(prompts, _COMPARISON_SEED)
        return compare_policies(prompts, after, before, self.held_out_reward, judge)


def prepare(
    recipe: AlignmentRecipe,
    workspace: Workspace,
    folder: Path,
    on_event: Callable[[Event], None],
) -> PreparedAlignment:
    """Prepare a new run, or one that is resumed from its checkpoint.

    Raises:
        InputError: the prompts, the reward or the judge cannot be used, or they have changed since
            the run began.
        NotFoundError: there is no such judge.
        ModelError: a model cannot be loaded.
    """
    if recipe.judge:
        check_named_chat(recipe.judge, workspace)
    policy = make_policy(recipe)
    recipe = _resolved(recipe, policy)
    prompts = read_prompts(
        policy.recipe,
        policy.tokenizer,
        max_length=policy.max_prompt(recipe.max_tokens),
        held_out=recipe.held_out,
    )
    shared = policy.build(policy.limits(recipe))
    reward, held_out = _load_rewards(recipe, workspace, shared)
    hashes = {"prompts": prompts.digest, **policy.hashes()}
    check_unchanged(folder, {**hashes, **reward.hashes, **held_out.hashes})
    write_json(folder / RESOLVED, {"recipe": recipe.model_dump(mode="json")})
    write_environment(folder, recipe, probe())
    loop = _make_loop(recipe, shared, prompts, reward.reward, folder, on_event)
    if prompts.held_out:
        loop.evaluate = HeldOutReward(prompts.held_out, shared.sample, held_out.reward)
    loop.resume()
    lineage = {
        "recipe": stored_values(recipe, workspace.root),
        "prompts": prompts.digest,
        "base": hashes["base"],
        "rewards": dict(reward.hashes),
        "held_out_rewards": dict(held_out.hashes),
    }
    facts = {
        **prompts.facts,
        "answers_per_step": recipe.batch * loop.algorithm.options.answers_per_prompt,
        "rewards": {name: digest[:12] for name, digest in reward.hashes.items()},
        "trainable_parameters": sum(p.numel() for p in shared.parameters() if p.requires_grad),
    }
    return PreparedAlignment(recipe, policy, prompts, shared, loop, held_out.reward, lineage, facts)


def _load_rewards(
    recipe: AlignmentRecipe, workspace: Workspace, shared: SharedBase
) -> tuple[LoadedReward, LoadedReward]:
    """The rewards of training and of evaluations; reward models are on the policy's base if it is
    theirs, too."""

    def load_model(stored: StoredModel, is_strict: bool) -> Reward:
        return load_shared_reward(stored, workspace, shared, must_be_calibrated=is_strict)

    reward = load_reward(recipe.reward, workspace, load_model)
    if recipe.held_out_reward is None:
        return reward, reward
    return reward, load_reward(recipe.held_out_reward, workspace, load_model)


def _make_loop(
    recipe: AlignmentRecipe,
    shared: SharedBase,
    prompts: Prompts,
    reward: Reward,
    folder: Path,
    on_event: Callable[[Event], None],
) -> AlignmentLoop:
    """The loop at its first step, without evaluations."""
    return AlignmentLoop(
        algorithm=make_algorithm(recipe.algorithm, recipe.options),
        roles=shared.roles(),
        reward=reward,
        prompts=prompts.train,
        learners=shared.learners(float(recipe.learning_rate or 0)),
        schedule=RunSchedule(recipe.steps, max(1, recipe.steps // _EVALUATIONS), patience=0),
        sizes=BatchSizes(recipe.batch),
        seed=recipe.seed,
        folder=folder,
        on_event=on_event,
        alarms=Alarms(AlarmLimits(**recipe.alarms)),
    )


def _resolved(recipe: AlignmentRecipe, policy: PolicyModel) -> AlignmentRecipe:
    """The recipe with a learning rate: its own, that of its options, or the default."""
    chosen = recipe.learning_rate or recipe.options.get("learning_rate")
    return recipe.model_copy(update={"learning_rate": chosen or policy.learning_rate()})
