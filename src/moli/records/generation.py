"""Requests to a language model's engine, and the answers it streams or returns."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

# "refused" says that the request is why there is no answer, "failed" that the model is.
FinishReason = Literal["stop", "length", "cancelled", "failed", "refused"]


@dataclass(frozen=True, slots=True)
class OutputConstraint:
    """A format that every answer has to follow, as exactly one of these.

    Attributes:
        schema: a JSON schema, as JSON.
        regex: a regular expression.
        lark: a grammar in llguidance's dialect of Lark.
        where: field of the request that the constraint comes from, for errors.
    """

    schema: str = ""
    regex: str = ""
    lark: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Parameters of sampling: how the next token is chosen, and when an answer ends.

    The order is that of transformers: penalties, temperature, top-k, top-p, min-p.

    Attributes:
        max_tokens: maximum number of generated tokens; 0 only reads the prompt.
        temperature: 0 takes the likeliest token (greedy), and then top-k and so on do nothing.
        top_k: keep only this many of the likeliest tokens; 0 keeps all.
        top_p: keep only the likeliest that together have this probability (Holtzman et al. 2020).
        min_p: keep only tokens with at least this share of the likeliest one's probability.
        repetition_penalty: divides the logits of tokens that occurred before (Keskar et al. 2019).
        presence_penalty, frequency_penalty: subtracted from the logits of generated tokens, once
            or for each occurrence.
        stop: stop sequences, which end the answer and are not part of it.
        seed: the same seed, prompt and loaded model give the same answer: always in float32 on
            a CPU with AVX-512, and as long as the logits are the same elsewhere. In bfloat16, on
            a GPU and in llama.cpp their last bits may differ with what else is in the batch.
        logit_bias: token ids with what is added to their logits.
        logprobs: number of alternatives to report with each token's own; None to report neither.
        processed_logprobs: whether to report them for the distribution that tokens are drawn from,
            so after penalties, temperature and cuts; otherwise before them.
        prompt_logprobs: whether to report them for the tokens of the prompt as well.
        ignore_eos: do not end the answer at the model's own stop tokens.
        constraint: the format that the answer has to follow; None for free text.
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
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None
    processed_logprobs: bool = False
    prompt_logprobs: bool = False
    ignore_eos: bool = False
    constraint: OutputConstraint | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt to continue.

    Attributes:
        ids: the prompt's token ids.
        adapter: the name of a loaded adapter; "" for the base model alone.
        cache_namespace: cached prompts are reused only among requests with the same namespace.
    """

    ids: Sequence[int]
    sampling: Sampling
    adapter: str = ""
    cache_namespace: Hashable = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The natural logarithm of a token's probability, by default before temperature and cuts."""

    id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token of a text with its log probability, and the likeliest tokens in its position.

    Attributes:
        logprob: None for the first token of a prompt, which nothing predicts.
    """

    id: int
    logprob: float | None
    alternatives: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """The part of an answer that one step of generation added.

    Attributes:
        text: new text that is final; a possible beginning of a stop sequence is held back.
        ids: the tokens of this step, including the one that ends the answer.
        logprobs: log probabilities of `ids`; empty if none were requested.
        alternatives: for each of `ids` the likeliest tokens; empty if none were requested.
        reason: why the answer ends here, or "" if it continues.
        prompt: the next tokens of the prompt with their log probabilities, from the second on;
            empty if they were not requested.
    """

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...] = ()
    alternatives: tuple[tuple[TokenLogprob, ...], ...] = ()
    reason: FinishReason | Literal[""] = ""
    prompt: tuple[ScoredToken, ...] = ()


DeltaCallback = Callable[[Delta], None]


@dataclass(frozen=True, slots=True)
class Completion:
    """A complete answer, with the fields of all its deltas joined.

    Attributes:
        cached_tokens: number of prompt tokens whose keys and values were reused from the cache.
    """

    text: str
    ids: tuple[int, ...]
    reason: FinishReason
    prompt_tokens: int
    cached_tokens: int = 0
    logprobs: tuple[float, ...] = ()
    alternatives: tuple[tuple[TokenLogprob, ...], ...] = ()
