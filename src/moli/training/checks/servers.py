"""Whether a model will load in the servers that people use, known before it is trained.

Each rule names its source; servers change, so a rule is advice and refuses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from moli.models.remote.servers import MAX_LORA_RANKS
from moli.training.recipes.method_table import METHODS, MethodSpec
from moli.training.recipes.recipe import Recipe
from moli.training.recipes.task_table import GENERATIVE_TASKS

_VLLM_MAX_RANK = 16  # the default of --max-lora-rank; docs.vllm.ai, vllm/config/lora
_MERGE = "merge it into its base, and serve the result as a whole model"
_TOO_WEAK = f"it scales by alpha / rank, which makes rsLoRA too weak; {_MERGE}"

Loads = Literal["yes", "with a setting", "no"]


@dataclass(frozen=True, slots=True)
class ServerSupport:
    """Whether a server loads a model.

    Attributes:
        server: the server's name.
        loads: "yes", "with a setting", or "no".
        reason: why, or the setting.
    """

    server: str
    loads: Loads
    reason: str


@dataclass(frozen=True, slots=True)
class AdapterSummary:
    """The properties of a trained model that decide which servers load it.

    Attributes:
        method: the recipe's training method.
        generates: whether the model generates text, which is what these servers are for.
        full_layers: layers that are fully trained and stored in the adapter.
        other_layers: adapted layers that are not linear ones.
    """

    method: str
    rank: int
    generates: bool
    full_layers: tuple[str, ...] = ()
    other_layers: tuple[str, ...] = ()

    @property
    def spec(self) -> MethodSpec:
        """Properties of the training method."""
        return METHODS[self.method]


Rule = Callable[[AdapterSummary], tuple[Loads, str]]  # whether a server loads it, and why


def summarize_adapter(recipe: Recipe, model: torch.nn.Module | None = None) -> AdapterSummary:
    """The summary of a recipe, and of the model built from it if there is one."""
    full_layers: set[str] = set()
    other_layers: list[str] = []
    if model is not None:
        configs: Any = getattr(model, "peft_config", {})
        for config in configs.values():
            full_layers |= set(getattr(config, "modules_to_save", None) or ())
        for name, module in model.named_modules():
            base = getattr(module, "base_layer", None)
            if hasattr(module, "lora_A") and not isinstance(base, torch.nn.Linear):
                other_layers.append(name)
    return AdapterSummary(
        str(recipe.method),
        recipe.rank,
        recipe.task in GENERATIVE_TASKS,
        tuple(sorted(full_layers)),
        tuple(other_layers),
    )


def check_servers(summary: AdapterSummary) -> list[ServerSupport]:
    """Whether each of the servers named in the documentation loads the model."""
    return [
        _check_server(name, rule, summary)
        for name, rule in (
            ("vLLM", _check_vllm),
            ("SGLang", _check_sglang),
            ("llama.cpp", _check_llama_cpp),
            ("transformers serve", _check_transformers),
        )
    ]


def _check_server(name: str, rule: Rule, summary: AdapterSummary) -> ServerSupport:
    """Whether one server loads the model, by its own rule if it loads such models at all."""
    if not summary.generates:
        return ServerSupport(
            name, "no", "it only serves text-generation models; serve this one with Moli"
        )
    if summary.spec.family == "bottleneck":
        return ServerSupport(
            name, "no", "bottleneck layers are not LoRA; only moli predict and evaluate load them"
        )
    if summary.spec.family == "prompt":
        # vLLM: prompt adapters went with its first engine (docs.vllm.ai v0.10.0, CLI reference).
        # transformers: "prompt learning [is] out of scope" (docs, main_classes/peft).
        return ServerSupport(
            name,
            "no",
            "learnt prompts are not loaded, only by moli predict and evaluate; use method: lora",
        )
    return ServerSupport(name, *rule(summary))


def _lora_problem(summary: AdapterSummary) -> str:
    """Why no server loads an adapter; empty if it is plain LoRA on linear layers."""
    # vllm/lora/peft_helper.py: "vLLM does not yet support DoRA", "only supports modules_to_save
    # being None". convert_lora_to_gguf.py: "Not a lora_A or lora_B tensor" for either of them.
    # sglang/srt/lora: buffers for lora_A and lora_B of linear layers, and nothing beside them.
    if summary.spec.peft_options.get("use_dora"):
        return "DoRA is not supported; use method: lora or rslora"
    if summary.full_layers:
        return f"it has fully trained layers ({', '.join(summary.full_layers)}); {_MERGE}"
    if summary.other_layers:
        return f"it adapts {summary.other_layers[0]}, which is not a linear layer; {_MERGE}"
    return ""


def _check_vllm(summary: AdapterSummary) -> tuple[Loads, str]:
    """Whether vLLM loads the model, and how to start it or why not."""
    if not summary.spec.is_adapter:
        return "yes", "vllm serve FOLDER, if it supports the architecture"
    if problem := _lora_problem(summary):
        return "no", problem
    max_rank = next((rank for rank in MAX_LORA_RANKS if rank >= summary.rank), None)
    if max_rank is None:
        return "no", f"rank {summary.rank} is above its maximum, {MAX_LORA_RANKS[-1]}"
    if max_rank > _VLLM_MAX_RANK:
        return "with a setting", f"--enable-lora --max-lora-rank {max_rank} (default 16)"
    return "yes", "--enable-lora --lora-modules NAME=FOLDER"


def _check_sglang(summary: AdapterSummary) -> tuple[Loads, str]:
    """Whether SGLang loads the model, and how to start it or why not."""
    if not summary.spec.is_adapter:
        return "yes", "--model-path FOLDER, if it supports the architecture"
    if problem := _lora_problem(summary):
        return "no", problem
    if summary.spec.peft_options.get("use_rslora"):
        # sglang/srt/lora/lora.py: scaling = lora_alpha / r, whatever `use_rslora` says.
        return "no", _TOO_WEAK
    return "yes", "--enable-lora --lora-paths NAME=FOLDER"


def _check_llama_cpp(summary: AdapterSummary) -> tuple[Loads, str]:
    """Whether llama.cpp loads the model, and how to convert it or why not."""
    if not summary.spec.is_adapter:
        return "with a setting", "convert it with convert_hf_to_gguf.py FOLDER"
    if problem := _lora_problem(summary):
        return "no", problem
    if summary.spec.peft_options.get("use_rslora"):
        # convert_lora_to_gguf.py keeps adapter.lora.alpha alone; the scale is alpha / rank.
        return "no", _TOO_WEAK
    return "with a setting", "convert_lora_to_gguf.py --base BASE FOLDER, then --lora FILE"


def _check_transformers(summary: AdapterSummary) -> tuple[Loads, str]:
    """Whether `transformers serve` loads the model, and how or why not."""
    if not summary.spec.is_adapter:
        return "yes", "transformers serve, with the folder as the model"
    # transformers/cli/serving/model_manager.py reads the folder's config.json, which an adapter
    # has not: "Unrecognized model". In Python, from_pretrained(FOLDER) puts it in its base.
    return "no", f"it loads whole models only (from_pretrained loads an adapter); {_MERGE}"
