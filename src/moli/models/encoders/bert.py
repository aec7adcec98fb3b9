"""Sentence encoders in the shape of BERT or RoBERTa (MiniLM, BGE, E5, ...) as an OpenVINO graph.

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
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moli.models.encoders.encoder_files import EncoderFiles, has_offset_positions
from moli.models.hardware.openvino import op, ov
from moli.models.protocols.encoder import Role
from moli.models.weights.mapped_tensors import MappedTensors
from moli.records.errors import ModelError

# Inputs that share a scale in 8 bits; fewer are more precise and slower.
_GROUP_SIZE = 128
# Kernels that are kept for the lengths of earlier texts: a length takes about a megabyte of them.
_CACHED_KERNELS = 100
# OpenVINO's approximations of GELU, by the names in config.json.
_GELU_MODES = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
_WEIGHTS = "model.safetensors"
_PREFIX = re.compile(r"^(bert|roberta)\.")
# Linear layers that are kept in 8 bits, by their place in a layer of the encoder.
_FEED_FORWARD = frozenset({"intermediate.dense.", "output.dense."})
_ATTENTION = frozenset(
    {
        *(f"attention.self.{name}." for name in ("query", "key", "value")),
        "attention.output.dense.",
    }
)


def is_bert_shaped(files: EncoderFiles) -> bool:
    """Whether `BertEncoder` computes what an encoder's files ask for."""
    return (
        files.model_type in ("bert", "roberta", "xlm-roberta", "camembert")
        and files.config.get("position_embedding_type", "absolute") == "absolute"
        and files.config.get("hidden_act") in _GELU_MODES
        and files.pooling in ("mean", "cls")
        and files.pools_prompt
        and not files.dense
        and (files.folder / _WEIGHTS).is_file()
    )


class BertEncoder:
    """A sentence encoder read from a sentence-transformers or transformers folder.

    Args:
        files: the files of an encoder that `is_bert_shaped`.
        name: the model reference.
        precision: "f32" to compute in full precision; by default, OpenVINO uses the fastest type
            and 8 bits, which is precise enough.
        quantize_attention: whether the attention's layers are in 8 bits too, by default.

    Raises:
        ModelError: the weights are incomplete.
    """

    def __init__(
        self,
        files: EncoderFiles,
        *,
        name: str,
        precision: str = "",
        quantize_attention: bool = False,
    ) -> None:
        self.name = name
        self.dimensions = int(files.config["hidden_size"])
        self.reads_chinese = files.reads_chinese
        self._files = files
        self._weights = MappedTensors(files.folder / _WEIGHTS)
        self._words = _word_embeddings(self._weights)
        in_8_bits = frozenset() if precision else _FEED_FORWARD
        if quantize_attention and not precision:
            in_8_bits |= _ATTENTION
        graph = sentence_graph(self._weights, files.config, files.pooling, in_8_bits=in_8_bits)
        self._streams = os.cpu_count() or 1
        options: dict[str, Any] = {
            "NUM_STREAMS": str(self._streams),
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(_GROUP_SIZE),
            "CPU_RUNTIME_CACHE_CAPACITY": str(_CACHED_KERNELS),
        }
        if precision:
            options["INFERENCE_PRECISION_HINT"] = precision
        with _restored_signal_stack():
            self._model = ov.Core().compile_model(graph, "CPU", options)

    def encode(self, texts: Sequence[str], role: Role = "text") -> NDArray[np.float32]:
        """Unit vectors [len(texts), dimensions], in the order of `texts`."""
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        token_ids = self._files.token_ids(texts, role)
        # Sorted by length: the next text often has the same shape, for which kernels are compiled.
        order = sorted(range(len(texts)), key=lambda row: len(token_ids[row]))

        def encode_rows(rows: Sequence[int]) -> None:
            """Fill in the vectors of the texts with these indices."""
            request = self._model.create_infer_request()
            for row in rows:
                words = self._words[token_ids[row]].astype(np.float32)
                # The system maps the neighbors of a row that is read, and soon the whole table.
                self._weights.release_pages()
                vectors[row] = request.infer([words[None]])[0][0]

        # OpenVINO's own queue of requests can abort or hang a process that ends.
        streams = min(self._streams, len(texts))
        if streams <= 1:
            encode_rows(order)
        else:
            with ThreadPoolExecutor(streams) as pool:
                list(pool.map(encode_rows, [order[start::streams] for start in range(streams)]))
        return vectors

    def tokens(self, texts: Sequence[str], role: Role = "text") -> int:
        """Number of tokens that are read of texts, with special ones, without truncated ones."""
        return sum(map(len, self._files.token_ids(texts, role)))


