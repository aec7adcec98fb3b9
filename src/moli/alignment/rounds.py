"""Rounds of alignment: stages one after the other, each an ordinary run, then a comparison.

A stage that trains a language model begins with the result of the one before; reward models begin
with the base. After the stages, the round's policy is compared with the one before, and its best
and worst answers become new pairs, from which the reward models of the next round learn as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from moli.alignment import run as alignment_run
from moli.alignment.comparison import compare_policies
from moli.alignment.pairs import new_pairs, write_pairs
from moli.alignment.policy_model import PolicyModel, make_policy
from moli.alignment.prompts import Prompts, read_prompts
from moli.alignment.recipe import AlignmentRecipe, read_stored_values, stored_values
from moli.alignment.rewards.load import load_reward
from moli.alignment.rewards.protocol import Reward, score_answers
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.alignment.rollouts.sampling import sample_answers
from moli.alignment.rounds_check import check_rounds
from moli.alignment.rounds_recipe import RoundsRecipe, make_rounds_recipe, with_models
from moli.models.weights.json_files import write_json
from moli.records.errors import InputError
from moli.records.hashing import hash_files
from moli.records.training import COMPLETE, Evaluated, RunEnded, RunStarted
from moli.training import run as training_run
from moli.training.listeners import Listener
from moli.training.listeners.run_listeners import failure_reported, run_listeners
from moli.training.recipes.recipe import Recipe
from moli.training.recipes.run_folder import (
    REQUESTED,
    disk_errors,
    existing_run_folder,
    lock_run,
    make_run_folder,
)
from moli.training.recipes.task_table import GENERATIVE_TASKS
from moli.training.run import RunResult
from moli.training.runs import read_run
from moli.training.trained.names import load_named_chat
from moli.workspace import Workspace
from moli.workspace.paths import relative_values

_COMPARISON_SEED, _PAIRS_SEED = 3, 4
_Sample = Callable[[Sequence[TrainingPrompt], int], list[SampledAnswer]]


@dataclass(slots=True)
class _State:
    """The results so far.

    Attributes:
        policy: the model that the next stage starts from.
        models: hashes of the models of stages, by the names of these; the latest of each.
        pairs: files with the pairs of rounds.
    """

    policy: str
    models: dict[str, str] = field(default_factory=dict)
    pairs: tuple[Path, ...] = ()


class _Interrupted(Exception):  # noqa: N818 - a way out, no error
    """A stage was interrupted and can be resumed."""


def begin_rounds(recipe: RoundsRecipe, workspace: Workspace, run: str = "") -> Path:
    """Make the folder of new rounds, which `resume_rounds` starts.

    Args:
        run: the run's id; "" for a new one.

    Raises:
        MoliError: something that a stage names is not there, or cannot be used.
    """
    workspace.check_writable()
    check_rounds(recipe, workspace)
    folder = make_run_folder(workspace, run)
    write_json(folder / REQUESTED, stored_values(recipe, workspace.root))
    return folder


def run_rounds(
    recipe: RoundsRecipe, workspace: Workspace, *, listeners: Sequence[Listener] = ()
) -> RunResult:
    """Run all stages of all rounds.

    Args:
        listeners: receive the events of each stage.

    Raises:
        MoliError: a stage cannot be run.
    """
    folder = begin_rounds(recipe, workspace)
    return resume_rounds(folder.name, workspace, listeners=listeners)


def are_rounds(folder: Path) -> bool:
    """Whether a run's folder has rounds of several stages."""
    return "stages" in json.loads((folder / REQUESTED).read_text(encoding="utf-8"))


def resume_rounds(
    run: str, workspace: Workspace, *, listeners: Sequence[Listener] = ()
) -> RunResult:
    """Go on with rounds, at the stage and step at which they were interrupted.

    Raises:
        NotFoundError: there is no such run.
        WorkspaceError: another process works on it, or the disk is too full.
        InputError: what a stage reads has changed since, or the rounds are complete.
    """
    folder = existing_run_folder(workspace, run)
    with lock_run(folder), disk_errors(folder, "align"):
        if read_run(folder).status in COMPLETE:
            raise InputError("the rounds are complete", where=run, fix="Start new ones.")
        path = folder / REQUESTED
        values = read_stored_values(path, workspace.root)
        recipe = make_rounds_recipe(values, folder, where=str(path))
        return _Rounds(recipe, workspace, folder, listeners).run()


