"""A policy that is a table, over so few answers that every mean can be taken over all of them.

Token 0 ends an answer. An answer has at most `length` tokens, of which the last need not be 0. What
may be drawn next depends on the prompt and on all tokens so far.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import torch

from moli.alignment.policy_losses import token_entropy
from moli.alignment.rollouts.buffer import (
    Rollouts,
    SampledAnswer,
    TrainingPrompt,
    make_rollouts,
)
from moli.alignment.rollouts.protocols import TokenScores


class Space:
    """All answers to each of some prompts, and the states before their tokens."""

    def __init__(self, vocabulary: int = 4, length: int = 3, prompts: int = 1) -> None:
        self.vocabulary, self.length = vocabulary, length
        self.prompts = [TrainingPrompt((number,)) for number in range(prompts)]
        prefixes = [
            prefix
            for size in range(length)
            for prefix in itertools.product(range(1, vocabulary), repeat=size)
        ]
        self.states = {prefix: number for number, prefix in enumerate(prefixes)}
        ended = [(*prefix, 0) for prefix in prefixes]
        cut_off = list(itertools.product(range(1, vocabulary), repeat=length))
        self.answers = ended + cut_off
        self._paths = {
            answer: [self.states[answer[:position]] for position in range(len(answer))]
            + [0] * (length - len(answer))
            for answer in [*self.answers, ()]
        }

    def rollouts(self, prompt: TrainingPrompt) -> Rollouts:
        """Every answer to a prompt once."""
        answers = [self.answer(ids, (0.0,) * len(ids)) for ids in self.answers]
        return make_rollouts([prompt] * len(answers), answers)

    def answer(self, ids: tuple[int, ...], logprobs: tuple[float, ...]) -> SampledAnswer:
        return SampledAnswer(ids, logprobs, " ".join(map(str, ids)), ended=ids[-1] == 0)

    def state_indices(self, rollouts: Rollouts) -> tuple[torch.Tensor, torch.Tensor]:
        """Number of the prompt, [B], and of the state before each token, [B, T]."""
        states = torch.tensor([self._paths[answer.ids] for answer in rollouts.answers])
        prompts = torch.tensor([prompt.ids[0] for prompt in rollouts.prompts])
        return prompts, states[:, : rollouts.ids.shape[1]]


class TablePolicy(torch.nn.Module):
    """Logits of each next token by prompt and state, at a temperature of 1."""

    def __init__(self, space: Space, seed: int = 0, spread: float = 0.7) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        shape = (len(space.prompts), len(space.states), space.vocabulary)
        self.space = space
        self.logits = torch.nn.Parameter(spread * torch.randn(*shape, generator=draw))

    def forward(self, rollouts: Rollouts) -> TokenScores:
        prompts, states = self.space.state_indices(rollouts)
        logits = self.logits[prompts[:, None], states]
        logprobs = torch.log_softmax(logits, -1).gather(2, rollouts.ids[..., None])[..., 0]
        return TokenScores(logprobs, token_entropy(logits))

    @torch.no_grad()
    def sample(self, prompts: Sequence[TrainingPrompt], seed: int) -> list[SampledAnswer]:
        draw = torch.Generator().manual_seed(seed)
        logprobs = torch.log_softmax(self.logits, -1)
        chances, known = logprobs.exp().numpy().cumsum(-1), logprobs.tolist()
        draws = torch.rand(self.space.length, len(prompts), generator=draw).tolist()
        ids: list[tuple[int, ...]] = [()] * len(prompts)
        sampled: list[tuple[float, ...]] = [()] * len(prompts)
        for position in range(self.space.length):
            for row, prompt in enumerate(prompts):
                if ids[row][-1:] == (0,):
                    continue
                state = self.space.states[ids[row]]
                below = chances[prompt.ids[0], state, :-1]  # of the last token it is 1
                token = int(below.searchsorted(draws[position][row], "right"))
                ids[row] += (token,)
                sampled[row] += (known[prompt.ids[0]][state][token],)
        return [self.space.answer(*each) for each in zip(ids, sampled, strict=True)]

    @torch.no_grad()
    def answer_logprobs(self, prompt: TrainingPrompt) -> torch.Tensor:
        """Log probability of every answer to a prompt, [answers] in float64."""
        rollouts = self.space.rollouts(prompt)
        exact = copy.deepcopy(self).double()
        return torch.where(rollouts.mask, exact(rollouts).logprobs, 0).sum(1)


class TableValues(torch.nn.Module):
    """The value of each state, 0 at first."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space
        self.values = torch.nn.Parameter(torch.zeros(len(space.prompts), len(space.states)))

    def forward(self, rollouts: Rollouts) -> torch.Tensor:
        prompts, states = self.space.state_indices(rollouts)
        return self.values[prompts[:, None], states]


class TableReward:
    """A normally distributed reward for every answer to every prompt."""

    def __init__(self, space: Space, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(100 + seed)
        shape = (len(space.prompts), len(space.answers))
        self.table = torch.randn(*shape, generator=draw, dtype=torch.float64)
        self._index = {ids: number for number, ids in enumerate(space.answers)}

    def __call__(
        self, prompts: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer]
    ) -> list[float]:
        pairs = zip(prompts, answers, strict=True)
        return [float(self.table[p.ids[0], self._index[a.ids]]) for p, a in pairs]


def objective(
    policy: TablePolicy, reference: TablePolicy, reward: TableReward, beta: float
) -> float:
    """E[r] - beta KL(policy || reference) by enumeration, a mean over prompts."""
    values = []
    for number, prompt in enumerate(policy.space.prompts):
        own, old = policy.answer_logprobs(prompt), reference.answer_logprobs(prompt)
        values.append((own.exp() * (reward.table[number] - beta * (own - old))).sum())
    return float(torch.stack(values).mean())


def optimum(reference: TablePolicy, reward: TableReward, beta: float) -> float:
    """The largest objective there is, beta log E_reference[exp(r / beta)], a mean over prompts."""
    values = [
        beta * torch.logsumexp(reference.answer_logprobs(prompt) + reward.table[number] / beta, 0)
        for number, prompt in enumerate(reference.space.prompts)
    ]
    return float(torch.stack(values).mean())
