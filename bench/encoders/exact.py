"""Encoders of every architecture, made here with random weights, against sentence-transformers.

Use: make bench-encoder    (sentence-transformers runs in an environment of its own)
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from moli.models.encoders.bert import BertEncoder, is_bert_shaped
from moli.models.encoders.encoder_files import read_encoder_files
from moli.models.encoders.transformers_encoder import TransformersEncoder
from moli.models.protocols.encoder import Encoder

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
PYTHON = HERE.parent / ".envs" / "sentence-transformers" / "bin" / "python"
SHAPE = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 160,
    "pad_token_id": 1,
}
DECODER = {"num_key_value_heads": 2, "head_dim": 16}
E5 = {"query": "query: ", "document": "passage: "}
QWEN = {"query": "Instruct: Given a question, retrieve its answer\nQuery:", "document": ""}
# Name, class of the configuration, its further options, pooling, prompts, whether they are pooled,
# and sizes of linear layers.
CASES: tuple[tuple[str, str, dict[str, Any], str, dict[str, str], bool, tuple[int, ...]], ...] = (
    ("bert, mean", "BertConfig", {}, "mean", E5, True, ()),
    ("bert, cls", "BertConfig", {}, "cls", {}, True, ()),
    ("roberta, mean", "RobertaConfig", {"type_vocab_size": 1}, "mean", {}, True, ()),
    ("xlm-roberta, mean", "XLMRobertaConfig", {"type_vocab_size": 1}, "mean", E5, True, ()),
    ("xlm-roberta, cls", "XLMRobertaConfig", {"type_vocab_size": 1}, "cls", {}, True, ()),
    ("modernbert, cls", "ModernBertConfig", {"local_attention": 32}, "cls", {}, True, ()),
    ("modernbert, mean", "ModernBertConfig", {"local_attention": 32}, "mean", E5, True, ()),
    ("qwen3, last token", "Qwen3Config", DECODER, "lasttoken", QWEN, True, ()),
    ("llama, last token", "LlamaConfig", DECODER, "lasttoken", QWEN, True, ()),
    ("mistral, weighted mean", "MistralConfig", DECODER, "weightedmean", QWEN, False, ()),
    ("bert, mean without prompt", "BertConfig", {}, "mean", QWEN, False, ()),
    ("bert, mean, two linear layers", "BertConfig", {}, "mean", {}, True, (96, 32)),
    ("bert, max", "BertConfig", {}, "max", {}, True, ()),
)


def main() -> None:
    if not PYTHON.exists():
        setup = HERE.parent / "peers" / "setup.sh"
        requirements = str(HERE / "requirements.txt")
        subprocess.run(["sh", str(setup), "sentence-transformers", requirements], check=True)
    texts = sample_texts()
    print("| encoder | runs on | largest difference of a number, queries | passages |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for number, case in enumerate(CASES):
            folder = Path(name) / str(number)
            make_encoder(folder, *case[1:])
            encoder = load_exact(folder)
            runs_on = "OpenVINO" if isinstance(encoder, BertEncoder) else "transformers"
            (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
            subprocess.run([str(PYTHON), str(HERE / "reference.py"), str(folder)], check=True)
            shown = []
            for role in ("query", "passage"):
                truth = np.load(folder / f"{role}.npy")
                shown.append(f"{np.abs(encoder.encode(texts, role) - truth).max():.1e}")
            print(f"| {case[0]} | {runs_on} | {' | '.join(shown)} |", flush=True)


def load_exact(folder: Path) -> Encoder:
    """The encoder in a folder, in full precision."""
    files = read_encoder_files(folder, str(folder))
    if is_bert_shaped(files):
        return BertEncoder(files, name=str(folder), precision="f32")
    return TransformersEncoder(files, name=str(folder))


def sample_texts() -> list[str]:
    """Lines of the documentation in both languages, short and long ones, and odd texts."""
    lines = [
        line for page in sorted(DOCS.glob("*/search.md")) for line in page.open() if line.strip()
    ]
    whole = (DOCS / "en" / "search.md").read_text(encoding="utf-8")
    return [*(line.strip() for line in lines[:60]), whole, "", "?", "emoji 😀"]


def make_encoder(
    folder: Path,
    config_class: str,
    options: dict[str, Any],
    pooling: str,
    prompts: dict[str, str],
    pools_prompt: bool,
    dense: tuple[int, ...],
) -> None:
    """Save a random encoder with its tokenizer, laid out as sentence-transformers does."""
    torch.manual_seed(0)
    is_decoder = "head_dim" in options
    tokenizer = train_tokenizer(is_decoder)
    config = getattr(transformers, config_class)(
        **SHAPE, **options, vocab_size=tokenizer.get_vocab_size()
    )
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>", "bos_token": "<s>"}
    write(
        folder / "tokenizer_config.json",
        names
        | {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": 120,
        },
    )
    write(folder / "config_sentence_transformers.json", {"prompts": prompts})
    write(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": 64,
            "pooling_mode": pooling,
            "include_prompt": pools_prompt,
        },
    )
    write(folder / "modules.json", list(modules(dense)))
    width = 64
    for number, size in enumerate(dense, 2):
        write_dense(folder / f"{number}_Dense", width, size)
        width = size


def modules(dense: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """Entries of modules.json."""
    paths = {"Transformer": "", "Pooling": "1_Pooling"}
    for kind, path in [
        *paths.items(),
        *(("Dense", f"{n}_Dense") for n in range(2, 2 + len(dense))),
    ]:
        yield {
            "idx": len(path),
            "name": kind + path,
            "path": path,
            "type": f"sentence_transformers.models.{kind}",
        }


def write_dense(folder: Path, width: int, size: int) -> None:
    """Save a random linear layer."""
    from safetensors.torch import save_file

    write(
        folder / "config.json",
        {
            "in_features": width,
            "out_features": size,
            "bias": True,
            "activation_function": "torch.nn.modules.activation.Tanh",
        },
    )
    tensors = {"linear.weight": torch.randn(size, width), "linear.bias": torch.randn(size)}
    save_file(tensors, folder / "model.safetensors")


def train_tokenizer(is_decoder: bool) -> Tokenizer:
    """A tokenizer of the documentation, with the special tokens of a decoder or an encoder."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((page.read_text() for page in DOCS.glob("*/s*.md")), trainer)
    template = "$A </s>" if is_decoder else "<s> $A </s>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def write(path: Path, value: Any) -> None:
    """Write a JSON file, in a folder that is made if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
