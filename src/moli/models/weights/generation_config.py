"""The sampling parameters that a model's makers recommend, in its generation_config.json."""

from __future__ import annotations

from moli.models.weights.json_files import read_model_json
from moli.models.weights.loading import folder_of, is_gguf
from moli.records.errors import ModelError

_NAME = "generation_config.json"
# What each may be at most, and whether it may be 0.
_RANGES = {
    "temperature": (2.0, True),
    "top_p": (1.0, False),
    "top_k": (float(1 << 20), True),
    "min_p": (1.0, True),
    "repetition_penalty": (10.0, False),
}


def recommended_sampling(reference: str) -> dict[str, float]:
    """The recommended values of fields of `Sampling`, for requests that set none.

    Returns:
        Only the fields that the model's file has; {} for a GGUF file, which has no such file.

    Raises:
        ModelError: the file cannot be read, or has a value that is no number or out of range.
    """
    if is_gguf(reference):
        return {}
    config = read_model_json(folder_of(reference), _NAME) or {}
    stated = {name: config[name] for name in _RANGES if config.get(name) is not None}
    for name, value in stated.items():
        highest, may_be_zero = _RANGES[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and 0 <= value <= highest and (value or may_be_zero)):
            raise ModelError(
                f"{name} cannot be {value!r}",
                where=f"{reference}: {_NAME}",
                fix="Correct it there, or take it out.",
            )
    return stated
