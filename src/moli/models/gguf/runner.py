"""GGUF models on the generation engine: its rows are sequences in a context of llama.cpp."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moli.models.gguf.model import Model, library, reason
from moli.models.hardware.memory import available_memory
from moli.models.protocols.kv_cache import Growing
from moli.models.protocols.runner import Span
from moli.models.weights.gguf_file import resolve_gguf_file
from moli.models.weights.lora import Adapter
from moli.records.errors import ModelError

_F32 = 0  # as ggml numbers types, and llama.cpp kinds of files
_TOKENS = 640  # in a pass; a step of the engine reads a few more than 512
_FIRST = 2048  # cells that a context begins with at most

# [4, T]: ids of tokens, their places in their sequences, the numbers of these, and 1 for a token
# after which the next is to be predicted.
Tokens = NDArray[np.int32]


class Context:
    """A context of llama.cpp in which all sequences share the cells for keys and values.

    Args:
        cells: tokens of all sequences.
        sequences: numbered from 0.

    Raises:
        ModelError: there is no memory for it.
    """

    def __init__(self, model: Model, cells: int, sequences: int) -> None:
        self._model, self._llama = model, model.llama
        options = self._llama.llama_context_default_params()
        options.n_ctx, options.n_seq_max, options.kv_unified = cells, sequences, True
        options.n_batch = options.n_ubatch = _TOKENS
        options.n_outputs_max = sequences
        options.n_threads = options.n_threads_batch = torch.get_num_threads()
        if self._llama.llama_model_ftype(model.pointer) == _F32:  # as exact as its weights
            options.type_k = options.type_v = _F32
            # The fused attention would round keys and values to 16 bits.
            options.flash_attn_type = self._llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.pointer = self._llama.llama_init_from_model(model.pointer, options)
        if not self.pointer:
            raise ModelError(
                f"llama.cpp cannot hold {options.n_ctx:,} tokens of it ({reason()})",
                where=str(model.file),
                fix="Free memory, or use a file with fewer bits.",
            )
        weakref.finalize(self, _free, self.pointer, model).atexit = False  # as there
        self.memory = self._llama.llama_get_memory(self.pointer)
        self.cells = int(self._llama.llama_n_ctx(self.pointer))
        self._most = int(self._llama.llama_n_batch(self.pointer))
        self._words = int(self._llama.llama_vocab_n_tokens(model.vocabulary))

    def read(self, tokens: Tokens) -> NDArray[np.float32]:
        """Read tokens: logits [asked, V] of those that ask.

        Raises:
            ModelError: llama.cpp fails.
        """
        starts = range(0, tokens.shape[1], self._most)
        return np.concatenate([self._pass(tokens[:, at : at + self._most]) for at in starts])

    def _pass(self, tokens: Tokens) -> NDArray[np.float32]:
        ids, places, numbers, _ = tokens
        asked = tokens[3].astype(np.int8)
        # Each token has a list of its sequences, here of one.
        counts = np.ones(len(ids), np.int32)
        lists = (numbers.ctypes.data + numbers.itemsize * np.arange(len(ids))).astype(np.uintp)
        whole = ctypes.POINTER(ctypes.c_int32)
        batch = self._llama.llama_batch(
            n_tokens=len(ids),
            token=ids.ctypes.data_as(whole),
            pos=places.ctypes.data_as(whole),
            n_seq_id=counts.ctypes.data_as(whole),
            seq_id=lists.ctypes.data_as(ctypes.POINTER(whole)),
            logits=asked.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )
        if status := self._llama.llama_decode(self.pointer, batch):
            raise ModelError(
                f"llama.cpp failed with status {status} ({reason()})",
                where=str(self._model.file),
                fix="Try again; if it keeps failing, use another file.",
            )
        shape = int(asked.sum()), self._words
        if not shape[0]:
            return np.empty(shape, np.float32)
        # The memory behind it is written to by the next pass.
        return np.ctypeslib.as_array(self._llama.llama_get_logits(self.pointer), shape).copy()

    def saved(self) -> Any:
        """All that was read, for `restore` of another context."""
        data = (ctypes.c_uint8 * self._llama.llama_state_get_size(self.pointer))()
        self._llama.llama_state_get_data(self.pointer, data, len(data))
        return data

    def restore(self, data: Any) -> None:
        if not self._llama.llama_state_set_data(self.pointer, data, len(data)):
            raise ModelError(
                f"llama.cpp cannot restore what was read ({reason()})",
                where=str(self._model.file),
                fix="Try again.",
            )


def _free(context: Any, model: Model) -> None:
    model.llama.llama_free(context)  # and only then the model, which it uses


class Sequences(Growing):
    """What rows have read.

    A slot stands for a sequence, so that rows change places by changing their numbers, and a
    beginning that is copied is the same cells once more. There are as many cells as are needed,
    since llama.cpp writes to all of them at once.
    """

    def __init__(self, model: Model, slots: int, most: int, room: int | None) -> None:
        self._model, self._llama = model, model.llama
        self._context: Context | None = None
        self._numbers: list[int] = []  # of sequences, by slot
        self._lengths: list[int] = []  # of sequences
        super().__init__(min(slots, self._llama.llama_max_parallel_sequences()), most, room)

    def read(self, spans: Sequence[Span]) -> torch.Tensor:
        """Read tokens of rows; see `ModelRunner.run`."""
        parts = []
        for each in spans:
            number, length = self._numbers[each.slot], len(each.ids)
            self._shorten(number, each.start)
            self._lengths[number] = each.start + length
            part = np.zeros((4, length), np.int32)
            part[0], part[1] = each.ids, range(each.start, each.start + length)
            part[2], part[3, -1] = number, each.asked
            parts.append(part)
        self._widen(sum(self._lengths))
        return torch.from_numpy(self._there.read(np.concatenate(parts, axis=1)))

    def usable(self, slot: int, length: int) -> bool:
        number = self._numbers[slot]
        # Of layers that see only a window, and of recurrent ones, what is long past is not kept.
        first = self._llama.llama_memory_seq_pos_min(self._there.memory, number)
        return bool(length == self._lengths[number] or first == 0)

    def copy(self, source: int, target: int, length: int) -> None:
        one, other = self._numbers[source], self._numbers[target]
        self._shorten(other, 0)
        if length:
            self._llama.llama_memory_seq_cp(self._there.memory, one, other, 0, length)
        self._lengths[other] = length

    def swap(self, one: int, other: int, length: int) -> None:  # noqa: ARG002 - nothing moves
        numbers = self._numbers
        numbers[one], numbers[other] = numbers[other], numbers[one]

    def _shorten(self, number: int, length: int) -> None:
        """Leave so many of a sequence's tokens at most."""
        if self._lengths[number] > length:
            self._llama.llama_memory_seq_rm(self._there.memory, number, length, -1)
            self._lengths[number] = length

    def _widen(self, cells: int) -> None:
        if cells > self._there.cells:
            most = self.slots * self.places
            saved, cells = self._there.saved(), min(max(cells, 2 * self._there.cells), most)
            self._context = None  # its memory is free before other memory is taken
            self._context = Context(self._model, cells, self._most_slots)
            self._context.restore(saved)

    def _grow(self) -> None:
        for number in self._numbers[self.slots :]:
            self._shorten(number, 0)
        del self._numbers[self.slots :]

    def _empty(self) -> None:
        self._numbers, self._lengths = list(range(self.slots)), [0] * self._most_slots
        if self._context and self._context.cells <= _FIRST:
            self._llama.llama_memory_clear(self._context.memory, False)
        else:
            cells = max(min(_FIRST, self.slots * self.places), 1)
            self._context = None
            self._context = Context(self._model, cells, self._most_slots)

    @property
    def _there(self) -> Context:
        assert self._context is not None  # noqa: S101 - but for a moment, while one is made
        return self._context


