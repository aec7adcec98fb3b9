"""Training methods: all weights are trained, or a small adapter, from PEFT or Moli's own."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch

from moli.models.weights.json_files import read_json
from moli.records.errors import InputError
from moli.training.kernels.dropout import replace_dropout
from moli.training.kernels.norm import replace_norms
from moli.training.methods.bottleneck import (
    CONFIG,
    PEFT_TYPE,
    add_bottlenecks,
    bottlenecks_off,
    load_bottlenecks,
    save_bottlenecks,
)
from moli.training.methods.lora import fuse_lora_layers
from moli.training.recipes.method_table import METHODS, MethodSpec
from moli.training.recipes.recipe import Recipe
from moli.training.recipes.task_table import TASKS

# Names of the heads that transformers puts on a base; they are trained whole, not adapted.
_HEADS = ("classifier", "score", "qa_outputs", "head")
# Modules that stay out of 4 bits: the layers above a base's blocks. Some may have no weights yet,
# which cannot be quantized.
UNQUANTIZED_MODULES = (*_HEADS, "pre_classifier", r".*pooler", "lm_head", "embed_out")


def method_of(recipe: Recipe) -> MethodSpec:
    """The recipe's method, or the task's default method."""
    return METHODS[recipe.method or TASKS[recipe.task].method]


def apply_method(model: torch.nn.Module, recipe: Recipe) -> torch.nn.Module:
    """The model with an adapter of the recipe's method and everything else frozen.

    With method "full" it is the model itself, in which every weight is trained.

    Raises:
        InputError: the method does not work with this model or on this machine.
    """
    method = method_of(recipe)
    if not method.is_adapter:
        return model
    if method.family == "bottleneck":
        return add_bottlenecks(model, recipe.rank, fully_trained_modules(model))
    from peft import get_peft_model

    try:
        with _without_peft_warnings():
            adapted: torch.nn.Module = get_peft_model(model, _peft_config(recipe, model))
    except (ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise InputError(
            f"'{recipe.method}' does not work with this model ({error})",
            where=recipe.base,
            fix="Use method: lora, or full.",
        ) from error
    return adapted


def prepare_for_device(model: torch.nn.Module) -> torch.nn.Module:
    """The model on the GPU, if there is one, with faster modules that compute the same."""
    replace_norms(model)
    fuse_lora_layers(model)
    if torch.cuda.is_available():
        return model.cuda()
    replace_dropout(model)  # a GPU draws random numbers fast enough
    return model


def require_four_bit_support() -> None:
    """Check that this machine can compute with 4-bit weights.

    Raises:
        InputError: there is no CUDA GPU, or bitsandbytes is not installed.
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
    """Options of `from_pretrained` that load a base in 4 bits (Dettmers et al. 2023, section 3)."""
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(UNQUANTIZED_MODULES),
    )
    return {"quantization_config": config, "device_map": {"": 0}}


def mark_new_modules(model: Any, missing_parameters: Set[str]) -> None:
    """Set `model.new_modules`: names of the modules for which the base's files had no weights.

    Args:
        missing_parameters: names of the parameters without weights, as transformers reports them.
    """
    new: list[str] = []
    for name, module in model.named_modules():  # outer modules come first
        parameters = {f"{name}.{key}" for key, _ in module.named_parameters()}
        is_inside = any(name.startswith(f"{outer}.") for outer in new)
        if name and parameters and parameters <= missing_parameters and not is_inside:
            new.append(name)
    model.new_modules = new


def fully_trained_modules(model: torch.nn.Module) -> list[str]:
    """Names of modules to train whole: the task's head, and all that began with random weights.

    An adapter that lacked some of them would be put on other random weights when it is loaded.
    """
    heads = [name for name, _ in model.named_children() if name in _HEADS]
    new: list[str] = getattr(model, "new_modules", [])
    return heads + [name for name in new if name.partition(".")[0] not in heads]


def _peft_config(recipe: Recipe, model: torch.nn.Module) -> Any:
    """PEFT's configuration of the recipe's method for this model."""
    import peft

    method, task_type = method_of(recipe), TASKS[recipe.task].peft_type
    config_class = getattr(peft, method.peft_config)
    modules_to_save = fully_trained_modules(model)
    options = {"task_type": task_type, "modules_to_save": modules_to_save or None}
    if method.adds_virtual_tokens:
        if task_type is None:
            raise ValueError("there are no input tokens to put a prompt before")
        return config_class(num_virtual_tokens=recipe.rank, **options)
    excluded = "|".join(map(re.escape, modules_to_save))
    return config_class(
        r=recipe.rank,
        lora_alpha=2 * recipe.rank,
        target_modules="all-linear" if task_type else _linear_and_convolution_names(model),
        exclude_modules=rf"(.*\.)?({excluded})(\..*)?" if modules_to_save else None,
        **options,
        **method.peft_options,
    )


def _linear_and_convolution_names(model: torch.nn.Module) -> list[str]:
    """Names of all linear layers and convolutions: without a task type, PEFT looks for neither."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        or (isinstance(module, torch.nn.Conv2d) and module.groups == 1)
    ]


def save_weights(model: torch.nn.Module, recipe: Recipe, folder: Path) -> None:
    """Write what was trained: the whole model, or the adapter in PEFT's layout."""
    method, pretrained = method_of(recipe), cast(Any, model)
    if method.family == "bottleneck":
        save_bottlenecks(model, folder, recipe.rank)
        return
    if not method.is_adapter:
        pretrained.save_pretrained(folder)
        return
    for config in pretrained.peft_config.values():
        config.base_model_name_or_path = recipe.base
    pretrained.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # an empty card, with the path of the base


def is_adapter_folder(folder: Path) -> bool:
    """Whether a folder holds an adapter instead of a whole model."""
    return (folder / CONFIG).is_file()


def load_adapter(base: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """A base model with the adapter that `save_weights` wrote."""
    config = read_json(folder / CONFIG) or {}
    if config.get("peft_type") == PEFT_TYPE:
        return load_bottlenecks(base, folder)
    from peft import PeftModel

    with _without_peft_warnings():
        # PEFT would otherwise load an adapter in float32, whatever the base is computed in.
        restored: torch.nn.Module = PeftModel.from_pretrained(
            base, str(folder), autocast_adapter_dtype=False
        )
    return restored


@contextmanager
def adapters_off(model: torch.nn.Module) -> Iterator[None]:
    """Compute what the base computes alone; a model without an adapter is left as it is."""
    pretrained: Any = model
    with pretrained.disable_adapter() if hasattr(model, "peft_config") else bottlenecks_off(model):
        yield


@contextmanager
def _without_peft_warnings() -> Iterator[None]:
    """Hide warnings about names that PEFT uses and transformers has renamed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