@dataclass(frozen=True, slots=True)
class _Rounds:
    """The rounds of one recipe in their folder."""

    recipe: RoundsRecipe
    workspace: Workspace
    folder: Path
    listeners: Sequence[Listener]

    def run(self) -> RunResult:
        """All stages that are not complete, and the result of the last round."""
        recipe, state = self.recipe, _State(self.recipe.base)
        on_event, done = run_listeners((), ()), self._rounds_done()
        values = recipe.model_dump(mode="json")
        on_event(RunStarted(self.folder.name, str(self.folder), values, {}, done, recipe.rounds))
        facts: dict[str, Any] = {}
        with failure_reported(on_event, lambda: done):
            try:
                for number in range(1, recipe.rounds + 1):
                    facts = self._run_round(number, state)
                    if number > done:
                        on_event(Evaluated(number, facts["metrics"], True, 0.0))
            except _Interrupted:
                on_event(RunEnded("interrupted", self._rounds_done(), {}))
                facts = {"step": self._rounds_done(), "alarm": "", "model": ""}
                return RunResult(self.folder.name, self.folder, "interrupted", "", facts)
        stored = self.workspace.models.get(state.policy)
        if recipe.name:
            stored = self.workspace.models.point(recipe.name, stored.hash)
        result = {**facts, "model": stored.name, "step": recipe.rounds}
        on_event(RunEnded("finished", recipe.rounds, result))
        return RunResult(self.folder.name, self.folder, "finished", stored.name, result)

    def _rounds_done(self) -> int:
        """Number of rounds that have been compared."""
        return len(list(self.folder.glob("round-*.json")))

    def _run_round(self, number: int, state: _State) -> dict[str, Any]:
        """Run the stages of a round, compare its policy with the one before, and write new pairs.

        Returns:
            The comparison, also of a round that was complete before.
        """
        before = state.policy
        for name in self.recipe.stages:
            self._run_stage(number, name, state)
        path, pairs = self.folder / f"round-{number}.json", self._pairs_path(number)
        if not path.exists():
            reward = load_reward(with_models(self.recipe.reward, state.models), self.workspace)
            prompts, answers = self._prompts(), self._sampler(state.policy)
            if self.recipe.pairs:
                write_pairs(pairs, self._new_pairs(prompts, answers, reward.reward))
            compared = self._compare(prompts, answers, before, reward.reward)
            lineage = {
                "policy": state.policy,
                "before": self._portable(before),
                "stages": dict(state.models),
                "rewards": dict(reward.hashes),
                "pairs": hash_files([pairs]) if pairs.exists() else "",
            }
            write_json(path, {**compared, "lineage": lineage})
        if pairs.exists() and pairs.stat().st_size:
            state.pairs = (*state.pairs, pairs)
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return result

    def _run_stage(self, number: int, name: str, state: _State) -> None:
        """Run a stage, or what is left of it, and take its model over into the state.

        Raises:
            _Interrupted: the stage was interrupted.
        """
        stage = self.recipe.stages[name]
        makes_policy = stage.get("task") in (None, *GENERATIVE_TASKS)
        base = state.policy if makes_policy else self.recipe.base
        recipe = self.recipe.stage_recipe(name, base, state.models, state.pairs)
        run = f"{self.folder.name}-{number}-{name}"
        folder = self.workspace.folder / "runs" / run
        if not (folder / REQUESTED).is_file():
            _begin(recipe, self.workspace, run)
        summary = read_run(folder)
        model = summary.model
        if summary.status not in COMPLETE:
            model = self._resume(recipe, run)
        state.models[name] = self.workspace.models.get(model).hash
        if makes_policy:
            state.policy = state.models[name]

    def _resume(self, recipe: Recipe | AlignmentRecipe, run: str) -> str:
        """Run a stage from its last checkpoint to its end, and return the model's name."""
        if isinstance(recipe, AlignmentRecipe):
            result = alignment_run.resume(run, self.workspace, listeners=self.listeners)
        else:
            result = training_run.resume(run, self.workspace, listeners=self.listeners)
        if result.status == "interrupted":
            raise _Interrupted
        return result.model

    def _compare(
        self, prompts: Prompts, answers: _Sample, before: str, reward: Reward
    ) -> dict[str, Any]:
        """The comparison of the policy with the one before, as JSON has it."""
        held_out = prompts.held_out
        now = answers(held_out, _COMPARISON_SEED)
        earlier = self._sampler(before)(held_out, _COMPARISON_SEED)
        judge = load_named_chat(self.recipe.judge, self.workspace) if self.recipe.judge else None
        comparison = compare_policies(held_out, now, earlier, reward, judge)
        return {**asdict(comparison), "metrics": comparison.metrics()}

    def _new_pairs(
        self, prompts: Prompts, answers: _Sample, reward: Reward
    ) -> Iterator[dict[str, Any]]:
        """The best and the worst of several answers to each prompt, where one is better."""
        count = self.recipe.pairs
        repeated = [prompt for prompt in prompts.train for _ in range(count)]
        sampled = answers(repeated, _PAIRS_SEED)
        return new_pairs(repeated, sampled, score_answers(reward, repeated, sampled), count)

    def _prompts(self) -> Prompts:
        """The prompts of all stages, as the base reads them."""
        policy = self._policy(self.recipe.base)
        return read_prompts(
            policy.recipe,
            policy.tokenizer,
            max_length=policy.max_prompt(self.recipe.max_tokens),
            held_out=self.recipe.held_out,
        )

    def _policy(self, model: str) -> PolicyModel:
        """A model as a policy; an adapter is merged."""
        return make_policy(
            alignment_run.with_whole_base(self.recipe.sampling(model), self.workspace)
        )

    def _portable(self, model: str) -> str:
        """A model's name or hash, or the path of its folder as it is kept in a workspace."""
        return str(relative_values({"base": model}, self.workspace.root)["base"])

    def _pairs_path(self, number: int) -> Path:
        return self.folder / f"pairs-{number}.jsonl"

    def _sampler(self, model: str) -> _Sample:
        """A function that samples answers of a model."""
        policy = self._policy(model)
        base = policy.load_base().eval()
        limits = policy.limits(self.recipe.sampling(model))
        return lambda prompts, seed: sample_answers(base, policy.tokenizer, prompts, limits, seed)


def _begin(recipe: Recipe | AlignmentRecipe, workspace: Workspace, run: str) -> None:
    """Make the folder of a stage's run."""
    if isinstance(recipe, AlignmentRecipe):
        alignment_run.begin(recipe, workspace, run)
    else:
        training_run.begin(recipe, workspace, run)
