"""GGUF models on the generation engine, whose sequences share a context of llama.cpp."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moli.models.gguf.model import GgufModel, last_error, load_llama_cpp
from moli.models.hardware.memory import available_memory
from moli.models.hardware.probe import free_memory
from moli.models.protocols.kv_cache import KVCache
from moli.models.protocols.runner import ScheduledChunk
from moli.models.weights.gguf_file import resolve_gguf_file
from moli.models.weights.lora import LoraAdapter
from moli.records.errors import ModelError

_F32 = 0  # as ggml numbers types, and llama.cpp kinds of files
_BATCH_TOKENS = 640  # in a pass; a step of the engine reads a few more than 512
_FIRST_CELLS = 2048  # that a context begins with at most

# [4, T]: token ids, their positions, the numbers of their sequences, and 1 for a token that needs
# logits.
TokenTable = NDArray[np.int32]


class LlamaContext:
    """A context of llama.cpp in which all sequences share the cells for keys and values.

    Args:
        cells: tokens of all sequences.
        sequences: number of sequences; they are numbered from 0.

    Raises:
        ModelError: there is not enough memory.
    """

    def __init__(self, model: GgufModel, cells: int, sequences: int) -> None:
        self._model, self._llama = model, model.llama
        options = self._llama.llama_context_default_params()
        options.n_ctx, options.n_seq_max, options.kv_unified = cells, sequences, True
        options.n_batch = options.n_ubatch = _BATCH_TOKENS
        options.n_outputs_max = sequences
        options.n_threads = options.n_threads_batch = torch.get_num_threads()
        if self._llama.llama_model_ftype(model.pointer) == _F32:  # as exact as its weights
            options.type_k = options.type_v = _F32
            # The fused attention would round keys and values to 16 bits.
            options.flash_attn_type = self._llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.pointer = self._llama.llama_init_from_model(model.pointer, options)
        if not self.pointer:
            raise ModelError(
                f"llama.cpp cannot hold {options.n_ctx:,} tokens of it ({last_error()})",
                where=str(model.file),
                fix="Free memory, or use a file with fewer bits.",
            )
        # Not at the end of the process, as for the model.
        weakref.finalize(self, _free_context, self.pointer, model).atexit = False
        self.memory = self._llama.llama_get_memory(self.pointer)
        self.cells = int(self._llama.llama_n_ctx(self.pointer))
        self._batch_tokens = int(self._llama.llama_n_batch(self.pointer))
        self._vocabulary_size = int(self._llama.llama_vocab_n_tokens(model.vocabulary))

    def read(self, tokens: TokenTable) -> NDArray[np.float32]:
        """Compute keys and values of tokens, and return logits [tokens that need them, V].
        Raises:
            ModelError: llama.cpp fails.
        """
        starts = range(0, tokens.shape[1], self._batch_tokens)
        batches = [tokens[:, start : start + self._batch_tokens] for start in starts]
        return np.concatenate([self._read_batch(batch) for batch in batches])

    def _read_batch(self, tokens: TokenTable) -> NDArray[np.float32]:
        """The same as `read`, for tokens that fit into one pass of llama.cpp."""
        token_ids, positions, sequences, _ = tokens
        needs_logits = tokens[3].astype(np.int8)
        # llama.cpp has a list of sequences for each token, here of one.
        counts = np.ones(len(token_ids), np.int32)
        lists = (sequences.ctypes.data + sequences.itemsize * np.arange(len(token_ids))).astype(
            np.uintp
        )
        int_pointer = ctypes.POINTER(ctypes.c_int32)
        batch = self._llama.llama_batch(
            n_tokens=len(token_ids),
            token=token_ids.ctypes.data_as(int_pointer),
            pos=positions.ctypes.data_as(int_pointer),
            n_seq_id=counts.ctypes.data_as(int_pointer),
            seq_id=lists.ctypes.data_as(ctypes.POINTER(int_pointer)),
            logits=needs_logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )
        if status := self._llama.llama_decode(self.pointer, batch):
            raise ModelError(
                f"llama.cpp failed with status {status} ({last_error()})",
                where=str(self._model.file),
                fix="Try again; if it keeps failing, use another file.",
            )
        shape = int(needs_logits.sum()), self._vocabulary_size
        if not shape[0]:
            return np.empty(shape, np.float32)
        # The memory behind it is written to by the next pass.
        return np.ctypeslib.as_array(self._llama.llama_get_logits(self.pointer), shape).copy()

    def save_state(self) -> Any:
        """All keys and values, to be restored in another context."""
        data = (ctypes.c_uint8 * self._llama.llama_state_get_size(self.pointer))()
        self._llama.llama_state_get_data(self.pointer, data, len(data))
        return data

    def restore_state(self, data: Any) -> None:
        """Take the keys and values that another context saved.

        Raises:
            ModelError: llama.cpp fails.
        """
        if not self._llama.llama_state_set_data(self.pointer, data, len(data)):
            raise ModelError(
                f"llama.cpp cannot restore what was read ({last_error()})",
                where=str(self._model.file),
                fix="Try again.",
            )


def _free_context(pointer: Any, model: GgufModel) -> None:
    """Free a context; the unused `model` argument keeps the model alive until then."""
    model.llama.llama_free(pointer)


class LlamaCppKVCache(KVCache):
    """The keys and values of sequences, in a context of llama.cpp.

    A slot stands for a sequence of llama.cpp, so that slots are swapped by swapping the numbers of
    their sequences, and a copied prefix shares its cells with the original. There are as many cells
    as are needed, since llama.cpp writes to all of them at once.
    """

    def __init__(
        self, model: GgufModel, max_slots: int, max_model_len: int, max_tokens: int | None
    ) -> None:
        self._model, self._llama = model, model.llama
        self._current_context: LlamaContext | None = None
        self._sequences: list[int] = []  # number of the sequence in each slot
        self._lengths: list[int] = []  # tokens of each sequence, by its number
        limit = self._llama.llama_max_parallel_sequences()
        super().__init__(min(max_slots, limit), max_model_len, max_tokens)

    def read(self, chunks: Sequence[ScheduledChunk]) -> torch.Tensor:
        """Compute new tokens of sequences; the logits of the chunks that need them, in float32."""
        tables = []
        for chunk in chunks:
            sequence, count = self._sequences[chunk.cache_slot], len(chunk.token_ids)
            self._truncate(sequence, chunk.start)
            self._lengths[sequence] = chunk.start + count
            table = np.zeros((4, count), np.int32)
            table[0], table[1] = chunk.token_ids, range(chunk.start, chunk.start + count)
            table[2], table[3, count - chunk.num_logits :] = sequence, 1
            tables.append(table)
        self._reserve_cells(sum(self._lengths))
        return torch.from_numpy(self._context.read(np.concatenate(tables, axis=1)))

    def can_reuse(self, slot: int, length: int) -> bool:
        """Whether llama.cpp still has the first `length` tokens of a slot."""
        sequence = self._sequences[slot]
        # Layers that see only a window, and recurrent ones, do not keep what is long past.
        first = self._llama.llama_memory_seq_pos_min(self._context.memory, sequence)
        return bool(length == self._lengths[sequence] or first == 0)

    def copy(self, source: int, target: int, length: int) -> None:
        """Have the target's sequence share the cells of the source's first `length` tokens."""
        original, copied = self._sequences[source], self._sequences[target]
        self._truncate(copied, 0)
        if length:
            self._llama.llama_memory_seq_cp(self._context.memory, original, copied, 0, length)
        self._lengths[copied] = length

    def swap(self, first: int, second: int, length: int) -> None:  # noqa: ARG002 - nothing moves
        """Exchange the sequences of two slots."""
        sequences = self._sequences
        sequences[first], sequences[second] = sequences[second], sequences[first]

    def _truncate(self, sequence: int, length: int) -> None:
        """Drop the tokens of a sequence after the first `length`."""
        if self._lengths[sequence] > length:
            self._llama.llama_memory_seq_rm(self._context.memory, sequence, length, -1)
            self._lengths[sequence] = length

    def _reserve_cells(self, cells: int) -> None:
        """Move everything to a larger context if this one has fewer cells."""
        if cells > self._context.cells:
            limit = self.slots * self.slot_length
            state, cells = self._context.save_state(), max(cells, 2 * self._context.cells)
            self._current_context = None  # its memory is free before other memory is taken
            self._current_context = LlamaContext(self._model, min(cells, limit), self._max_slots)
            self._current_context.restore_state(state)

    def _resize(self) -> None:
        """Drop the sequences of slots that no longer exist."""
        for sequence in self._sequences[self.slots :]:
            self._truncate(sequence, 0)
        del self._sequences[self.slots :]

    def _reset(self) -> None:
        """Drop all sequences; a large context is replaced by a small one."""
        self._sequences, self._lengths = list(range(self.slots)), [0] * self._max_slots
        context = self._current_context
        if context and context.cells <= _FIRST_CELLS:
            self._llama.llama_memory_clear(context.memory, False)
        else:
            cells = max(min(_FIRST_CELLS, self.slots * self.slot_length), 1)
            context = self._current_context = None  # as in `_reserve_cells`
            self._current_context = LlamaContext(self._model, cells, self._max_slots)

    @property
    def _context(self) -> LlamaContext:
        """The current context; there is none only for a moment, while another one is made."""
        assert self._current_context is not None  # noqa: S101
        return self._current_context


class LlamaCppRunner:
    """A `ModelRunner` whose passes are computed by llama.cpp."""

    adapter_slots = 0
    dtype = torch.float32

    def __init__(self, model: GgufModel) -> None:
        self._model, self._llama = model, model.llama
        self.stop_token_ids = model.stop_token_ids
        self.kv_bytes_per_token = _kv_bytes_per_token(model)

    def free_memory(self) -> int:
        """Bytes still available on the model's device."""
        if self._llama.llama_supports_gpu_offload() and torch.cuda.is_available():
            return free_memory()
        # Weights that are mapped from their file count as memory that others may take.
        return max(available_memory() - int(self._llama.llama_model_size(self._model.pointer)), 0)

    def make_cache(
        self, max_slots: int, max_model_len: int, max_tokens: int | None
    ) -> LlamaCppKVCache:
        """Make an empty KV cache for the model; the arguments are those of `KVCache`."""
        return LlamaCppKVCache(self._model, max_slots, max_model_len, max_tokens)

    def run(self, chunks: Sequence[ScheduledChunk], cache: LlamaCppKVCache) -> torch.Tensor:
        """Run one pass; the next-token logits of the chunks that need them, in float32."""
        return cache.read(chunks)

    def check_adapter(self, adapter: LoraAdapter) -> None:
        """Raise a ModelError: llama.cpp cannot use an adapter for some rows of a batch only."""
        raise ModelError(
            "a GGUF file takes no adapters: llama.cpp has the same for all rows of a batch",
            where=adapter.name,
            fix="Serve it on the base that it was trained on, or merge it (moli models export "
            "NAME FOLDER --merge) and convert that.",
        )

    def load_adapter(self, adapter_slot: int, adapter: LoraAdapter) -> None:  # noqa: ARG002
        """Raise a ModelError, as `check_adapter` does."""
        self.check_adapter(adapter)

    def update_weights(self, weights: Mapping[str, torch.Tensor]) -> None:  # noqa: ARG002
        """Raise a ModelError: a file's weights are fixed."""
        raise ModelError(
            "the weights of a GGUF file cannot be changed",
            where=str(self._model.file),
            fix="Name the folder or the name on the hub that it was made from.",
        )


