"""The scheduler: which sequences are admitted, and which of their tokens the next pass reads."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from moli.models.engine.adapter_slots import AdapterSlots
from moli.models.engine.cache_slots import CacheSlots
from moli.models.engine.sequence import Sequence
from moli.models.protocols.kv_cache import KVCache
from moli.models.protocols.runner import ScheduledChunk
from moli.records.errors import ModelError
from moli.records.generation import FinishReason

_log = logging.getLogger(__name__)
_MAX_SCORED_TOKENS = 128  # of a prompt in one pass: the logits of each take memory


@dataclass(frozen=True, slots=True)
class Schedule:
    """The work of one pass.

    Attributes:
        sequences: the sequence of each chunk.
        chunks: the tokens to read; chunks of a single token come first.
    """

    sequences: list[Sequence]
    chunks: list[ScheduledChunk]

    @property
    def predicted(self) -> list[tuple[Sequence, ScheduledChunk]]:
        """The sequences whose next tokens the pass predicts, in the order of its logits."""
        pairs = zip(self.sequences, self.chunks, strict=True)
        return [(sequence, chunk) for sequence, chunk in pairs if chunk.num_logits]


class Scheduler:
    """The waiting and the running sequences of an engine.

    Only `add` and the counts may be used from other threads than the engine's.

    Args:
        max_num_seqs: maximum number of running sequences.
        max_prefill_tokens: maximum number of prompt tokens that a pass reads.
    """

    def __init__(
        self, cache: KVCache, adapters: AdapterSlots, *, max_num_seqs: int, max_prefill_tokens: int
    ) -> None:
        self._cache, self._adapters = cache, adapters
        self._max_num_seqs, self._max_prefill_tokens = max_num_seqs, max_prefill_tokens
        self._slots = CacheSlots(cache)
        self._inbox: deque[Sequence] = deque()  # added since the last step, from any thread
        self._waiting: list[Sequence] = []
        self._running: list[Sequence] = []  # by cache slot

    def add(self, sequence: Sequence) -> None:
        """Have a sequence wait for the next steps."""
        self._inbox.append(sequence)

    @property
    def waiting_count(self) -> int:
        """Number of sequences that no step has started yet."""
        return len(self._inbox) + len(self._waiting)

    @property
    def running_count(self) -> int:
        """Number of sequences being read or answered."""
        return len(self._running)

    def schedule(self) -> Schedule:
        """Admit waiting sequences, and choose the tokens that the next pass reads."""
        while self._inbox:
            self._waiting.append(self._inbox.popleft())
        self._finish_cancelled()
        self._admit_waiting()
        return self._schedule_chunks()

    def free_finished(self) -> None:
        """Free the cache slots of running sequences that have ended."""
        for sequence in [each for each in self._running if each.reason]:
            moved = self._running[self._slots.free(sequence.cache_slot)]
            moved.cache_slot, self._running[sequence.cache_slot] = sequence.cache_slot, moved
            self._running.pop()

    def forget_prefixes(self) -> None:
        """Never reuse what is cached now for sequences that are admitted later."""
        self._slots.forget_prefixes()

    def abort(self, reason: FinishReason) -> None:
        """End all sequences, whether they run or wait."""
        waiting = [*self._waiting, *self._inbox]
        self._waiting.clear()
        self._inbox.clear()
        for sequence in (*self._running, *waiting):
            if sequence.reason is None:
                sequence.finish(reason)
        self.free_finished()
        self.forget_prefixes()  # a failed pass may not have computed what it should have

    def _finish_cancelled(self) -> None:
        """End the sequences that were cancelled since the last step."""
        for sequence in [each for each in (*self._waiting, *self._running) if each.is_cancelled]:
            if sequence.cache_slot < 0:
                self._waiting.remove(sequence)
            sequence.finish("cancelled")
        self.free_finished()

    def _admit_waiting(self) -> None:
        """Start waiting sequences, first those whose adapter has the fewest running ones."""
        if not self._running and self._cache.has_fewer_slots:
            self.forget_prefixes()  # a long sequence is gone: many fit again
        running_per_adapter = Counter(each.request.adapter for each in self._running)
        while sequence := self._next_admissible(running_per_adapter):
            self._waiting.remove(sequence)
            running_per_adapter[sequence.request.adapter] += 1
            self._slots.reserve(sequence.max_length)
            namespace: Hashable = (sequence.request.adapter, sequence.request.cache_namespace)
            if sequence.request.sampling.prompt_logprobs:
                namespace = object()  # tokens that are cached would not be predicted
            token_ids = sequence.token_ids[: sequence.length]
            allocation = self._slots.allocate(namespace, token_ids)
            sequence.cache_slot = allocation.slot
            sequence.cached_tokens = sequence.computed_tokens = allocation.cached_tokens
            self._running.append(sequence)

    def _next_admissible(self, running_per_adapter: Mapping[str, int]) -> Sequence | None:
        """The waiting sequence to start next; None if none can start.

        Its adapter must have a slot or get one, and the cache must have room for the sequence. A
        sequence without room holds up those after it, or it might wait forever.

        Args:
            running_per_adapter: number of running sequences by the name of their adapter.
        """
        if len(self._running) == self._max_num_seqs:
            return None

        def running(sequence: Sequence) -> int:
            """Number of running sequences with the same adapter."""
            return running_per_adapter[sequence.request.adapter]

        in_use = {each.adapter_slot for each in self._running}
        for sequence in sorted(self._waiting, key=running):
            if len(self._running) >= self._cache.slots_for(sequence.max_length):
                return None
            try:
                adapter_slot = self._adapters.acquire_slot(sequence.request.adapter, in_use)
            except ModelError as error:
                _log.warning("an adapter is gone: %s", error)
                self._waiting.remove(sequence)
                sequence.finish("failed")
                continue
            if adapter_slot is not None:
                sequence.adapter_slot = adapter_slot
                return sequence
        return None

    def _schedule_chunks(self) -> Schedule:
        """The next tokens of the running sequences: all decodes, and prompts within the limit."""
        single: list[tuple[Sequence, ScheduledChunk]] = []
        longer: list[tuple[Sequence, ScheduledChunk]] = []
        budget = self._max_prefill_tokens
        for sequence in self._running:
            count = sequence.length - sequence.computed_tokens
            if count > 1:
                count = min(count, budget)
                if sequence.request.sampling.prompt_logprobs:
                    count = min(count, _MAX_SCORED_TOKENS)
                budget -= count
            if count:
                chunk = self._take_chunk(sequence, count)
                (single if count == 1 else longer).append((sequence, chunk))
        # By adapter, so that tokens of one adapter lie together; those without one come last.
        single.sort(key=lambda pair: (pair[1].adapter_slot < 0, pair[1].adapter_slot))
        pairs = single + longer
        return Schedule([sequence for sequence, _ in pairs], [chunk for _, chunk in pairs])

    def _take_chunk(self, sequence: Sequence, count: int) -> ScheduledChunk:
        """The next `count` tokens of a sequence, counted as computed from now on."""
        start, end = sequence.computed_tokens, sequence.computed_tokens + count
        scores_prompt = sequence.request.sampling.prompt_logprobs and end <= sequence.prompt_tokens
        sequence.computed_tokens = end
        self._slots.record_tokens(sequence.cache_slot, sequence.token_ids[:end])
        return ScheduledChunk(
            sequence.token_ids[start:end].tolist(),
            sequence.cache_slot,
            start,
            sequence.adapter_slot,
            count if scores_prompt else int(end == sequence.length),
        )
