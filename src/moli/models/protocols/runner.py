"""What the engine asks of a language model: passes over many rows, and a cache for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from moli.models.protocols.kv_cache import Growing
from moli.models.weights.lora import Adapter


@dataclass(frozen=True, slots=True)
class Span:
    """New tokens of one row in a pass.

    Attributes:
        slot: the row's slot in the cache.
        start: how many of the row's tokens come before these; the cache has them.
        lane: the lane of the row's adapter, -1 for none.
        asked: whether to predict what follows the last of them.
    """

    ids: Sequence[int]
    slot: int
    start: int
    lane: int
    asked: bool


class ModelRunner(Protocol):
    """A language model that reads and continues many rows in one pass."""

    @property
    def lanes(self) -> int:
        """Adapters that the rows of a pass may have between them."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of its adapters."""

    @property
    def kv_bytes_per_token(self) -> int:
        """Memory of a token's keys and values in all layers."""

    @property
    def stop_token_ids(self) -> frozenset[int]:
        """Tokens that end an answer, according to the model's own settings."""

    def free_memory(self) -> int:
        """Bytes still available where it runs."""

    def cache(self, slots: int, most: int, room: int | None) -> Growing:
        """A cache for its rows; see `Growing` for the arguments.

        Raises:
            ModelError: there is no memory for it.
        """

    def run(self, spans: Sequence[Span], cache: Any) -> torch.Tensor:
        """One pass: logits [asked, V] in float32 for the spans that ask, in their order.

        Args:
            spans: those of a single token first.
            cache: one that this model made.

        Raises:
            ModelError: it failed.
        """

    def check(self, adapter: Adapter) -> None:
        """Check that an adapter fits this model.

        Raises:
            ModelError: it does not, or the model takes none.
        """

    def write(self, lane: int, adapter: Adapter) -> None:
        """Put an adapter into a lane."""

    def update_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take other weights, by their names in the model's state as transformers saves it.

        Raises:
            ModelError: they are not this model's, or it takes none.
        """
