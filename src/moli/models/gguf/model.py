"""GGUF files: llama.cpp, which reads them, through llama-cpp-python; and a file's tokenizer.

The tokenizer is llama.cpp's own. A file names its pre-tokenizer by a keyword (`llama-bpe`,
`qwen2` and many more), and only llama.cpp knows them all.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import weakref
from collections import deque
from pathlib import Path
from typing import Any

from moli.models.weights.loading import transformers_lock
from moli.records.errors import ModelError

_ERROR = 4  # as ggml numbers what it says
_errors: deque[str] = deque(maxlen=20)  # what llama.cpp last said of them
_kept: list[Any] = []  # what llama.cpp calls, and Python would else forget


def library() -> Any:
    """The functions of llama.cpp; its log is dropped, except for `reason`.

    Raises:
        ModelError: it cannot be loaded.
    """
    with transformers_lock:
        try:
            llama: Any = importlib.import_module("llama_cpp")
        except (ImportError, OSError, RuntimeError) as error:
            raise ModelError(
                f"llama.cpp cannot be loaded ({error})",
                where="llama-cpp-python",
                fix="Reinstall it: pip install --force-reinstall --no-cache-dir llama-cpp-python.",
            ) from error
        if not _kept:
            _kept.append(llama.llama_log_callback(_hear))
            llama.llama_log_set(_kept[0], None)
            llama.llama_backend_init()
        return llama


def _hear(level: int, text: bytes, _: Any) -> None:
    if level == _ERROR:
        _errors.append(text.decode("utf-8", "replace").strip())


def reason() -> str:
    """The first error that llama.cpp has logged since the last call."""
    said = list(_errors)
    _errors.clear()
    return said[0].partition(": ")[2] or said[0] if said else "it gives no reason"


class Model:
    """A file that llama.cpp has loaded; it is freed with this object.

    Args:
        words: whether to load its tokenizer alone.

    Attributes:
        pointer, vocabulary: as llama.cpp's functions take them.

    Raises:
        ModelError: llama.cpp does not know this kind of model, or the file is damaged.
    """

    def __init__(self, file: Path, *, words: bool = False) -> None:
        self.file, self.llama = file, library()
        options = self.llama.llama_model_default_params()
        options.vocab_only = words
        with transformers_lock:
            _errors.clear()
            self.pointer = self.llama.llama_model_load_from_file(os.fsencode(file), options)
            if not self.pointer:
                raise ModelError(
                    f"llama.cpp cannot load it ({reason()})",
                    where=str(file),
                    fix="Download or convert it again; a new kind of model may need a newer "
                    "llama-cpp-python.",
                )
        # At the end of the process a pass may be under way in another thread: nothing is freed.
        weakref.finalize(self, self.llama.llama_model_free, self.pointer).atexit = False
        self.vocabulary = self.llama.llama_model_get_vocab(self.pointer)

    def said(self, key: str) -> str:
        """What the file says under a key, such as general.architecture; "" for nothing."""
        ask = self.llama.llama_model_meta_val_str
        length = ask(self.pointer, key.encode(), None, 0)
        if length < 0:
            return ""
        text = ctypes.create_string_buffer(length + 1)
        ask(self.pointer, key.encode(), text, len(text))
        return text.value.decode("utf-8", "replace")

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end an answer."""
        ends = self.llama.llama_vocab_is_eog
        count = self.llama.llama_vocab_n_tokens(self.vocabulary)
        return frozenset(each for each in range(count) if ends(self.vocabulary, each))
