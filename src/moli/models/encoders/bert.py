"""BERT-shaped sentence encoders (MiniLM, BGE, E5, ...) as an OpenVINO graph.

The graph is built here from the weights, operation by operation (Devlin et al. 2018, section 3;
pooling: Reimers & Gurevych 2019, section 3), so loading needs neither PyTorch nor a conversion and
takes a quarter of a second. OpenVINO computes in bfloat16 where the processor has it, and the
feed-forward layers, two thirds of the work, in 8 bits: cosines move by less than .001.

Each text is one request without padding, and each core works on a text of its own. That is as fast
as batches of like length, and buys vectors that do not depend on their neighbours.
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

from moli.models.weights.json_files import read_json
from moli.records.errors import ModelError

# On import, OpenVINO reports to an analytics service over the network if this package is there.
# Nothing leaves the machine: without it, OpenVINO falls back to a stub of its own.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino as ov  # noqa: E402
from openvino import opset13 as op  # noqa: E402

# Inputs that share a scale in 8 bits; fewer are more exact and slower.
_GROUP = 128
_ACTIVATIONS = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


class BertEncoder:
    """A sentence encoder read from a sentence-transformers or transformers folder.

    Args:
        precision: "f32" to compute exactly; by default, as fast as is exact enough.

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
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(_GROUP),
        }
        if precision:
            options["INFERENCE_PRECISION_HINT"] = precision
        with _own_signal_stack():
            self._model = ov.Core().compile_model(graph, "CPU", options)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        # By length, so that neighbours share a shape, for which the kernels are then at hand.
        order = sorted(range(len(texts)), key=lambda row: len(encodings[row].ids))

        def encode_each(rows: Sequence[int]) -> None:
            request = self._model.create_infer_request()
            for row in rows:
                vectors[row] = request.infer([np.array([encodings[row].ids], np.int64)])[0][0]

        # Not OpenVINO's queue of requests with callbacks: it can abort or hang a process that ends.
        streams = min(self._streams, len(texts))
        if streams <= 1:
            encode_each(order)
        else:
            with ThreadPoolExecutor(streams) as pool:
                list(pool.map(encode_each, [order[each::streams] for each in range(streams)]))
        return vectors

    def tokens(self, texts: Sequence[str]) -> int:
        return sum(len(each.ids) for each in self._tokenizer.encode_batch_fast(list(texts)))


