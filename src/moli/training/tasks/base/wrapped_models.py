"""PEFT models: the transformers model inside, the part below its head, and the one to call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def unwrapped_model(model: torch.nn.Module) -> Any:
    """The transformers model itself, without PEFT's wrapper around it."""
    inner: Any = model
    return inner.get_base_model() if hasattr(inner, "peft_config") else inner


def model_without_head(model: torch.nn.Module) -> Any:
    """The transformer below a model's head, with whatever adapters are in it."""
    return unwrapped_model(model).base_model


def model_to_call(model: torch.nn.Module) -> torch.nn.Module:
    """The model to call on padded rows: PEFT's wrapper only if it puts virtual tokens before them.

    Otherwise it is the unwrapped model: the wrappers drop arguments, such as token types for
    question answering.
    """
    configs = getattr(model, "peft_config", {}).values()
    has_virtual_tokens = any(config.is_prompt_learning for config in configs)
    return model if has_virtual_tokens else unwrapped_model(model)


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Compute without dropout and without gradients."""
    was_training = model.training
    model.eval()
    # A sharded model keeps the buffers of its first pass. Training must be able to write into them.
    is_sharded = torch.distributed.is_available() and torch.distributed.is_initialized()
    try:
        with torch.no_grad() if is_sharded else torch.inference_mode():
            yield
    finally:
        model.train(was_training)
