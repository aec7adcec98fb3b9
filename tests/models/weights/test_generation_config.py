"""The sampling parameters that models recommend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moli.models.weights.generation_config import recommended_sampling
from moli.models.weights.known import known_models
from moli.records.errors import ModelError


def recommend(folder: Path, **fields: Any) -> dict[str, float]:
    (folder / "generation_config.json").write_text(json.dumps(fields), encoding="utf-8")
    return recommended_sampling(str(folder))


def test_what_a_models_file_states_is_recommended(tmp_path: Path) -> None:
    assert recommended_sampling(str(tmp_path)) == {}
    assert recommended_sampling("gguf:/models/some.gguf") == {}
    assert recommend(tmp_path, eos_token_id=[1, 2], top_k=None) == {}
    stated = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.05}
    assert recommend(tmp_path, **stated, do_sample=True, eos_token_id=2) == stated
    assert recommend(tmp_path, temperature=0, min_p=0) == {"temperature": 0, "min_p": 0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "0.5"),
        ("temperature", -1),
        ("temperature", 2.5),
        ("top_p", 0),
        ("top_k", True),
        ("min_p", float("nan")),
        ("repetition_penalty", [1.1]),
    ],
)
def test_a_value_that_cannot_be_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(ModelError, match=rf"generation_config.json: {name} cannot be"):
        recommend(tmp_path, **{name: value})


def test_what_is_recommended_on_a_models_page_is_in_the_catalogue() -> None:
    assert known_models()["smollm2"].sampling == {"temperature": 0.2, "top_p": 0.9}
    assert known_models()["e5"].sampling == {}
