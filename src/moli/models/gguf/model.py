"""GGUF files as llama.cpp loads them, through llama-cpp-python."""

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

_ERROR = 4  # the log level of errors, as ggml numbers them
_errors: deque[str] = deque(maxlen=20)  # the last errors that llama.cpp logged
_log_callbacks: list[Any] = []  # kept, since llama.cpp's reference does not keep them alive


def load_llama_cpp() -> Any:
    """Import llama.cpp's functions; its log is dropped, except for `last_error`.

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
        if not _log_callbacks:
            _log_callbacks.append(llama.llama_log_callback(_record_error))
            llama.llama_log_set(_log_callbacks[0], None)
            llama.llama_backend_init()
        return llama


def _record_error(level: int, text: bytes, _: Any) -> None:
    """Callback for llama.cpp's log: keep the errors."""
    if level == _ERROR:
        _errors.append(text.decode("utf-8", "replace").strip())


def last_error() -> str:
    """The first error that llama.cpp has logged since the last call of this function.

    Later errors are usually consequences of the first.
    """
    errors = list(_errors)
    _errors.clear()
    return errors[0].partition(": ")[2] or errors[0] if errors else "it gives no reason"


class GgufModel:
    """A file that llama.cpp has loaded; it is freed with this object.

    Args:
        vocabulary_only: whether to load the tokenizer without the weights.

    Attributes:
        llama: llama.cpp's functions.
        pointer, vocabulary: pointers that llama.cpp's functions take.

    Raises:
        ModelError: llama.cpp does not know this kind of model, or the file is damaged.
    """

    def __init__(self, file: Path, *, vocabulary_only: bool = False) -> None:
        self.file, self.llama = file, load_llama_cpp()
        options = self.llama.llama_model_default_params()
        options.vocab_only = vocabulary_only
        with transformers_lock:
            _errors.clear()
            self.pointer = self.llama.llama_model_load_from_file(os.fsencode(file), options)
            if not self.pointer:
                raise ModelError(
                    f"llama.cpp cannot load it ({last_error()})",
                    where=str(file),
                    fix="Download or convert it again; a new kind of model may need a newer "
                    "llama-cpp-python.",
                )
        # At the end of the process a pass may be under way in another thread: nothing is freed.
        weakref.finalize(self, self.llama.llama_model_free, self.pointer).atexit = False
        self.vocabulary = self.llama.llama_model_get_vocab(self.pointer)

    def metadata(self, key: str) -> str:
        """A value of the file's metadata, such as general.architecture; "" if there is none."""
        read_value = self.llama.llama_model_meta_val_str
        length = read_value(self.pointer, key.encode(), None, 0)
        if length < 0:
            return ""
        text = ctypes.create_string_buffer(length + 1)
        read_value(self.pointer, key.encode(), text, len(text))
        return text.value.decode("utf-8", "replace")

    @property
    def stop_token_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        is_stop = self.llama.llama_vocab_is_eog
        count = self.llama.llama_vocab_n_tokens(self.vocabulary)
        return frozenset(each for each in range(count) if is_stop(self.vocabulary, each))
