"""The memory that keys and values take."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from moli.models.engine.kv_cache import TorchKVCache

HEADS, WIDTH, LENGTH, SLOTS = 4, 64, 8192, 24
ONE_TOKEN = torch.ones(1, HEADS, 1, WIDTH)


def own_memory() -> int:
    """Bytes of this process in main memory that are no file's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    sizes = dict(line.split(":") for line in lines if line.startswith("Rss"))
    return 1024 * sum(int(sizes[name].split()[0]) for name in ("RssAnon", "RssShmem"))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process's memory")
def test_only_the_tokens_in_the_cache_cost_memory() -> None:
    cache = TorchKVCache(SLOTS, LENGTH)
    before = own_memory()
    cache.layer(0, ONE_TOKEN, ONE_TOKEN)
    cache.reserve(LENGTH)  # an answer may become this long
    for tensor in cache.layer(0, ONE_TOKEN, ONE_TOKEN):
        tensor[:, :, :1] = ONE_TOKEN
    assert cache.slot_length == LENGTH
    # What 256 tokens of each slot take, though the cache has room for 32 times as many.
    assert own_memory() - before < 1.5 * 2 * SLOTS * 256 * HEADS * WIDTH * 4 < cache.bytes / 20


def test_what_is_not_written_yet_is_zero_and_what_is_stays_when_slots_grow() -> None:
    cache = TorchKVCache(2, 1024)
    keys, _ = cache.layer(0, ONE_TOKEN, ONE_TOKEN)
    keys[1, :, 7] = 3.0
    cache.reserve(1000)
    longer, values = cache.layer(0, ONE_TOKEN, ONE_TOKEN)
    assert longer.shape == (2, HEADS, 1024, WIDTH)
    assert longer[1, :, 7].eq(3.0).all()
    assert longer.sum() == 3.0 * HEADS * WIDTH
    assert not values.any()