class _SignalStack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def _own_signal_stack() -> Iterator[None]:
    """Give this thread back the stack for signals that it had before.

    OpenVINO puts one of its own in its place and frees it with the last model. A signal that came
    later, as Ctrl-C does, would be handled on memory that is no longer there.
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
    """The encoder as a graph: token ids [1, T] to a unit vector [1, hidden].

    Args:
        weights: a BERT checkpoint's tensors by name, with or without the prefix `bert.`.
        config: its config.json.
        pooling: "mean" over tokens, or "cls" for the first token's state.
        quantize: keep the feed-forward layers in 8 bits.
    """
    bert = _Weights({name.removeprefix("bert."): value for name, value in weights.items()})
    heads, epsilon = int(config["num_attention_heads"]), float(config["layer_norm_eps"])
    activation = _ACTIVATIONS[config["hidden_act"]]
    ids = op.parameter([1, -1], np.int64, name="ids")
    state = _embed(ids, bert, epsilon)
    for layer in range(int(config["num_hidden_layers"])):
        weight = bert.under(f"encoder.layer.{layer}.")
        attended = _attend(state, weight, heads)
        state = _normalise(
            op.add(state, attended), weight.under("attention.output.LayerNorm."), epsilon
        )
        inner = op.gelu(_linear(state, weight.under("intermediate.dense."), quantize), activation)
        outer = _linear(inner, weight.under("output.dense."), quantize)
        state = _normalise(op.add(state, outer), weight.under("output.LayerNorm."), epsilon)
    if pooling == "cls":
        pooled = op.gather(state, op.constant(0, np.int64), op.constant(1, np.int64))
    else:
        pooled = op.reduce_mean(state, op.constant([1], np.int64), keep_dims=False)
    unit = op.normalize_l2(pooled, op.constant([1], np.int64), 1e-12, "max")
    return ov.Model([unit], [ids], "encoder")


class _Weights:
    """Tensors of a checkpoint below a prefix."""

    def __init__(self, tensors: Mapping[str, NDArray[np.float32]], prefix: str = "") -> None:
        self._tensors, self._prefix = tensors, prefix

    def under(self, prefix: str) -> _Weights:
        return _Weights(self._tensors, self._prefix + prefix)

    def __getitem__(self, name: str) -> Any:
        return op.constant(self.array(name))

    def array(self, name: str) -> NDArray[np.float32]:
        try:
            return self._tensors[self._prefix + name].astype(np.float32)
        except KeyError:
            raise ModelError(
                f"the weights lack '{self._prefix}{name}'", fix="Is it a BERT checkpoint?"
            ) from None


def _embed(ids: Any, bert: _Weights, epsilon: float) -> Any:
    axis = op.constant(0, np.int64)
    words = op.gather(bert["embeddings.word_embeddings.weight"], ids, axis)
    length = op.gather(op.shape_of(ids), op.constant(1, np.int64), axis)
    steps = op.range(axis, length, op.constant(1, np.int64), "i64")
    places = op.gather(bert["embeddings.position_embeddings.weight"], steps, axis)
    # A single text is all of the first segment.
    kinds = op.gather(bert["embeddings.token_type_embeddings.weight"], axis, axis)
    summed = op.add(op.add(words, places), kinds)
    return _normalise(summed, bert.under("embeddings.LayerNorm."), epsilon)


def _attend(state: Any, weight: _Weights, heads: int) -> Any:
    """Multi-head self-attention over an unpadded sequence, so without a mask."""

    def split(name: str) -> Any:
        projected = _linear(state, weight.under(f"attention.self.{name}."))
        shape = op.constant([0, 0, heads, -1], np.int64)
        return op.transpose(
            op.reshape(projected, shape, special_zero=True), op.constant([0, 2, 1, 3], np.int64)
        )

    mixed = op.scaled_dot_product_attention(split("query"), split("key"), split("value"))
    joined = op.reshape(
        op.transpose(mixed, op.constant([0, 2, 1, 3], np.int64)),
        op.constant([0, 0, -1], np.int64),
        special_zero=True,
    )
    return _linear(joined, weight.under("attention.output.dense."))


def _linear(state: Any, weight: _Weights, quantize: bool = False) -> Any:
    matrix = weight.array("weight")
    exact = not quantize or matrix.shape[1] % _GROUP
    factor = op.constant(matrix) if exact else _quantized(matrix)
    return op.add(op.matmul(state, factor, False, True), weight["bias"])


def _quantized(matrix: NDArray[np.float32]) -> Any:
    """A matrix [out, in] in 8 bits with a scale for each group of inputs.

    Where OpenVINO finds this pattern, it rounds the other factor by the same groups as it goes and
    multiplies integers.
    """
    grouped = matrix.reshape(len(matrix), -1, _GROUP)
    scale = np.maximum(np.abs(grouped).max(axis=2, keepdims=True) / 127, 1e-12)
    rounded = op.convert(op.constant(np.round(grouped / scale).astype(np.int8)), "f32")
    shape = op.constant(np.array(matrix.shape), np.int64)
    return op.reshape(op.multiply(rounded, op.constant(scale)), shape, special_zero=False)


def _normalise(state: Any, weight: _Weights, epsilon: float) -> Any:
    centred = op.mvn(state, op.constant([-1], np.int64), True, epsilon, "inside_sqrt")
    return op.add(op.multiply(centred, weight["weight"]), weight["bias"])


def _pooling(folder: Path) -> str:
    modes = read_json(folder / "1_Pooling" / "config.json") or {}
    return "cls" if modes.get("pooling_mode_cls_token") else "mean"


def _max_tokens(folder: Path, config: Mapping[str, Any]) -> int:
    """How much the encoder was trained to read, which can be less than it has positions for."""
    trained = (read_json(folder / "sentence_bert_config.json") or {}).get("max_seq_length")
    positions = int(config["max_position_embeddings"])
    return min(trained or positions, positions)
