"""BERT-shaped sentence encoders (MiniLM, BGE, E5, ...) as an OpenVINO graph.

The graph is built here from the weights, operation by operation (Devlin et al. 2018, section 3;
pooling: Reimers & Gurevych 2019, section 3), so loading needs neither PyTorch nor a conversion and
takes a quarter of a second. OpenVINO computes in bfloat16 if the processor can, and the
feed-forward layers, two thirds of the work, in 8 bits: cosines change by less than .001.

Every text is one request without padding, and every core works on its own text. That is as fast as
batches of texts of similar length, and a vector does not depend on the other texts.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from moli.models.hardware.openvino import op, ov
from moli.models.weights.json_files import read_json
from moli.records.errors import ModelError

# Inputs that share a scale in 8 bits; fewer are more precise and slower.
_GROUP_SIZE = 128
# OpenVINO's approximations of GELU, by the names in config.json.
_GELU_MODES = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


class BertEncoder:
    """A sentence encoder read from a sentence-transformers or transformers folder.

    Args:
        name: the model reference.
        precision: "f32" to compute in full precision; by default, OpenVINO uses the fastest type
            and 8 bits, which is precise enough.

    Raises:
        ModelError: files are missing, or the model is not BERT-shaped.
    """

    def __init__(self, folder: Path, *, name: str, precision: str = "") -> None:
        self.name = name
        config = read_json(folder / "config.json")
        if config is None:
            raise ModelError(
                "no model: there is no config.json",
                where=str(folder),
                fix="Give a folder of an encoder.",
            )
        if config.get("model_type") != "bert":
            raise ModelError(
                f"model type '{config.get('model_type')}' is not supported as an encoder",
                where=str(folder),
                fix="Use a BERT-shaped encoder such as BGE, E5 or MiniLM.",
            )
        self.dimensions = int(config["hidden_size"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_max_tokens(folder, config))
        weights = load_file(folder / "model.safetensors")
        graph = sentence_graph(weights, config, _pooling(folder), quantize=not precision)
        self._streams = os.cpu_count() or 1
        options: dict[str, Any] = {
            "NUM_STREAMS": str(self._streams),
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(_GROUP_SIZE),
        }
        if precision:
            options["INFERENCE_PRECISION_HINT"] = precision
        with _restored_signal_stack():
            self._model = ov.Core().compile_model(graph, "CPU", options)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [len(texts), dimensions], in the order of `texts`."""
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        # Sorted by length: the next text often has the same shape, for which kernels are compiled.
        order = sorted(range(len(texts)), key=lambda row: len(encodings[row].ids))

        def encode_rows(rows: Sequence[int]) -> None:
            """Fill in the vectors of the texts with these indices."""
            request = self._model.create_infer_request()
            for row in rows:
                vectors[row] = request.infer([np.array([encodings[row].ids], np.int64)])[0][0]

        # OpenVINO's own queue of requests can abort or hang a process that ends.
        streams = min(self._streams, len(texts))
        if streams <= 1:
            encode_rows(order)
        else:
            with ThreadPoolExecutor(streams) as pool:
                list(pool.map(encode_rows, [order[start::streams] for start in range(streams)]))
        return vectors

    def tokens(self, texts: Sequence[str]) -> int:
        """Number of tokens that are read of texts, with special ones, without truncated ones."""
        return sum(len(each.ids) for each in self._tokenizer.encode_batch_fast(list(texts)))


