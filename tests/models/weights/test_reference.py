"""Model references."""

import pytest

from moli.models.weights.reference import ModelReference
from moli.records.errors import ModelError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", ModelReference("hub", "org/name")),
        ("/models/mine", ModelReference("hub", "/models/mine")),
        ("builtin:minilm", ModelReference("builtin", "minilm")),
        ("builtin", ModelReference("builtin", "")),
        ("scripted:NO: really", ModelReference("scripted", "NO: really")),
        (
            "openai:qwen@2:7b@http://127.0.0.1:8000/v1/",
            ModelReference("openai", "qwen@2:7b", "http://127.0.0.1:8000/v1"),
        ),
    ],
)
def test_a_reference_names_its_kind_and_place(text: str, expected: ModelReference) -> None:
    assert ModelReference.parse(text) == expected


@pytest.mark.parametrize("text", ["openai:name", "openai:@http://x", "openai:name@ftp://x", " "])
def test_a_reference_that_lacks_something_is_refused(text: str) -> None:
    with pytest.raises(ModelError):
        ModelReference.parse(text)
