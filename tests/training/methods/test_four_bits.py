"""Modules of a base that are put into 4 bits, by the rule of transformers and the names for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from moli.training import methods


def model_of(kind: str) -> Any:
    import transformers

    config = getattr(transformers, f"{kind.partition('For')[0]}Config")()
    with torch.device("meta"):
        return getattr(transformers, kind)(config)


@pytest.mark.parametrize(
    "kind",
    [
        "BertForSequenceClassification",
        "BertForQuestionAnswering",
        "RobertaForSequenceClassification",
        "DistilBertForSequenceClassification",
        "DebertaV2ForSequenceClassification",
        "ViTForImageClassification",
        "LlamaForSequenceClassification",
        "LlamaForCausalLM",
        "GPTNeoXForCausalLM",
        "T5ForConditionalGeneration",
    ],
)
def test_blocks_are_put_into_four_bits_and_heads_are_not(kind: str) -> None:
    from transformers.quantizers.quantizers_utils import should_convert_module

    model = model_of(kind)
    layers = [name for name, each in model.named_modules() if isinstance(each, torch.nn.Linear)]
    narrowed = {
        each for each in layers if should_convert_module(each, list(methods.UNQUANTIZED_MODULES))
    }
    # Blocks are numbered, heads are not.
    inside = {each for each in layers if any(part.isdigit() for part in each.split("."))}
    assert narrowed == inside
