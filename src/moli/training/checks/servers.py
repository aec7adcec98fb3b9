"""Whether a model will load in the servers that people use, told before it is trained.

Each rule names its source; servers change, so a verdict is advice and refuses nothing.
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

_VLLM_DEFAULT = 16  # of --max-lora-rank; docs.vllm.ai, vllm/config/lora
_MERGE = "merge it into its base, and serve the result as a whole model"
_TOO_WEAK = f"it scales by alpha / rank, which makes rsLoRA too weak; {_MERGE}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one server.

    Attributes:
        loads: "yes", "with a setting", or "no".
        reason: why, or what to set.
    """

    server: str
    loads: Literal["yes", "with a setting", "no"]
    reason: str


@dataclass(frozen=True, slots=True)
class AdapterSummary:
    """What a server has to load.

    Attributes:
        method: the recipe's.
        writes: whether the model generates text, which is what these servers are for.
        heads: layers that are fully trained and stored in the adapter.
        odd: adapted layers that are not linear ones.
    """

    method: str
    rank: int
    writes: bool
    heads: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()

    @property
    def spec(self) -> MethodSpec:
        """Properties of the training method."""
        return METHODS[self.method]


def summary_of(recipe: Recipe, model: torch.nn.Module | None = None) -> AdapterSummary:
    """What a recipe, and the model built from it, give a server to load."""
    heads: set[str] = set()
    odd: list[str] = []
    if model is not None:
        configs: Any = getattr(model, "peft_config", {})
        for config in configs.values():
            heads |= set(getattr(config, "modules_to_save", None) or ())
        for name, module in model.named_modules():
            base = getattr(module, "base_layer", None)
            if hasattr(module, "lora_A") and not isinstance(base, torch.nn.Linear):
                odd.append(name)
    writes = recipe.task in GENERATIVE_TASKS
    return AdapterSummary(str(recipe.method), recipe.rank, writes, tuple(sorted(heads)), tuple(odd))


def verdicts(summary: AdapterSummary) -> list[Verdict]:
    """A verdict for each of the servers named in the documentation."""
    return [
        _verdict(name, rule, summary)
        for name, rule in (
            ("vLLM", _vllm),
            ("SGLang", _sglang),
            ("llama.cpp", _llama_cpp),
            ("transformers serve", _transformers),
        )
    ]


def _verdict(
    name: str, rule: Callable[[AdapterSummary], tuple[str, str]], summary: AdapterSummary
) -> Verdict:
    if not summary.writes:
        return Verdict(
            name, "no", "it only serves text-generation models; serve this one with Moli"
        )
    if summary.spec.family == "bottleneck":
        return Verdict(
            name, "no", "bottleneck layers are not LoRA; only moli predict and evaluate load them"
        )
    if summary.spec.family == "prompt":
        # vLLM: prompt adapters went with its first engine (docs.vllm.ai v0.10.0, CLI reference).
        # transformers: "prompt learning [is] out of scope" (docs, main_classes/peft).
        return Verdict(
            name,
            "no",
            "learnt prompts are not loaded, only by moli predict and evaluate; use method: lora",
        )
    loads, reason = rule(summary)
    return Verdict(name, "yes" if loads == "yes" else _other(loads), reason)


def _other(loads: str) -> Literal["with a setting", "no"]:
    return "no" if loads == "no" else "with a setting"


def _lora_only(summary: AdapterSummary) -> str:
    """What no server takes in a LoRA adapter; empty where it is plain LoRA on linear layers."""
    # vllm/lora/peft_helper.py: "vLLM does not yet support DoRA", "only supports modules_to_save
    # being None". convert_lora_to_gguf.py: "Not a lora_A or lora_B tensor" for either of them.
    # sglang/srt/lora: buffers for lora_A and lora_B of linear layers, and nothing beside them.
    if summary.spec.peft_options.get("use_dora"):
        return "DoRA is not supported; use method: lora or rslora"
    if summary.heads:
        return f"it has fully trained layers ({', '.join(summary.heads)}); {_MERGE}"
    if summary.odd:
        return f"it adapts {summary.odd[0]}, which is not a linear layer; {_MERGE}"
    return ""


def _vllm(summary: AdapterSummary) -> tuple[str, str]:
    if not summary.spec.is_adapter:
        return "yes", "vllm serve FOLDER, if it supports the architecture"
    if problem := _lora_only(summary):
        return "no", problem
    room = next((each for each in MAX_LORA_RANKS if each >= summary.rank), None)
    if room is None:
        return "no", f"rank {summary.rank} is above its maximum, {MAX_LORA_RANKS[-1]}"
    if room > _VLLM_DEFAULT:
        return "with a setting", f"--enable-lora --max-lora-rank {room} (default 16)"
    return "yes", "--enable-lora --lora-modules NAME=FOLDER"


def _sglang(summary: AdapterSummary) -> tuple[str, str]:
    if not summary.spec.is_adapter:
        return "yes", "--model-path FOLDER, if it supports the architecture"
    if problem := _lora_only(summary):
        return "no", problem
    if summary.spec.peft_options.get("use_rslora"):
        # sglang/srt/lora/lora.py: scaling = lora_alpha / r, whatever `use_rslora` says.
        return "no", _TOO_WEAK
    return "yes", "--enable-lora --lora-paths NAME=FOLDER"


def _llama_cpp(summary: AdapterSummary) -> tuple[str, str]:
    if not summary.spec.is_adapter:
        return "with a setting", "convert it with convert_hf_to_gguf.py FOLDER"
    if problem := _lora_only(summary):
        return "no", problem
    if summary.spec.peft_options.get("use_rslora"):
        # convert_lora_to_gguf.py keeps adapter.lora.alpha alone; the scale is alpha / rank.
        return "no", _TOO_WEAK
    return "with a setting", "convert_lora_to_gguf.py --base BASE FOLDER, then --lora FILE"


def _transformers(summary: AdapterSummary) -> tuple[str, str]:
    if not summary.spec.is_adapter:
        return "yes", "transformers serve, with the folder as the model"
    # transformers/cli/serving/model_manager.py reads the folder's config.json, which an adapter
    # has not: "Unrecognized model". In Python, from_pretrained(FOLDER) puts it in its base.
    return "no", f"it loads whole models only (from_pretrained loads an adapter); {_MERGE}"
