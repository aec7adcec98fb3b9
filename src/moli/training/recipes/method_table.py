"""The table of training methods: which weights each trains, and where the result can be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from moli.records.errors import ModelError

MethodName = Literal["full", "lora", "rslora", "dora", "adapter", "prefix", "prompt", "qlora"]
MethodFamily = Literal["full", "lora", "bottleneck", "prompt"]


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """A training method as recipes, checks, exports and servers know it.

    Attributes:
        family: what is trained: every weight ("full"), low-rank matrices beside linear layers
            ("lora"), small networks behind feed-forward blocks ("bottleneck"), or vectors put
            before the input ("prompt").
        peft_config: name of PEFT's configuration class; "" for methods that PEFT does not have.
        peft_options: options of that class that set this method apart from others of its family.
        quantizes_base: whether the base is loaded in 4 bits while an adapter is trained.
        runs_on_engine: whether Moli's generation engine serves the trained weights.
        merge_obstacle: why the trained weights cannot be merged into the base; "" if they can.
    """

    family: MethodFamily
    peft_config: str = ""
    peft_options: Mapping[str, Any] = field(default_factory=dict)
    quantizes_base: bool = False
    runs_on_engine: bool = False
    merge_obstacle: str = ""

    @property
    def is_adapter(self) -> bool:
        """Whether the base stays frozen and only weights added to it are trained."""
        return self.family != "full"

    @property
    def adds_virtual_tokens(self) -> bool:
        """Whether trained vectors take positions before the input, which rules out packing."""
        return self.family == "prompt"


METHODS = {
    "full": MethodSpec("full", runs_on_engine=True),
    "lora": MethodSpec("lora", "LoraConfig", runs_on_engine=True),
    "rslora": MethodSpec("lora", "LoraConfig", {"use_rslora": True}, runs_on_engine=True),
    "dora": MethodSpec("lora", "LoraConfig", {"use_dora": True}),
    "adapter": MethodSpec("bottleneck", merge_obstacle="bottleneck layers are not linear"),
    "prefix": MethodSpec(
        "prompt",
        "PrefixTuningConfig",
        merge_obstacle="a prefix is not part of the base's weights",
    ),
    "prompt": MethodSpec(
        "prompt",
        "PromptTuningConfig",
        merge_obstacle="a prompt is not part of the base's weights",
    ),
    "qlora": MethodSpec("lora", "LoraConfig", quantizes_base=True, runs_on_engine=True),
}


def find_method(name: str) -> MethodSpec:
    """The method that a stored model was trained with.

    Raises:
        ModelError: there is none of that name, as in a model that a newer version made.
    """
    if name not in METHODS:
        raise ModelError(
            f"it was trained with '{name}', which this version does not know",
            fix="Update Moli.",
        )
    return METHODS[name]