class _SignalStack(ctypes.Structure):
    """Linux's C structure `stack_t`: a signal stack's address, flags and size."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def _restored_signal_stack() -> Iterator[None]:
    """Restore this thread's alternate signal stack at the end.

    OpenVINO installs its own and frees it with the last model. A later signal, such as that of
    Ctrl-C, would then be handled on freed memory.
    """
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), _SignalStack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)


def sentence_graph(
    weights: Mapping[str, NDArray[np.float32]],
    config: Mapping[str, Any],
    pooling: str,
    *,
    quantize: bool = False,
) -> ov.Model:
    """Build the encoder's graph from token ids [1, tokens] to a unit vector [1, hidden].

    Args:
        weights: tensors of a BERT checkpoint by name, with or without the prefix `bert.`.
        config: contents of config.json.
        pooling: "mean" over tokens, or "cls" for the first token's hidden state.
        quantize: whether to keep the feed-forward layers in 8 bits.

    Raises:
        ModelError: the checkpoint lacks a tensor.
    """
    bert = _Weights({name.removeprefix("bert."): value for name, value in weights.items()})
    heads, epsilon = int(config["num_attention_heads"]), float(config["layer_norm_eps"])
    gelu_mode = _GELU_MODES[config["hidden_act"]]
    ids = op.parameter([1, -1], np.int64, name="ids")
    hidden = _embed(ids, bert, epsilon)
    for layer in range(int(config["num_hidden_layers"])):
        weight = bert.below(f"encoder.layer.{layer}.")
        attended = _self_attention(hidden, weight, heads)
        hidden = _layer_norm(
            op.add(hidden, attended), weight.below("attention.output.LayerNorm."), epsilon
        )
        inner = op.gelu(_linear(hidden, weight.below("intermediate.dense."), quantize), gelu_mode)
        outer = _linear(inner, weight.below("output.dense."), quantize)
        hidden = _layer_norm(op.add(hidden, outer), weight.below("output.LayerNorm."), epsilon)
    if pooling == "cls":
        pooled = op.gather(hidden, op.constant(0, np.int64), op.constant(1, np.int64))
    else:
        pooled = op.reduce_mean(hidden, op.constant([1], np.int64), keep_dims=False)
    unit = op.normalize_l2(pooled, op.constant([1], np.int64), 1e-12, "max")
    return ov.Model([unit], [ids], "encoder")


class _Weights:
    """The tensors of a checkpoint whose names begin with a prefix, by the rest of their names."""

    def __init__(self, tensors: Mapping[str, NDArray[np.float32]], prefix: str = "") -> None:
        self._tensors, self._prefix = tensors, prefix

    def below(self, prefix: str) -> _Weights:
        """The tensors that have a further prefix."""
        return _Weights(self._tensors, self._prefix + prefix)

    def __getitem__(self, name: str) -> Any:
        """A tensor as a constant of the graph."""
        return op.constant(self.array(name))

    def array(self, name: str) -> NDArray[np.float32]:
        """A tensor as an array.

        Raises:
            ModelError: the checkpoint lacks it.
        """
        try:
            return self._tensors[self._prefix + name].astype(np.float32)
        except KeyError:
            raise ModelError(
                f"the weights lack '{self._prefix}{name}'", fix="Is it a BERT checkpoint?"
            ) from None


def _embed(ids: Any, bert: _Weights, epsilon: float) -> Any:
    """Sum of word, position and segment embeddings, normalized: [1, tokens, hidden]."""
    axis = op.constant(0, np.int64)
    words = op.gather(bert["embeddings.word_embeddings.weight"], ids, axis)
    length = op.gather(op.shape_of(ids), op.constant(1, np.int64), axis)
    order = op.range(axis, length, op.constant(1, np.int64), "i64")
    positions = op.gather(bert["embeddings.position_embeddings.weight"], order, axis)
    # All tokens of a single text are in the first segment.
    segments = op.gather(bert["embeddings.token_type_embeddings.weight"], axis, axis)
    total = op.add(op.add(words, positions), segments)
    return _layer_norm(total, bert.below("embeddings.LayerNorm."), epsilon)


def _self_attention(hidden: Any, weight: _Weights, heads: int) -> Any:
    """Multi-head self-attention over a sequence without padding, and so without a mask."""

    def project_heads(name: str) -> Any:
        """Queries, keys or values, by their name in the checkpoint: [1, heads, tokens, width]."""
        projected = _linear(hidden, weight.below(f"attention.self.{name}."))
        shape = op.constant([0, 0, heads, -1], np.int64)
        return op.transpose(
            op.reshape(projected, shape, special_zero=True), op.constant([0, 2, 1, 3], np.int64)
        )

    attended = op.scaled_dot_product_attention(*map(project_heads, ("query", "key", "value")))
    joined = op.reshape(
        op.transpose(attended, op.constant([0, 2, 1, 3], np.int64)),
        op.constant([0, 0, -1], np.int64),
        special_zero=True,
    )
    return _linear(joined, weight.below("attention.output.dense."))


def _linear(hidden: Any, weight: _Weights, quantize: bool = False) -> Any:
    """Output of a linear layer with its bias; in 8 bits if `quantize` and its shape allows it."""
    matrix = weight.array("weight")
    in_8_bits = quantize and matrix.shape[1] % _GROUP_SIZE == 0
    factor = _quantize(matrix) if in_8_bits else op.constant(matrix)
    return op.add(op.matmul(hidden, factor, False, True), weight["bias"])


def _quantize(matrix: NDArray[np.float32]) -> Any:
    """A matrix [out, in] in 8 bits with a scale for each group of inputs.

    OpenVINO recognizes this pattern, quantizes the other factor by the same groups at run time, and
    multiplies integers.
    """
    grouped = matrix.reshape(len(matrix), -1, _GROUP_SIZE)
    scale = np.maximum(np.abs(grouped).max(axis=2, keepdims=True) / 127, 1e-12)
    rounded = op.convert(op.constant(np.round(grouped / scale).astype(np.int8)), "f32")
    shape = op.constant(np.array(matrix.shape), np.int64)
    return op.reshape(op.multiply(rounded, op.constant(scale)), shape, special_zero=False)


def _layer_norm(hidden: Any, weight: _Weights, epsilon: float) -> Any:
    """Layer normalization over the hidden dimension."""
    normalized = op.mvn(hidden, op.constant([-1], np.int64), True, epsilon, "inside_sqrt")
    return op.add(op.multiply(normalized, weight["weight"]), weight["bias"])


def _pooling(folder: Path) -> str:
    """The pooling in the model's files: "cls" or "mean"."""
    modes = read_json(folder / "1_Pooling" / "config.json") or {}
    return "cls" if modes.get("pooling_mode_cls_token") else "mean"


def _max_tokens(folder: Path, config: Mapping[str, Any]) -> int:
    """Tokens that the encoder was trained to read, which can be fewer than it has positions for."""
    trained_length = (read_json(folder / "sentence_bert_config.json") or {}).get("max_seq_length")
    positions = int(config["max_position_embeddings"])
    return min(trained_length or positions, positions)
