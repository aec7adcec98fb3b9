"""Preference tasks: a language model learns which of two answers to a prompt is better.

A loss compares log probabilities of the answers under the model, and in most tasks under the
reference, which is the model before its first step.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from moli.metrics.implicit_rewards import preference_metrics
from moli.models.templates.chat_template import prompt_ids
from moli.records.examples import Conversation, Example, Pair
from moli.records.preferences import Preference
from moli.training.batching.samples import Sample
from moli.training.recipes.recipe import Recipe
from moli.training.recipes.task_table import TASKS
from moli.training.tasks.base.causal import CausalTask, TokenPredictions
from moli.training.tasks.base.chat import conversation_of
from moli.training.tasks.base.shared_prompts import PromptAnswers, SharedPromptTask

_CLEAR_FALL = 0.05  # of a token's log probability, in nats


@dataclass(slots=True)
class PreferenceTarget:
    """The target of a pair of answers.

    Attributes:
        masks: the supervised tokens of the prompt (none) and of each answer.
        reference: log probabilities of both answers under the reference, [2]; None until they have
            been computed, which is so as long as the model is still equal to the reference.
    """

    masks: tuple[NDArray[np.bool_], ...]
    reference: NDArray[np.float64] | None = None

    @property
    def tokens(self) -> list[int]:
        """Number of supervised tokens of each answer."""
        return [int(mask.sum()) for mask in self.masks[1:]]


@dataclass(frozen=True, slots=True)
class PairLogps:
    """Log probabilities of the chosen answers, column 0, and of the rejected ones, column 1.

    Attributes:
        policy: under the model in training, summed over an answer's tokens, [pairs, 2].
        reference: the same under the reference.
        tokens: numbers of tokens, [pairs, 2].
    """

    policy: torch.Tensor
    reference: torch.Tensor
    tokens: torch.Tensor


class PreferenceTask(SharedPromptTask, CausalTask):
    """A task on pairs of a chosen and a rejected answer."""

    example_types: ClassVar[tuple[type[Example], ...]] = (Preference,)
    supervised_unit = "pairs"
    needs_reference = True
    metric = "reward_accuracy"
    selection_metric = "loss"  # which tells more of few held-out pairs than a share of them does
    prediction_formats: ClassVar = {
        "messages": {},
        "alpaca": {"output": "?"},
        "pair": {"target": "?"},
    }
    text_column = "source"

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.options: Any = TASKS[recipe.task].options(**recipe.options)

    @abstractmethod
    def pair_losses(self, pairs: PairLogps) -> torch.Tensor:
        """Loss of each pair: [pairs]."""

    @abstractmethod
    def rewards(self, pairs: PairLogps) -> torch.Tensor:
        """The implicit reward of each answer, [pairs, 2]: the loss raises the better one's."""

    def prepare(self, examples: Sequence[Example]) -> None:
        """Check that the tokenizer and the chat template can write the examples."""
        super().prepare(examples)
        self.check_tokenizer(examples)

    def prompt_answers(self, example: Example) -> PromptAnswers:
        """The prompt with the chosen and the rejected answer."""
        assert isinstance(example, Preference)  # noqa: S101 - no other type is accepted
        return PromptAnswers(example.prompt, (example.chosen, example.rejected), example.tools)

    def target(self, example: Example, masks: tuple[NDArray[np.bool_], ...]) -> PreferenceTarget:  # noqa: ARG002
        """The masks, without a reference so far."""
        return PreferenceTarget(masks)

    def prompt_tokens(self, example: Example) -> list[int]:
        """Tokens of a conversation up to the assistant's last message."""
        if isinstance(example, Conversation | Pair):
            conversation = conversation_of(example)
            return prompt_ids(self.tokenizer, conversation.messages[:-1], conversation.tools)
        answered = self.prompt_answers(example)
        return prompt_ids(self.tokenizer, answered.prompt, answered.tools)

    def supervised_tokens(self, sample: Sample) -> list[NDArray[np.bool_]]:
        """The masks in the sample's target."""
        return list(sample.target.masks)

    def logps(self, outputs: TokenPredictions, samples: Sequence[Sample]) -> torch.Tensor:
        """Log probabilities of both answers, summed over their tokens: [samples, 2]."""
        width = len(samples[0].sequences)  # the prompt has no supervised tokens
        return -self.sequence_losses(outputs, width * len(samples)).view(-1, width)[:, 1:]

    def pairs(self, outputs: TokenPredictions, samples: Sequence[Sample]) -> PairLogps:
        """Log probabilities of the samples' answers under the model and the reference."""
        policy = self.logps(outputs, samples)
        reference = policy.detach().clone()
        for row, sample in enumerate(samples):
            if sample.target.reference is not None:
                reference[row] = torch.as_tensor(sample.target.reference)
        tokens = torch.tensor([each.target.tokens for each in samples], device=policy.device)
        return PairLogps(policy, reference, tokens)

    def losses(self, outputs: TokenPredictions, samples: Sequence[Sample]) -> torch.Tensor:
        """Loss of each pair."""
        return self.pair_losses(self.pairs(outputs, samples))

    def output_checksums(self, outputs: Any, samples: Sequence[Sample]) -> torch.Tensor:
        """Cross-entropy of both answers together."""
        return -self.logps(outputs, samples).sum(1)

    def reference_values(self, outputs: Any, samples: Sequence[Sample]) -> NDArray[np.float64]:
        """Log probabilities of both answers: [samples, 2]."""
        return self.logps(outputs, samples).double().cpu().numpy()

    def set_reference(self, sample: Sample, values: NDArray[np.float64]) -> None:
        """Keep the reference's log probabilities with a sample."""
        sample.target.reference = values

    def decode(self, outputs: TokenPredictions, samples: Sequence[Sample]) -> list[Any]:
        """For each sample an array [4, 2]: rewards, log probabilities, the reference's, tokens."""
        pairs = self.pairs(outputs, samples)
        parts = (self.rewards(pairs), pairs.policy, pairs.reference, pairs.tokens)
        return list(torch.stack([each.double() for each in parts], 1).cpu().numpy())

    def aggregate(self, answers: Sequence[Any], example: Any) -> Any:  # noqa: ARG002
        """The answer for an example's only sample."""
        return answers[0]

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:  # noqa: ARG002
        """Accuracy of the implicit rewards with its interval, their margin, and the drift."""
        rewards, policy, reference, tokens = np.stack(answers, 1)
        return preference_metrics(
            rewards, policy, tokens, reference if self.needs_reference else None
        )

    def outcome_notes(
        self, metrics: Mapping[str, float], base_metrics: Mapping[str, float]
    ) -> list[str]:
        """A warning if the better answers have become less likely as well."""
        change = metrics.get("chosen_logp", 0.0) - base_metrics.get("chosen_logp", 0.0)
        if change >= -_CLEAR_FALL:
            return []
        note = (
            f"the chosen answers became less likely too, by {-change:.2f} nats a token: look at "
            "some answers. A larger beta or a lower learning_rate keeps them closer, or tune on "
            "them first with task: instruction."
        )
        return [note]

    def to_row(self, answer: Any) -> dict[str, Any]:
        """The margin of a pair's rewards, and its log probabilities."""
        rewards, policy, *_ = answer
        return {
            "reward_margin": float(rewards[0] - rewards[1]),
            "chosen_logp": float(policy[0]),
            "rejected_logp": float(policy[1]),
        }
