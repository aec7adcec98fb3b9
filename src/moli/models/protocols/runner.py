"""Model runners: language models that run one pass over the new tokens of many sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from moli.models.protocols.kv_cache import KVCache
from moli.models.weights.lora import LoraAdapter


@dataclass(frozen=True, slots=True)
class ScheduledChunk:
    """New tokens of one sequence in a pass.

    Attributes:
        cache_slot: the sequence's slot in the KV cache.
        start: position of the first of these tokens; the cache has all tokens before it.
        adapter_slot: the slot of the sequence's adapter, -1 for none.
        num_logits: for how many of the last tokens to predict the next one.
    """

    token_ids: Sequence[int]
    cache_slot: int
    start: int
    adapter_slot: int
    num_logits: int


class ModelRunner(Protocol):
    """A language model that reads and continues many sequences in one pass."""

    @property
    def adapter_slots(self) -> int:
        """Maximum number of different adapters in a pass."""

    @property
    def dtype(self) -> torch.dtype:
        """The type that the weights of adapters must have."""

    @property
    def kv_bytes_per_token(self) -> int:
        """Memory of a token's keys and values in all layers."""

    @property
    def stop_token_ids(self) -> frozenset[int]:
        """Tokens that end an answer, according to the model's own settings."""

    def free_memory(self) -> int:
        """Bytes still available on the model's device."""

    def make_cache(self, max_slots: int, max_model_len: int, max_tokens: int | None) -> KVCache:
        """Make an empty KV cache for the model; the arguments are those of `KVCache`.

        Raises:
            ModelError: there is not enough memory.
        """

    def run(self, chunks: Sequence[ScheduledChunk], cache: Any) -> torch.Tensor:
        """Run one pass.

        Args:
            chunks: the new tokens; chunks of a single token come first.
            cache: a cache made by this runner's `make_cache`.

        Returns:
            Next-token logits [all `num_logits`, vocabulary] in float32, in order of `chunks`.

        Raises:
            ModelError: the pass failed.
        """

    def check_adapter(self, adapter: LoraAdapter) -> None:
        """Check that an adapter fits this model.

        Raises:
            ModelError: it does not fit, or the model takes no adapters.
        """

    def load_adapter(self, adapter_slot: int, adapter: LoraAdapter) -> None:
        """Copy an adapter's weights into a slot."""

    def update_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Replace weights, named as in the model's state dict as transformers saves it.

        Raises:
            ModelError: they do not fit the model, or its weights cannot be replaced.
        """