class LlamaCppRunner:
    """A model whose passes are llama.cpp's; see `ModelRunner`."""

    lanes = 0
    dtype = torch.float32

    def __init__(self, model: Model) -> None:
        self._model, self._llama = model, model.llama
        self.stop_token_ids = model.ends
        self.kv_bytes_per_token = _place_bytes(model)

    def free_memory(self) -> int:
        if self._llama.llama_supports_gpu_offload() and torch.cuda.is_available():
            return int(torch.cuda.mem_get_info()[0])
        # Weights that are mapped from their file count as memory that others may take.
        return max(available_memory() - int(self._llama.llama_model_size(self._model.pointer)), 0)

    def cache(self, slots: int, most: int, room: int | None) -> Sequences:
        return Sequences(self._model, slots, most, room)

    def run(self, spans: Sequence[Span], cache: Sequences) -> torch.Tensor:
        return cache.read(spans)

    def check(self, adapter: Adapter) -> None:
        raise ModelError(
            "a GGUF file takes no adapters: llama.cpp has the same for all rows of a batch",
            where=adapter.name,
            fix="Serve it on the base that it was trained on, or merge it (moli models export "
            "NAME FOLDER --merge) and convert that.",
        )

    def write(self, lane: int, adapter: Adapter) -> None:  # noqa: ARG002 - there are no lanes
        self.check(adapter)

    def update_weights(self, weights: Mapping[str, torch.Tensor]) -> None:  # noqa: ARG002
        raise ModelError(
            "the weights of a GGUF file cannot be changed",
            where=str(self._model.file),
            fix="Name the folder or the name on the hub that it was made from.",
        )


def load_llama_cpp_runner(name: str) -> LlamaCppRunner:
    """The model of `gguf:NAME`.

    Raises:
        ModelError: the file is missing, unreadable or larger than memory, or generates no text.
    """
    file = resolve_gguf_file(name)
    size, free = file.stat().st_size, available_memory()
    if size > free and not library().llama_supports_gpu_offload():
        raise ModelError(
            f"it needs {size / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free",
            where=f"gguf:{name}",
            fix="Free memory, or use a file with fewer bits.",
        )
    return LlamaCppRunner(Model(file))


def _place_bytes(model: Model) -> int:
    """Memory of a token's keys and values: by how much a sequence of two is larger than of one.

    Raises:
        ModelError: the model does not write.
    """
    llama, pointer = model.llama, model.pointer
    odd = llama.llama_model_has_encoder(pointer) or llama.llama_model_is_diffusion(pointer)
    context = None if odd else Context(model, _FIRST, 1)
    if context is None or not context.memory:
        raise ModelError(
            "not a causal language model",
            where=str(model.file),
            fix="Name a language model.",
        )
    sizes = []
    for place in range(2):
        context.read(np.array([[0], [place], [0], [0]], np.int32))
        sizes.append(int(llama.llama_state_seq_get_size(context.pointer, 0)))
    return max(sizes[1] - sizes[0], 1)
