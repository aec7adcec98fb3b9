"""One base model in the roles of policy, reference and value function.

The base is frozen. Adapters `policy` and `value` are trained apart from each other; the reference
is the base with adapters off, so it costs nothing, and it is the model that was tuned before (its
weights merged), not the raw one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from moli.alignment.learner import Learner, make_learner
from moli.alignment.policy_losses import token_entropy
from moli.alignment.rollouts.buffer import Rollouts, SampledAnswer, TrainingPrompt
from moli.alignment.rollouts.protocols import Roles, TokenScores
from moli.alignment.rollouts.sampling import SamplingLimits, sample_answers
from moli.training.batching.batches import collate
from moli.training.tasks.base.wrapped_models import model_without_head, unwrapped_model

_POLICY, _VALUE = "policy", "value"


class SharedBase(torch.nn.Module):
    """A causal language model with an adapter for the policy and one for the value function.

    Dropout is off all the time: the probabilities of an update have to be those of the rollouts.

    Args:
        base: a causal language model of transformers, whose head alone makes the logits.
        rank: rank of the adapters.
    """

    def __init__(self, base: Any, tokenizer: Any, limits: SamplingLimits, rank: int = 16) -> None:
        from peft import LoraConfig, get_peft_model

        super().__init__()
        config = LoraConfig(
            task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear"
        )
        self.model: Any = get_peft_model(base, config, adapter_name=_POLICY)
        self.model.add_adapter(_VALUE, config)
        self.value_head = torch.nn.Linear(base.config.hidden_size, 1, device=base.device)
        torch.nn.init.zeros_(self.value_head.weight)
        torch.nn.init.zeros_(self.value_head.bias)
        self.tokenizer, self.limits = tokenizer, limits
        self.eval()
        self._trained = [
            parameter
            for name, parameter in self.named_parameters()
            if "lora_" in name or name.startswith("value_head")
        ]
        self._unfreeze()

    def roles(self) -> Roles:
        """All roles."""
        return Roles(self.sample, self.policy, self.reference, self.value)

    def learners(self, learning_rate: float) -> dict[str, Learner]:
        """The adapter of the policy, and that of the value function with its head."""
        return {role: make_learner(self, learning_rate, part=role) for role in (_POLICY, _VALUE)}

    def sample(self, prompts: Sequence[TrainingPrompt], seed: int) -> Sequence[SampledAnswer]:
        """Answers of the policy."""
        with self._adapter(_POLICY):
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
        with self._adapter(_POLICY):
            return self._score(rollouts)

    def reference(self, rollouts: Rollouts) -> TokenScores:
        """Tokens as the base finds them."""
        with self._adapters_off():
            return self._score(rollouts)

    def value(self, rollouts: Rollouts) -> torch.Tensor:
        """The value of the state before each token."""
        with self._adapter(_VALUE):
            states = self._states(rollouts)
        values = self.value_head(states.to(self.value_head.weight.dtype))[:, 0]
        return _in_rows(values.float(), rollouts)

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
        head = unwrapped_model(self.model).get_output_embeddings()
        logits = head(self._states(rollouts)).float() / self.limits.temperature
        ids = torch.cat([torch.tensor(answer.ids) for answer in rollouts.answers]).long()
        logprobs = torch.log_softmax(logits, -1).gather(1, ids.to(logits.device)[:, None])[:, 0]
        return TokenScores(_in_rows(logprobs, rollouts), _in_rows(token_entropy(logits), rollouts))

    def _states(self, rollouts: Rollouts) -> torch.Tensor:
        """States before each token of all answers in a row, [tokens, hidden]."""
        pairs = list(zip(rollouts.prompts, rollouts.answers, strict=True))
        sequences: Any = [(*prompt.ids, *answer.ids) for prompt, answer in pairs]
        batch = collate(sequences, packed=False, device=unwrapped_model(self.model).device)
        output = model_without_head(self.model)(**batch.inputs, use_cache=False)
        before = [
            torch.arange(len(answer.ids)) + int(start) + len(prompt.ids) - 1
            for (prompt, answer), start in zip(pairs, batch.starts, strict=True)
        ]
        states: torch.Tensor = batch.gather(output.last_hidden_state)[torch.cat(before)]
        return states

    @contextmanager
    def _adapter(self, name: str) -> Iterator[None]:
        """One adapter is on inside."""
        self.model.set_adapter(name)
        self._unfreeze()
        yield

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


def _in_rows(values: torch.Tensor, rollouts: Rollouts) -> torch.Tensor:
    """Numbers for all tokens of answers in a row as [B, T], 0 behind the answers."""
    lengths = torch.tensor([len(answer.ids) for answer in rollouts.answers])
    is_token = torch.arange(rollouts.ids.shape[1])[None] < lengths[:, None]
    rows = values.new_zeros(rollouts.ids.shape)
    rows[is_token.to(values.device)] = values
    return rows.cpu()
