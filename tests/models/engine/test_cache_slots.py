"""Whatever rows come and go, each slot holds what its row has read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moli.models.engine.cache_slots import CacheSlots
from moli.models.engine.kv_cache import TorchKVCache

MAX_NUM_SEQS, PREFIX_SLOTS, LENGTH = 3, 2, 12
Step = tuple[str, int, list[int], int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "release", "forget"]),
        st.integers(0, MAX_NUM_SEQS - 1),
        st.lists(st.integers(1, 2), min_size=1, max_size=LENGTH),
        st.integers(0, 1),
    ),
    max_size=40,
)


def fill(cache: TorchKVCache, slot: int, ids: Any) -> None:
    """Write keys and values: a token's key is its id, its value twice that."""
    row = torch.tensor(ids, dtype=torch.float32)
    keys, values = cache.layer(0, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
    keys[slot, 0, : len(ids), 0], values[slot, 0, : len(ids), 0] = row, 2 * row


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(steps)
def test_a_slot_holds_what_its_row_has_read(plan: list[Step]) -> None:
    cache = TorchKVCache(MAX_NUM_SEQS + PREFIX_SLOTS, LENGTH)
    slots = CacheSlots(cache)
    fill(cache, 0, [])
    rows: list[tuple[int, list[int]]] = []  # namespace and tokens, by slot
    read: set[tuple[int, tuple[int, ...]]] = set()
    for kind, number, ids, namespace in plan:
        if kind == "take" and len(rows) < MAX_NUM_SEQS:
            allocation = slots.allocate(namespace, np.array(ids, np.int32))
            slot, shared = allocation.slot, allocation.cached_tokens
            assert slot == len(rows) and shared < len(ids)
            # Nothing is shared that no row of this namespace has read.
            assert not shared or any(
                s == namespace and list(t[:shared]) == ids[:shared] for s, t in read
            )
            rows.append((namespace, ids))
            keys = cache.layer(0, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))[0]
            assert keys[slot, 0, :shared, 0].tolist() == ids[:shared]
            fill(cache, slot, ids)
            slots.record_tokens(slot, np.array(ids, np.int32))
            read.add((namespace, tuple(ids)))
        elif kind == "release" and number < len(rows):
            last = slots.free(number)
            rows[number] = rows[last]
            rows.pop()
        elif kind == "forget":
            slots.forget_prefixes()
            read = {(s, tuple(t)) for s, t in rows}
        keys, values = cache.layer(0, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
        for slot, (_, tokens) in enumerate(rows):
            assert keys[slot, 0, : len(tokens), 0].tolist() == tokens
            assert values[slot, 0, : len(tokens), 0].tolist() == [2 * each for each in tokens]
    assert slots.in_use == len(rows)


def test_what_was_read_last_is_kept_longest() -> None:
    slots = CacheSlots(TorchKVCache(2, LENGTH))

    def shared_by(*ids: int) -> int:
        allocation = slots.allocate("space", np.array(ids, np.int32))
        slot, shared = allocation.slot, allocation.cached_tokens
        slots.record_tokens(slot, np.array(ids, np.int32))
        slots.free(slot)
        return shared

    assert [shared_by(1, 1, 1), shared_by(2, 2, 2), shared_by(3, 3, 3)] == [0, 0, 0]
    assert shared_by(3, 3, 4) == 2
    assert shared_by(2, 2, 4) == 2
    assert shared_by(1, 1, 4) == 0
