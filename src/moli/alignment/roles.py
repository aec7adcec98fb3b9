"""One base model in the roles of policy, reference, value function and reward models.

The base is frozen. Adapters `policy` and `value` are trained apart from each other; the reference
is the base with adapters off, so it costs nothing, and it is the model that was tuned before (its
weights merged), not the raw one. Reward models are frozen adapters with heads of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from moli.alignment.learner import Learner, make_learner
from moli.alignment.rollouts.buffer import Rollouts, SampledAnswer, TrainingPrompt
from moli.alignment.rollouts.protocols import Roles, RolloutSource, TokenScores
from moli.alignment.rollouts.sampling import SamplingLimits, sample_answers
from moli.alignment.scoring import can_pack_answers, score_answers_of, value_answers_of
from moli.training import methods
from moli.training.kernels import attention
from moli.training.tasks.base.causal import mark_head
from moli.training.tasks.base.wrapped_models import unwrapped_model

_POLICY, _VALUE = "policy", "value_function"  # as no model names its own layers


class SharedBase(torch.nn.Module):
    """A causal language model with an adapter for the policy and one for the value function.

    Dropout is off all the time: the probabilities of an update have to be those of the rollouts.

    Args:
        base: a causal language model of transformers.
        rank: rank of the adapters.
        base_hash: hash of the base's weights, by which reward models are found to have the same.

    Attributes:
        packed: whether answers are packed end to end, with each prompt once. It is so if a check
            finds that it changes nothing.
    """

    def __init__(
        self,
        base: Any,
        tokenizer: Any,
        limits: SamplingLimits,
        rank: int = 16,
        *,
        base_hash: str = "",
    ) -> None:
        from peft import LoraConfig, get_peft_model

        super().__init__()
        mark_head(base.requires_grad_(False))
        config = LoraConfig(
            task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear"
        )
        self.model: Any = get_peft_model(base, config, adapter_name=_POLICY)
        self.model.add_adapter(_VALUE, config)
        self.model = methods.prepare_for_device(self.model)
        self.value_function_head = torch.nn.Linear(base.config.hidden_size, 1, device=base.device)
        torch.nn.init.zeros_(self.value_function_head.weight)
        torch.nn.init.zeros_(self.value_function_head.bias)
        self.tokenizer, self.limits, self.base_hash = tokenizer, limits, base_hash
        self.eval()
        self._trained = [
            parameter
            for name, parameter in self.named_parameters()
            if "lora_" in name or name.startswith(f"{_VALUE}_head")
        ]
        self.packed = self._use_segments()
        self._unfreeze()

    def roles(self, sample: RolloutSource | None = None) -> Roles:
        """All roles.

        Args:
            sample: another source of rollouts than the model itself.
        """
        return Roles(sample or self.sample, self.policy, self.reference, self.value)

    def learners(self, learning_rate: float) -> dict[str, Learner]:
        """The adapter of the policy, and that of the value function with its head."""
        parts = {"policy": _POLICY, "value": _VALUE}
        return {role: make_learner(self, learning_rate, part=part) for role, part in parts.items()}

    def sample(self, prompts: Sequence[TrainingPrompt], seed: int) -> Sequence[SampledAnswer]:
        """Answers of the policy, whose adapter is merged into the weights meanwhile.

        Raises:
            InputError: a prompt has no tokens, or too many.
        """
        with self._merged(_POLICY):
            return sample_answers(
                unwrapped_model(self.model), self.tokenizer, prompts, self.limits, seed
            )

    def sample_reference(
        self, prompts: Sequence[TrainingPrompt], seed: int
    ) -> Sequence[SampledAnswer]:
        """Answers of the base."""
        with self._adapters_off():
            return sample_answers(
                unwrapped_model(self.model), self.tokenizer, prompts, self.limits, seed
            )

    def policy(self, rollouts: Rollouts) -> TokenScores:
        """Tokens as the policy finds them."""
        with self.adapter(_POLICY):
            return self._score(rollouts)

    def reference(self, rollouts: Rollouts) -> TokenScores:
        """Tokens as the base finds them."""
        with self._adapters_off():
            return self._score(rollouts)

    def value(self, rollouts: Rollouts) -> torch.Tensor:
        """The value of the state before each token."""
        with self.adapter(_VALUE):
            return value_answers_of(
                self.model, self.value_function_head, rollouts, packed=self.packed
            )

    @torch.no_grad()
    def merged_weights(self) -> Mapping[str, torch.Tensor]:
        """Weights of the policy's linear layers with its adapter, named as in the base."""
        return {
            f"{name}.weight": layer.base_layer.weight + layer.get_delta_weight(_POLICY)
            for name, layer in self._adapted_layers()
        }

    def add_frozen_adapter(self, name: str, folder: Path) -> bool:
        """Add the LoRA adapter in a folder, which is not trained any more.

        Returns:
            Whether it fits: it is of LoRA's kind, and all of its layers are in this base.
        """
        from peft import PeftConfig, set_peft_model_state_dict
        from safetensors.torch import load_file

        config: Any = PeftConfig.from_pretrained(str(folder))
        if config.peft_type != "LORA":
            return False
        config.modules_to_save = config.exclude_modules = None
        config.inference_mode = True
        saved = load_file(folder / "adapter_model.safetensors")
        weights = {key: value for key, value in saved.items() if "lora_" in key}
        self.model.add_adapter(name, config)
        result: Any = set_peft_model_state_dict(self.model, weights, adapter_name=name)
        missing = [key for key in result.missing_keys if f".{name}." in key]
        if result.unexpected_keys or missing:
            self.model.delete_adapter(name)
            return False
        self.eval()
        return True

    @contextmanager
    def adapter(self, name: str) -> Iterator[None]:
        """One adapter is on inside."""
        self.model.set_adapter(name, inference_mode=True)
        self._unfreeze()
        yield

    def save_policy(self, folder: Path, base: str) -> None:
        """Write the adapter of the policy to a folder, in PEFT's layout.

        Args:
            base: reference of the base, which the adapter's configuration names.
        """
        self.model.peft_config[_POLICY].base_model_name_or_path = base
        self.model.save_pretrained(folder, selected_adapters=[_POLICY], save_embedding_layers=False)
        for file in (folder / _POLICY).iterdir():  # PEFT puts a named adapter into a subfolder
            file.rename(folder / file.name)
        (folder / _POLICY).rmdir()
        (folder / "README.md").unlink(missing_ok=True)  # an empty card

    def _score(self, rollouts: Rollouts) -> TokenScores:
        """Log probabilities and entropies of answers' tokens at the temperature of sampling."""
        return score_answers_of(self.model, rollouts, self.limits.temperature, packed=self.packed)

    def _use_segments(self) -> bool:
        """Have attention computed by segments, if the packing check allows it."""
        inner = unwrapped_model(self.model)
        before = inner.config._attn_implementation
        attention.register()
        try:
            inner.set_attn_implementation(attention.NAME)
        except ValueError:  # this model's attention is its own
            return False
        if can_pack_answers(self.model):
            return True
        inner.set_attn_implementation(before)
        return False

    def _adapted_layers(self) -> Iterator[tuple[str, Any]]:
        """The layers with adapters, by their names in the base."""
        from peft.tuners.lora import Linear

        for name, module in unwrapped_model(self.model).named_modules():
            if isinstance(module, Linear):
                yield name, module

    @contextmanager
    def _merged(self, name: str) -> Iterator[None]:
        """An adapter is merged into the weights inside.

        The base's own tensors are put aside and back, never changed, so that nothing can drift.
        """
        layers = [layer for _, layer in self._adapted_layers()]
        originals = [layer.base_layer.weight.data for layer in layers]
        try:
            with torch.no_grad():
                for layer in layers:
                    weight = layer.base_layer.weight
                    weight.data = weight.data + layer.get_delta_weight(name)
            with self._adapters_off():
                yield
        finally:
            for layer, original in zip(layers, originals, strict=True):
                layer.base_layer.weight.data = original

    @contextmanager
    def _adapters_off(self) -> Iterator[None]:
        """The base alone inside."""
        with self.model.disable_adapter():
            yield
        self._unfreeze()

    def _unfreeze(self) -> None:
        """Let all trained weights have gradients: PEFT freezes adapters that are not active, and a
        backward pass would leave out those of a pass before."""
        for parameter in self._trained:
            parameter.requires_grad_(True)
