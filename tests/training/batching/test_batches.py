"""Sequences that continue others, end to end and as padded rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from moli.training.batching.batches import collate

# Two prompts with two answers each, and a text by itself.
SEQUENCES = [
    np.array(ids, np.int32)
    for ids in ([1, 2, 3], [4, 5], [6], [7, 8], [9], [10, 11], [12, 13, 14, 15])
]
CONTINUES = [-1, 0, 0, -1, -1, 4, 4]
TEXTS = [[1, 2, 3, 4, 5], [1, 2, 3, 6], [7, 8], [9, 10, 11], [9, 12, 13, 14, 15]]


def test_end_to_end_what_is_continued_is_there_once() -> None:
    batch = collate(SEQUENCES, packed=True, continues=CONTINUES, first_position=2)
    assert batch.inputs["input_ids"].tolist() == [list(range(1, 16))]
    positions = batch.inputs["position_ids"][0] - 2
    assert positions.tolist() == [0, 1, 2, 3, 4, 3, 0, 1, 0, 1, 2, 1, 2, 3, 4]
    ids, keys = batch.inputs["input_ids"][0], batch.inputs["key_indices"]
    borders = batch.inputs["cu_seq_lens_k"].tolist()
    seen = [ids[keys[a:b]].tolist() for a, b in pairwise(borders)]
    assert seen == [[1, 2, 3], TEXTS[0], TEXTS[1], [7, 8], [9], TEXTS[3], TEXTS[4]]
    assert (batch.inputs["max_length_q"], batch.inputs["max_length_k"]) == (4, 5)


def test_as_rows_each_text_is_whole() -> None:
    batch = collate(SEQUENCES, packed=False, continues=CONTINUES, padding_id=99)
    rows = batch.inputs["input_ids"].tolist()
    assert rows == [text + [99] * (5 - len(text)) for text in TEXTS]
    assert batch.inputs["attention_mask"].sum(1).tolist() == list(map(len, TEXTS))


def test_tokens_are_gathered_alike_both_ways() -> None:
    for packed in (True, False):
        batch = collate(SEQUENCES, packed=packed, continues=CONTINUES)
        states = batch.inputs["input_ids"][..., None].float()
        gathered = batch.gather(states)[:, 0].int()
        assert gathered.tolist() == list(range(1, 16))
        before = gathered[batch.previous].tolist()
        assert before == [1, 1, 2, 3, 4, 3, 7, 7, 9, 9, 10, 9, 12, 13, 14]
        assert gathered[batch.starts].tolist() == [1, 4, 6, 7, 9, 10, 12]


def test_without_continued_sequences_no_keys_are_chosen() -> None:
    batch = collate(SEQUENCES, packed=True, continues=[-1] * 7)
    assert "key_indices" not in batch.inputs
    assert torch.equal(batch.inputs["cu_seq_lens_q"], torch.tensor([0, 3, 5, 6, 8, 9, 11, 15]))
