"""Reward models as frozen adapters and heads on the policy's base, which is then held only once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from moli.alignment.rewards.protocol import Reward
from moli.alignment.rewards.trained import TrainedReward
from moli.alignment.roles import SharedBase
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.training.tasks import make_task
from moli.training.tasks.base.wrapped_models import model_without_head, unwrapped_model
from moli.training.tasks.reward import RewardModeling
from moli.training.trained.load import TrainedModel, check_compatibility, recipe_of
from moli.training.trained.reward_model import RewardModel, load_reward_model
from moli.workspace import Workspace
from moli.workspace.content import StoredModel

_HEAD = "base_model.model.score.weight"  # as PEFT names it in an adapter's file


class _ModelWithHead(torch.nn.Module):
    """A head above a base that belongs to somebody else, with what tasks use of a model."""

    def __init__(self, shared: SharedBase, head: torch.Tensor) -> None:
        super().__init__()
        inner = unwrapped_model(shared.model)
        # Past torch's registry of modules: the base is not a part of this one.
        self.__dict__["base_model"] = model_without_head(shared.model)
        self.config, self.device = inner.config, inner.device
        self.score = torch.nn.Linear(head.shape[1], head.shape[0], bias=False)
        self.score.weight.data = head.to(inner.device, inner.dtype)
        self.eval().requires_grad_(False)


@dataclass(frozen=True, slots=True)
class SharedReward:
    """Scores of a reward model whose adapter is on the policy's base, like those of its own."""

    shared: SharedBase
    adapter: str
    reward: TrainedReward

    @property
    def metrics(self) -> Mapping[str, float]:
        """The drift of the last call's scores."""
        return self.reward.metrics

    def __call__(
        self, prompts: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer], /
    ) -> Sequence[float]:
        with self.shared.adapter(self.adapter):
            return self.reward(prompts, answers)


def load_shared_reward(
    stored: StoredModel,
    workspace: Workspace,
    shared: SharedBase,
    *,
    must_be_calibrated: bool = True,
) -> Reward:
    """A stored reward model as a reward: on the policy's base if it was trained on that one.

    Otherwise it is loaded with a base and a tokenizer of its own.

    Raises:
        InputError: it is not a reward model, or its calibration speaks against its use.
        ModelError: it or its base has changed since it was stored.
    """
    if model := _on_shared_base(stored, shared):
        adapter = _adapter_name(stored)
        return SharedReward(shared, adapter, TrainedReward(model, must_be_calibrated))
    return TrainedReward(load_reward_model(stored, workspace), must_be_calibrated)


def _on_shared_base(stored: StoredModel, shared: SharedBase) -> RewardModel | None:
    """The reward model as an adapter on the policy's base; None if it does not fit there."""
    manifest = stored.manifest
    is_same = bool(shared.base_hash) and manifest.base_hash == shared.base_hash
    if manifest.task != "reward" or not is_same:
        return None
    head = _stored_head(stored)
    if head is None:
        return None
    recipe = recipe_of(stored)
    check_compatibility(stored, recipe)
    if not shared.add_frozen_adapter(_adapter_name(stored), stored.folder):
        return None
    task = make_task(recipe)
    assert isinstance(task, RewardModeling)  # noqa: S101 - for the type checker
    task.load_state(stored.folder)
    model: Any = _ModelWithHead(shared, head)
    return RewardModel(TrainedModel(task, model, stored.name, shared.packed, manifest.base))


def _adapter_name(stored: StoredModel) -> str:
    """The adapter's name on the shared base: letters and digits that no other model has."""
    return f"reward_{stored.hash[:16]}"


def _stored_head(stored: StoredModel) -> torch.Tensor | None:
    """The weight of the head in an adapter's file; None if there is no such head."""
    from safetensors import safe_open

    path = stored.folder / "adapter_model.safetensors"
    if not path.is_file():
        return None
    with safe_open(path, "pt") as tensors:
        names = [name for name in tensors.keys() if "score" in name]  # noqa: SIM118
        head: torch.Tensor | None = tensors.get_tensor(_HEAD) if names == [_HEAD] else None
    return head