def _word_embeddings(weights: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """The table of word embeddings [vocabulary, hidden].

    Raises:
        ModelError: the checkpoint lacks it.
    """
    for name, tensor in weights.items():
        if name.endswith("embeddings.word_embeddings.weight"):
            return tensor
    raise ModelError(
        "the weights lack the table of word embeddings", fix="Is it a BERT checkpoint?"
    )


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
    in_8_bits: Collection[str] = (),
) -> ov.Model:
    """Build the encoder's graph from word embeddings [1, tokens, hidden] to a unit vector.

    The table of word embeddings is not part of the graph: it is most of a multilingual encoder, and
    a text needs a few of its rows.

    Args:
        weights: tensors of a BERT checkpoint by name, with or without the prefix `bert.`.
        config: contents of config.json.
        pooling: "mean" over tokens, or "cls" for the first token's hidden state.
        in_8_bits: linear layers that are kept in 8 bits, by their place in a layer.

    Returns:
        A graph whose output is [1, hidden].

    Raises:
        ModelError: the checkpoint lacks a tensor.
    """
    bert = _Weights({_PREFIX.sub("", name): value for name, value in weights.items()})
    heads, epsilon = int(config["num_attention_heads"]), float(config["layer_norm_eps"])
    gelu_mode = _GELU_MODES[config["hidden_act"]]
    words = op.parameter([1, -1, int(config["hidden_size"])], np.float32, name="words")
    first_position = int(config["pad_token_id"]) + 1 if has_offset_positions(config) else 0
    hidden = _embed(words, bert, first_position, epsilon)
    for layer in range(int(config["num_hidden_layers"])):
        weight = bert.below(f"encoder.layer.{layer}.", in_8_bits)
        attended = _self_attention(hidden, weight, heads)
        hidden = _layer_norm(
            op.add(hidden, attended), weight.below("attention.output.LayerNorm."), epsilon
        )
        inner = op.gelu(weight.linear(hidden, "intermediate.dense."), gelu_mode)
        outer = weight.linear(inner, "output.dense.")
        hidden = _layer_norm(op.add(hidden, outer), weight.below("output.LayerNorm."), epsilon)
    if pooling == "cls":
        pooled = op.gather(hidden, op.constant(0, np.int64), op.constant(1, np.int64))
    else:
        pooled = op.reduce_mean(hidden, op.constant([1], np.int64), keep_dims=False)
    unit = op.normalize_l2(pooled, op.constant([1], np.int64), 1e-12, "max")
    return ov.Model([unit], [words], "encoder")


class _Weights:
    """The tensors of a checkpoint whose names begin with a prefix, by the rest of their names.

    Args:
        in_8_bits: linear layers that are kept in 8 bits, by the rest of their names.
    """

    def __init__(
        self,
        tensors: Mapping[str, NDArray[np.float32]],
        prefix: str = "",
        in_8_bits: Collection[str] = (),
    ) -> None:
        self._tensors, self._prefix, self._in_8_bits = tensors, prefix, in_8_bits

    def below(self, prefix: str, in_8_bits: Collection[str] = ()) -> _Weights:
        """The tensors that have a further prefix."""
        return _Weights(self._tensors, self._prefix + prefix, in_8_bits)

    def linear(self, hidden: Any, name: str) -> Any:
        """Output of a linear layer with its bias, in 8 bits if it is one of those."""
        matrix = self.array(f"{name}weight")
        in_8_bits = name in self._in_8_bits and matrix.shape[1] % _GROUP_SIZE == 0
        factor = _quantize(matrix) if in_8_bits else op.constant(matrix)
        return op.add(op.matmul(hidden, factor, False, True), self[f"{name}bias"])

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


def _embed(words: Any, bert: _Weights, first_position: int, epsilon: float) -> Any:
    """Sum of word, position and segment embeddings, normalized: [1, tokens, hidden]."""
    axis = op.constant(0, np.int64)
    length = op.gather(op.shape_of(words), op.constant(1, np.int64), axis)
    first = op.constant(first_position, np.int64)
    order = op.range(first, op.add(first, length), op.constant(1, np.int64), "i64")
    positions = op.gather(bert["embeddings.position_embeddings.weight"], order, axis)
    # All tokens of a single text are in the first segment.
    segments = op.gather(bert["embeddings.token_type_embeddings.weight"], axis, axis)
    total = op.add(op.add(words, positions), segments)
    return _layer_norm(total, bert.below("embeddings.LayerNorm."), epsilon)


def _self_attention(hidden: Any, weight: _Weights, heads: int) -> Any:
    """Multi-head self-attention over a sequence without padding, and so without a mask."""

    def project_heads(name: str) -> Any:
        """Queries, keys or values, by their name in the checkpoint: [1, heads, tokens, width]."""
        projected = weight.linear(hidden, f"attention.self.{name}.")
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
    return weight.linear(joined, "attention.output.dense.")


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
