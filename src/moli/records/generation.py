"""What a language model's engine is asked for, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

Reason = Literal["stop", "length", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class Form:
    """What an answer must look like, said in one of three ways.

    Attributes:
        schema: a JSON schema, as JSON.
        regex: a regular expression.
        lark: a grammar in llguidance's dialect of Lark.
    """

    schema: str = ""
    regex: str = ""
    lark: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    The order is that of transformers: penalties, temperature, top-k, top-p, min-p.

    Attributes:
        max_tokens: how many are written at most.
        temperature: 0 takes the likeliest token (greedy), and then top-k and so on do nothing.
        top_k: only this many of the likeliest; 0 for all.
        top_p: only the likeliest that together have this probability (Holtzman et al. 2020).
        min_p: only those with at least this share of the likeliest's probability.
        repetition_penalty: divides the scores of what has occurred before (Keskar et al. 2019).
        presence_penalty, frequency_penalty: subtracted for what was written, once or each time.
        stop: texts that end the answer, and are not part of it.
        seed: the same seed, prompt and model give the same answer, whatever else is in the batch.
        logprobs: how many alternatives to report beside each token's own; None for none at all.
        ends: whether the model's own stop tokens end the answer.
        form: what the answer must look like.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: int | None = None
    ends: bool = True
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be continued, and how.

    Attributes:
        adapter: the name of one that was added; "" for the base alone.
        space: rows of other spaces never share what they have read with this one.
    """

    ids: Sequence[int]
    sampling: Sampling
    adapter: str = ""
    space: Hashable = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The natural logarithm of a token's probability, before temperature and cuts."""

    id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step added to an answer.

    Attributes:
        text: what is certain now; what may be the beginning of a stop text is held back.
        ids: the tokens of this step; the one that ends an answer is among them.
        logprobs: of `ids`, where they were asked for.
        alternatives: for each of `ids` the likeliest tokens, where they were asked for.
        reason: why the answer ends here, or "" while it goes on.
    """

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...] = ()
    alternatives: tuple[tuple[TokenLogprob, ...], ...] = ()
    reason: Reason | Literal[""] = ""


Hear = Callable[[Delta], None]


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer.

    Attributes:
        cached: tokens of the prompt that had been read before, for another answer.
    """

    text: str
    ids: tuple[int, ...]
    reason: Reason
    prompt_tokens: int
    cached: int = 0
    logprobs: tuple[float, ...] = ()
    alternatives: tuple[tuple[TokenLogprob, ...], ...] = ()
