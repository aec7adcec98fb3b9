"""Tensors that stay on disk, against the safetensors library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from moli.models.weights.mapped_tensors import MappedTensors
from moli.records.errors import ModelError


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_tensors_are_those_of_the_file(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"a": torch.randn(3, 5).to(dtype), "b": torch.randn(7).to(dtype)}
    save_file({**tensors, "ids": torch.arange(4)}, tmp_path / "x", metadata={"format": "pt"})
    mapped = MappedTensors(tmp_path / "x")
    assert mapped.keys() == tensors.keys()
    mapped.release_pages()  # they are read again when they are used again
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(mapped[name].astype(np.float64), tensor.double().numpy())


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0notjson!", b"\xff" * 64])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read"):
        MappedTensors(tmp_path / "x")
    with pytest.raises(ModelError):
        MappedTensors(tmp_path / "none")
