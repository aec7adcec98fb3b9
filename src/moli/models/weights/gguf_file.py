"""GGUF files, checked before llama.cpp loads them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from moli.records.errors import ModelError

_MAGIC = b"GGUF"


def resolve_gguf_file(name: str) -> Path:
    """The path of `gguf:NAME`, after a check that it is a GGUF file and can be run.

    Raises:
        ModelError: there is no such file, it is of another format, or llama-cpp-python is not
            installed.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise ModelError(what, where=f"gguf:{name}", fix="Name the .gguf file itself.")
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ModelError(
                "not a GGUF file",
                where=f"gguf:{name}",
                fix="Name one, or make one with llama.cpp's convert_hf_to_gguf.py.",
            )
    if importlib.util.find_spec("llama_cpp") is None:
        raise ModelError(
            "llama-cpp-python, which runs GGUF files, is not installed",
            where=f"gguf:{name}",
            fix="Run: pip install 'moli[gguf]' (this compiles it for a few minutes and needs a "
            "C++ compiler).",
        )
    return path
