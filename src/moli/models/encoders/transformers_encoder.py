"""Sentence encoders of any architecture that transformers has: ModernBERT, Qwen3 and others.

The hidden states of transformers are pooled as sentence-transformers does (Reimers & Gurevych 2019,
section 3; the last token's state for decoders: Wang et al. 2024, arXiv 2401.00368, section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from moli.models.encoders.encoder_files import EncoderFiles
from moli.models.protocols.encoder import Role
from moli.models.weights.json_files import read_json
from moli.models.weights.loading import load_model
from moli.records.errors import ModelError

_ACTIVATIONS = {
    name: getattr(torch.nn, name) for name in ("Tanh", "Identity", "ReLU", "GELU", "SiLU")
}
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class TransformersEncoder:
    """A sentence encoder that transformers runs on the CPU, in float32 and one text at a time.

    Args:
        name: the model reference.

    Raises:
        ModelError: the model cannot be loaded, or has a decoder beside its encoder.
    """

    def __init__(self, files: EncoderFiles, *, name: str) -> None:
        self.name = name
        self.reads_chinese = files.reads_chinese
        self._files = files
        if files.config.get("is_encoder_decoder"):
            raise ModelError(
                f"model type '{files.model_type}' is not supported as an encoder",
                where=str(files.folder),
                fix="Use an encoder such as E5, BGE or ModernBERT, or a decoder.",
            )
        self._model = load_model("AutoModel", str(files.folder), dtype=torch.float32).eval()
        self._dense = [_read_dense(folder) for folder in files.dense]
        width = int(self._model.config.get_text_config().hidden_size)
        for layer in self._dense:
            width = int(layer(torch.zeros(width)).numel())
        self.dimensions = width

    def encode(self, texts: Sequence[str], role: Role = "text") -> NDArray[np.float32]:
        """Unit vectors [len(texts), dimensions], in the order of `texts`."""
        prompt = 0 if self._files.pools_prompt else self._files.prompt_length(role)
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for row, ids in enumerate(self._files.token_ids(texts, role)):
            with torch.inference_mode():
                states = self._model(input_ids=torch.tensor([ids])).last_hidden_state[0].float()
                vector = pool(states, self._files.pooling, prompt)
                for layer in self._dense:
                    vector = layer(vector)
                vectors[row] = torch.nn.functional.normalize(vector, dim=0).numpy()
        return vectors

    def tokens(self, texts: Sequence[str], role: Role = "text") -> int:
        """Number of tokens that are read of texts, with special ones, without truncated ones."""
        return sum(map(len, self._files.token_ids(texts, role)))


def pool(states: torch.Tensor, pooling: str, prompt: int = 0) -> torch.Tensor:
    """One vector [hidden] of the hidden states of a text's tokens.

    Args:
        states: [tokens, hidden].
        pooling: one of `encoder_files.POOLING`.
        prompt: number of tokens at the beginning that do not count.
    """
    counted = states[prompt:]
    match pooling:
        case "cls":
            return counted[0]
        case "lasttoken":
            return states[-1]
        case "max":
            return counted.amax(0)
        case "mean_sqrt_len_tokens":
            return counted.sum(0) / math.sqrt(len(counted))
        case "weightedmean":
            weights = torch.arange(prompt + 1, len(states) + 1, dtype=states.dtype)
            return (weights[:, None] * counted).sum(0) / weights.sum()
    return counted.mean(0)


def _read_dense(folder: Path) -> torch.nn.Sequential:
    """A linear layer with its activation from a folder of sentence-transformers.

    Raises:
        ModelError: a file is missing, or the layer has an unknown activation or a residual.
    """
    options = read_json(folder / "config.json") or {}
    activation = str(options.get("activation_function", "Tanh")).rpartition(".")[2]
    tensors = _read_tensors(folder)
    if activation not in _ACTIVATIONS or options.get("use_residual") or not tensors:
        raise ModelError(
            "this linear layer cannot be used",
            where=str(folder),
            fix=f"Use an encoder with {', '.join(_ACTIVATIONS)} and no residual, whose weights are "
            "here as model.safetensors.",
        )
    layer = torch.nn.Linear(
        options["in_features"], options["out_features"], options.get("bias", True)
    )
    layer.load_state_dict({k.removeprefix("linear."): v for k, v in tensors.items()})
    return torch.nn.Sequential(layer, _ACTIVATIONS[activation]()).eval()


def _read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The weights in a folder, also as older files of PyTorch have them; {} if there are none.

    Raises:
        ModelError: the file cannot be read.
    """
    path = next((p for name in _WEIGHTS if (p := folder / name).is_file()), None)
    try:
        if path is None or path.suffix == ".safetensors":
            return load_file(path) if path else {}
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, EOFError, SafetensorError, UnpicklingError, RuntimeError) as error:
        raise ModelError(
            f"cannot be read ({error})", where=str(path), fix="Put the model's own file there."
        ) from error
