"""Sequences: requests that the engine answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from moli.models.engine.detokenizer import Detokenizer
from moli.models.engine.grammar import GrammarMatcher
from moli.records.generation import Delta, DeltaCallback, FinishReason, Request


@dataclass(slots=True, eq=False)
class Sequence:
    """A request that waits or is being answered, with all tokens so far.

    Attributes:
        token_ids: the prompt, then the generated tokens, with room for all that may follow.
        length: number of tokens so far.
        generator: draws the next tokens; None to take the likeliest.
        matcher: restricts the next tokens; None for free text.
        computed_tokens: how many of the tokens have keys and values in the cache, or will have
            them after the next pass.
        cache_slot: slot in the KV cache; -1 while the sequence waits.
        adapter_slot: slot of the adapter; -1 for none.
        cached_tokens: prompt tokens that were in the cache from an earlier sequence.
        reason: why the answer ended; None while it is in progress.
    """

    request: Request
    on_delta: DeltaCallback
    token_ids: NDArray[np.int32]
    length: int
    detokenizer: Detokenizer
    generator: torch.Generator | None
    matcher: GrammarMatcher | None
    computed_tokens: int = 0
    cache_slot: int = -1
    adapter_slot: int = -1
    cached_tokens: int = 0
    reason: FinishReason | None = None
    is_cancelled: bool = False

    @property
    def prompt_tokens(self) -> int:
        """Number of tokens of the prompt."""
        return len(self.request.ids)

    @property
    def max_length(self) -> int:
        """Maximum number of tokens, prompt and answer."""
        return len(self.token_ids)

    def cancel(self) -> None:
        """Stop; the slot is free within one step. May be called from any thread."""
        self.is_cancelled = True

    def append(self, token_id: int) -> None:
        """Add a generated token."""
        self.token_ids[self.length] = token_id
        self.length += 1

    def finish(self, reason: FinishReason) -> None:
        """End the answer without another token, and report it."""
        self.reason = reason
        self.on_delta(Delta(self.detokenizer.finish(), (), reason=reason))
