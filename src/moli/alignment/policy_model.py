"""The policy of a run: the base and its tokenizer, and the adapter that is stored at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from moli.alignment.recipe import AlignmentRecipe
from moli.alignment.roles import SharedBase
from moli.alignment.rollouts.sampling import SamplingLimits
from moli.models.weights.loading import load_model
from moli.records.errors import InputError
from moli.training.recipes.recipe import Recipe, make_recipe
from moli.training.tasks.instruction import Instruction
from moli.training.trained.comparison import HeldOutResult
from moli.training.trained.store import make_manifest, store_files
from moli.workspace import Workspace
from moli.workspace.content import StoredModel

# A hundredth of the learning rate at which an adapter imitates answers, at a width of 768.
_RATE, _WIDTH = 5e-5, 768


@dataclass(frozen=True)
class PolicyModel:
    """A recipe's policy, as the tasks of training see it: a language model with an adapter."""

    recipe: Recipe

    @cached_property
    def task(self) -> Instruction:
        """The task that knows the base's tokenizer, chat template and hashes."""
        return Instruction(self.recipe)

    @property
    def tokenizer(self) -> Any:
        """The base's tokenizer with its chat template, or the default one."""
        return self.task.tokenizer

    def hashes(self) -> dict[str, str]:
        """Hashes of the base, the tokenizer and the chat template."""
        hashes = self.task.base_hashes()
        return {"base": hashes.base, "tokenizer": hashes.tokenizer, "template": hashes.template}

    def build(self, limits: SamplingLimits) -> SharedBase:
        """The base in all its roles, with new adapters drawn by the recipe's seed.

        Raises:
            InputError: the base is no decoder.
        """
        self.task.prepare([])
        base = self.load_base()
        torch.manual_seed(self.recipe.seed)
        base_hash = self.task.base_hashes().base
        return SharedBase(base, self.tokenizer, limits, self.recipe.rank, base_hash=base_hash)

    def load_base(self) -> Any:
        """The base alone, on the graphics card if there is one."""
        base: Any = load_model("AutoModelForCausalLM", self.recipe.base, dtype=torch.float32)
        return base.cuda() if torch.cuda.is_available() else base

    def max_prompt(self, max_tokens: int) -> int:
        """Maximum tokens of a prompt, so that there is room for an answer of `max_tokens`.

        Raises:
            InputError: there is no room for any prompt.
        """
        limit = self.task.length_limit - max_tokens
        if limit < 1:
            raise InputError(
                f"'max_tokens' is {max_tokens:,}, and the base has "
                f"{self.task.length_limit:,} positions",
                where=self.recipe.base,
                fix="Set a smaller max_tokens.",
            )
        return limit

    def limits(self, recipe: AlignmentRecipe) -> SamplingLimits:
        """The limits of a recipe's sampling; answers end as they do when the model is served."""
        stop_token_ids = self.task.base_hashes().stop_tokens
        return SamplingLimits(recipe.max_tokens, stop_token_ids, recipe.temperature)

    def learning_rate(self) -> float:
        """The default learning rate, which falls with the width of the base."""
        return float(f"{_RATE * _WIDTH / max(self.task.hidden_size, 64):.2g}")

    def store(
        self,
        shared: SharedBase,
        workspace: Workspace,
        draft: Path,
        dataset_hash: str,
        result: HeldOutResult,
        lineage: Mapping[str, Any],
    ) -> StoredModel:
        """Store the adapter of the policy.

        Args:
            draft: a folder in that of the run, for the files until they are stored.
            lineage: what the adapter was made from, apart from its base.
        """
        manifest = make_manifest(self.task, self.recipe, dataset_hash, result)

        def write(folder: Path) -> None:
            shared.save_policy(folder, self.recipe.base)
            self.task.save_state(shared.model, folder)

        return store_files(write, replace(manifest, lineage=lineage), workspace, draft)


def make_policy(recipe: AlignmentRecipe) -> PolicyModel:
    """The policy of a recipe."""
    values = {
        "task": "instruction",
        "base": recipe.base,
        "data": recipe.prompts,
        "columns": recipe.columns,
        "roles": recipe.roles,
        "method": "lora",
        "rank": recipe.rank,
        "batch": recipe.batch,
        "learning_rate": recipe.learning_rate,
        "precision": "fp32",
        "seed": recipe.seed,
        "name": recipe.name,
    }
    return PolicyModel(make_recipe(values))
