"""vLLM and SGLang: their endpoints, request fields and messages, where these differ.

They are those of vLLM 0.33 (vllm/entrypoints/openai/completion/protocol.py,
vllm/lora/peft_helper.py) and SGLang 0.5.23 (sglang/srt/entrypoints/openai/protocol.py,
sglang/srt/lora/lora_manager.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from moli.records.errors import InputError
from moli.records.generation import OutputConstraint, Request

ServerKind = Literal["vllm", "sglang"]

MAX_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # choices for vLLM's --max-lora-rank
_MAX_STOP_STRINGS = 4  # of vLLM, unless VLLM_MAX_STOP_STRINGS says otherwise
_MOUNT_FOLDER = "It has to see the folder under the same path: mount {folder} there as well."
_ENABLE_SGLANG_LORA = (
    "Start SGLang with --enable-lora --max-lora-rank {max_rank} --lora-target-modules all."
)


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """A kind of server.

    Attributes:
        name: the name that users know.
        version_path: path that reports the version.
        load_adapter_path: path that loads an adapter.
        oldest_version: first version that has all of `required_fields`.
        required_fields: fields of a completion request that older versions silently ignore.
        ignored_adapter_settings: settings of adapter_config.json that the server silently ignores.
        adapter_missing_message: part of the message about a request for an adapter that the server
            does not have.
        refusal_advice: advice for the user, by a part of the message with which the server
            refuses an adapter. The first part that occurs decides.
        request_fields: returns the fields of a completion request that this kind of server names
            in its own way, from the name of the base and the request. Raises InputError for what
            the server cannot do.
    """

    name: str
    version_path: str
    load_adapter_path: str
    oldest_version: str
    required_fields: frozenset[str]
    ignored_adapter_settings: tuple[str, ...]
    adapter_missing_message: str
    refusal_advice: Mapping[str, str]
    request_fields: Callable[[str, Request], dict[str, Any]]


def advise_on_refusal(
    server: ServerSpec, message: str, config: Mapping[str, Any], folder: str
) -> str:
    """Advice for the user about an adapter that a server refused.

    Args:
        message: the server's message.
        config: the adapter's adapter_config.json.
    """
    rank = max([config.get("r", 0), *(config.get("rank_pattern") or {}).values()])
    max_rank = next((choice for choice in MAX_LORA_RANKS if choice >= rank), rank)
    advice = (fix for part, fix in server.refusal_advice.items() if part in message)
    return next(advice, "See the server's log.").format(max_rank=max_rank, folder=folder)


def _vllm_fields(base: str, request: Request) -> dict[str, Any]:
    """Fields of vLLM, where an adapter is selected as a model."""
    sampling = request.sampling
    if len(sampling.stop) > _MAX_STOP_STRINGS:
        raise InputError(
            f"{len(sampling.stop)} stop strings, but vLLM accepts {_MAX_STOP_STRINGS}",
            fix="Give fewer.",
        )
    fields: dict[str, Any] = {"model": request.adapter or base, "top_k": sampling.top_k}
    if sampling.logprobs is not None:
        fields["return_tokens_as_token_ids"] = True
    if constraint := sampling.constraint:
        kinds = {"json": constraint.schema, "regex": constraint.regex, "grammar": constraint.lark}
        fields["structured_outputs"] = {kind: text for kind, text in kinds.items() if text}
    return fields


def _sglang_fields(base: str, request: Request) -> dict[str, Any]:
    """Fields of SGLang, where an adapter is selected by a separate field."""
    sampling = request.sampling
    if sampling.logprobs:
        raise InputError(
            "SGLang identifies other tokens by their text, which several may share",
            fix="Ask for logprobs without alternatives, or serve with vLLM.",
        )
    constraint = sampling.constraint or OutputConstraint()
    if constraint.lark:
        raise InputError(
            "SGLang does not support Lark grammars, which tool calls have to follow",
            fix="Leave the choice of tools to the model, or serve with vLLM.",
        )
    optional = {
        "lora_path": request.adapter,
        "json_schema": constraint.schema,
        "regex": constraint.regex,
    }
    fields: dict[str, Any] = {name: text for name, text in optional.items() if text}
    return fields | {"model": base, "top_k": sampling.top_k or -1}


SERVERS: dict[ServerKind, ServerSpec] = {
    "vllm": ServerSpec(
        name="vLLM",
        version_path="/version",
        load_adapter_path="/v1/load_lora_adapter",
        oldest_version="0.11",
        required_fields=frozenset({"return_token_ids", "structured_outputs", "cache_salt"}),
        ignored_adapter_settings=(),  # it refuses what it cannot do
        adapter_missing_message="does not exist",
        refusal_advice={
            "max_lora_rank": "Start vLLM with --max-lora-rank {max_rank}.",
            "--enable-lora": "Start vLLM with --enable-lora --max-lora-rank {max_rank}.",
            "No adapter found": _MOUNT_FOLDER,
            "Not Found": "Start vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora.",
        },
        request_fields=_vllm_fields,
    ),
    "sglang": ServerSpec(
        name="SGLang",
        version_path="/server_info",
        load_adapter_path="/load_lora_adapter",
        oldest_version="0.5.23",
        required_fields=frozenset(
            {"return_token_ids", "json_schema", "regex", "lora_path", "cache_salt"}
        ),
        # sglang/srt/lora/lora.py: the scale is lora_alpha / r, whatever else the config says.
        ignored_adapter_settings=("use_rslora", "alpha_pattern", "rank_pattern"),
        adapter_missing_message="LoRA adapters are not loaded",
        refusal_advice={
            "--max-lora-rank": _ENABLE_SGLANG_LORA,
            "--enable-lora": _ENABLE_SGLANG_LORA,
            "Repo id": _MOUNT_FOLDER,  # it takes a folder that it does not see for a hub name
        },
        request_fields=_sglang_fields,
    ),
}
