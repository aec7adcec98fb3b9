"""Which weights are trained: all of them, or a small adapter of one of PEFT's kinds."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from moli.models.weights.json_files import read_json
from moli.records.errors import InputError
from moli.training.kernels.dropout import replace_dropout
from moli.training.kernels.norm import replace_norms
from moli.training.methods.bottleneck import (
    CONFIG,
    add_bottlenecks,
    load_bottlenecks,
    save_bottlenecks,
)
from moli.training.methods.lora import fuse_lora_layers
from moli.training.recipes.recipe import Recipe
from moli.training.recipes.task_table import TASKS

# New heads are trained whole.
_HEADS = ("classifier", "score", "qa_outputs", "head")
# What is left out when a base is put into 4 bits: the layers above its blocks. Some may have no
# weights yet, which cannot be put into 4 bits.
UNQUANTIZED_MODULES = (*_HEADS, "pre_classifier", r".*pooler", "lm_head", "embed_out")
# Methods whose extra tokens or states change what a row is, so rows cannot be laid end to end.
PADDED = ("prefix", "prompt")


def apply_method(model: torch.nn.Module, recipe: Recipe) -> torch.nn.Module:
    """The model with an adapter of the recipe's method, everything else frozen.

    Raises:
        InputError: the method does not work with this model or on this machine.
    """
    method = recipe.method
    if method == "full":
        return model
    if method == "adapter":
        return add_bottlenecks(model, recipe.rank, fully_trained_modules(model))
    from peft import get_peft_model

    try:
        with _quiet():
            adapted: torch.nn.Module = get_peft_model(model, _config(recipe, model))
    except (ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise InputError(
            f"'{method}' does not work with this model ({error})",
            where=recipe.base,
            fix="Use method: lora, or full.",
        ) from error
    return adapted


def prepare_for_device(model: torch.nn.Module) -> torch.nn.Module:
    """The model on the GPU, if there is one, computing the same in less time and memory."""
    replace_norms(model)
    fuse_lora_layers(model)
    if torch.cuda.is_available():
        return model.cuda()
    replace_dropout(model)  # a GPU draws random numbers fast enough
    return model


def require_four_bit_support() -> None:
    """4-bit weights need a GPU and bitsandbytes.

    Raises:
        InputError: one of them is missing.
    """
    import importlib.util

    fix = "Use method: lora, which trains the same weights over a bfloat16 base."
    if not torch.cuda.is_available():
        raise InputError("qlora needs a CUDA GPU, and there is none", where="method", fix=fix)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            "qlora needs bitsandbytes",
            where="method",
            fix="pip install bitsandbytes, or " + fix[0].lower() + fix[1:],
        )


def four_bit_options(dtype: torch.dtype) -> dict[str, Any]:
    """How a base is loaded in 4 bits (Dettmers et al. 2023, section 3)."""
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(UNQUANTIZED_MODULES),
    )
    return {"quantization_config": config, "device_map": {"": 0}}


def mark_new_modules(model: Any, missing: Set[str]) -> None:
    """Note the modules for which a base had no weights, by the names of the parameters missing."""
    new: list[str] = []
    for name, module in model.named_modules():  # what is above comes first
        keys = {f"{name}.{key}" for key, _ in module.named_parameters()}
        inside = any(name.startswith(f"{each}.") for each in new)
        if name and keys and keys <= missing and not inside:
            new.append(name)
    model.new_modules = new


def fully_trained_modules(model: torch.nn.Module) -> list[str]:
    """What is trained whole: the task's head, and all else that began with random weights.

    An adapter that lacked some of them would be put on other random weights when it is loaded.
    """
    named = [name for name, _ in model.named_children() if name in _HEADS]
    new: list[str] = getattr(model, "new_modules", [])
    return named + [each for each in new if each.partition(".")[0] not in named]


def _config(recipe: Recipe, model: torch.nn.Module) -> Any:
    import peft

    kind, whole = TASKS[recipe.task].peft_type, fully_trained_modules(model)
    if recipe.method in PADDED:
        if kind is None:
            raise ValueError("there are no input tokens to put a prompt before")
        maker = peft.PrefixTuningConfig if recipe.method == "prefix" else peft.PromptTuningConfig
        return maker(task_type=kind, num_virtual_tokens=recipe.rank, modules_to_save=whole or None)
    excluded = "|".join(map(re.escape, whole))
    return peft.LoraConfig(
        r=recipe.rank,
        lora_alpha=2 * recipe.rank,
        use_rslora=recipe.method == "rslora",
        use_dora=recipe.method == "dora",
        target_modules="all-linear" if kind else _convolutions_too(model),
        exclude_modules=rf"(.*\.)?({excluded})(\..*)?" if whole else None,
        modules_to_save=whole or None,
        task_type=kind,
    )


def _convolutions_too(model: torch.nn.Module) -> list[str]:
    """Every linear layer and convolution: without a task's name, PEFT looks for neither."""
    return [
        name
        for name, each in model.named_modules()
        if isinstance(each, torch.nn.Linear)
        or (isinstance(each, torch.nn.Conv2d) and each.groups == 1)
    ]


def save_weights(model: torch.nn.Module, recipe: Recipe, folder: Path) -> None:
    """Write what was trained: the whole model, or the adapter in PEFT's layout."""
    inner: Any = model
    if recipe.method == "adapter":
        save_bottlenecks(model, folder, recipe.rank)
        return
    if recipe.method == "full":
        inner.save_pretrained(folder)
        return
    for config in inner.peft_config.values():
        config.base_model_name_or_path = recipe.base
    inner.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # an empty card, with the path of the base


def saved_method(folder: Path) -> str:
    """What kind of weights a folder holds: "full", "adapter", or "peft" for all others."""
    config = read_json(folder / CONFIG)
    if config is None:
        return "full"
    return "adapter" if config.get("peft_type") == "BOTTLENECK" else "peft"


def load_adapter(base: torch.nn.Module, method: str, folder: Path) -> torch.nn.Module:
    """A base model with the adapter that `save` wrote."""
    if method == "adapter":
        return load_bottlenecks(base, folder)
    from peft import PeftModel

    with _quiet():  # PEFT would read an adapter in float32 whatever the base is computed in
        restored: torch.nn.Module = PeftModel.from_pretrained(
            base, str(folder), autocast_adapter_dtype=False
        )
    return restored


@contextmanager
def _quiet() -> Iterator[None]:
    """PEFT asks transformers for what that has renamed, and is warned of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