def load_llama_cpp_runner(name: str) -> LlamaCppRunner:
    """Load the model of `gguf:NAME`.

    Raises:
        ModelError: the file is missing, unreadable or larger than memory, or generates no text.
    """
    file = resolve_gguf_file(name)
    size, free = file.stat().st_size, available_memory()
    if size > free and not load_llama_cpp().llama_supports_gpu_offload():
        raise ModelError(
            f"it needs {size / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free",
            where=f"gguf:{name}",
            fix="Free memory, or use a file with fewer bits.",
        )
    return LlamaCppRunner(GgufModel(file))


def _kv_bytes_per_token(model: GgufModel) -> int:
    """Memory of a token's keys and values: how much larger a state of two tokens is than of one.

    Raises:
        ModelError: the model does not generate text.
    """
    llama, pointer = model.llama, model.pointer
    is_other = llama.llama_model_has_encoder(pointer) or llama.llama_model_is_diffusion(pointer)
    context = None if is_other else LlamaContext(model, _FIRST_CELLS, 1)
    if context is None or not context.memory:
        raise ModelError(
            "not a causal language model",
            where=str(model.file),
            fix="Name a language model.",
        )
    sizes = []
    for position in range(2):
        context.read(np.array([[0], [position], [0], [0]], np.int32))
        sizes.append(int(llama.llama_state_seq_get_size(context.pointer, 0)))
    return max(sizes[1] - sizes[0], 1)
