"""Continuous batching: rows come and go while the others are written.

engine = Engine(load_transformers_runner("builtin:starter"), load_tokenizer("builtin:starter"))
engine.complete([Request(ids, Sampling(max_tokens=20))])

A step is one pass over the model's weights. In it every row that is being written gets a token, and
prompts are read as far as the step's budget goes.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moli.models.engine.adapter_slots import Lanes
from moli.models.engine.detokenizer import Writer
from moli.models.engine.grammar import Grammar, Grammars
from moli.models.engine.sampling import cut, draw, penalised
from moli.models.engine.slots import Slots
from moli.models.protocols.backend import check_request, join_deltas
from moli.models.protocols.runner import ModelRunner, Span
from moli.models.weights.lora import Adapter
from moli.records.errors import InputError, ModelError
from moli.records.generation import (
    Completion,
    Delta,
    DeltaCallback,
    FinishReason,
    Request,
    Sampling,
    TokenLogprob,
)

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Row:
    """A request in progress.

    Attributes:
        ids: the prompt, then what was written, with room for all that may follow.
        length: how many of `ids` there are.
        read: how many of them the cache has.
        slot: its slot in the cache; -1 while the row waits.
    """

    request: Request
    hear: DeltaCallback
    ids: NDArray[np.int32]
    length: int
    writer: Writer
    generator: torch.Generator | None
    grammar: Grammar | None
    read: int = 0
    slot: int = -1
    lane: int = -1
    cached_tokens: int = 0
    reason: FinishReason | None = None
    cancelled: bool = False

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return len(self.request.ids)

    @property
    def most(self) -> int:
        """The most tokens that the row may reach."""
        return len(self.ids)

    def cancel(self) -> None:
        """Stop; the slot is free within one step. May be called from any thread."""
        self.cancelled = True


class Engine:
    """Rows of many requests and adapters on one network.

    Only `submit`, `Row.cancel` and the counts of rows may be used while another thread is in
    `step`.

    Args:
        tokenizer: turns tokens into text.
        max_num_seqs: how many are written at once.
        prefix_slots: slots beyond these, for the beginnings of earlier rows.
        max_model_len: maximum tokens of a row, prompt and answer.
        max_prefill_tokens: prompt tokens that a step reads besides what it writes.
        kv_cache_bytes: bytes for keys and values; rows wait while there is no room for them. None
            for as many as the other arguments require.
    """

    def __init__(
        self,
        network: ModelRunner,
        tokenizer: Any,
        *,
        max_num_seqs: int = 16,
        prefix_slots: int = 8,
        max_model_len: int = 2048,
        max_prefill_tokens: int = 512,
        kv_cache_bytes: int | None = None,
    ) -> None:
        self.runner = network
        self._tokenizer = tokenizer
        room = None if kv_cache_bytes is None else kv_cache_bytes // network.kv_bytes_per_token
        self._cache = network.cache(max_num_seqs + prefix_slots, max_model_len, room)
        self._slots = Slots(self._cache)
        self._lanes = Lanes(network)
        self._most, self._places, self._budget = max_num_seqs, max_model_len, max_prefill_tokens
        self._ends = _ends(network, tokenizer)
        self._grammars = Grammars(tokenizer, self._ends)
        self._inbox: deque[Row] = deque()
        self._waiting: list[Row] = []
        self._rows: list[Row] = []  # by slot

    # From any thread

    def submit(self, request: Request, hear: DeltaCallback) -> Row:
        """Have a request answered in the next steps; `hear` is called within them.

        Raises:
            InputError: it has no tokens or too many, an adapter that is unknown, or a form that
                cannot be followed.
        """
        row = self._row(request, hear)
        self._inbox.append(row)
        return row

    @property
    def waiting_requests(self) -> int:
        """Requests that no step has begun yet."""
        return len(self._inbox) + len(self._waiting)

    @property
    def running_requests(self) -> int:
        """Requests being read or answered."""
        return len(self._rows)

    # From the thread that steps

    def add_adapter(self, adapter: Adapter) -> None:
        """Let requests name an adapter from now on; an earlier one of that name is replaced."""
        known = adapter.name in self._lanes
        self._lanes.add(adapter)
        if known:  # what was read with the old one does not fit the new one
            self._slots.forget()

    def update_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Continue with new weights of the base, as reinforcement learning does; see `Network`."""
        self.runner.update_weights(weights)
        self._slots.forget()

    @torch.inference_mode()
    def step(self) -> bool:
        """Run one pass; return whether there was anything to do."""
        self._admit()
        spans = self._plan()
        if not spans:
            return False
        logits = self.runner.run([span for _, span in spans], self._cache)
        self._deliver([row for row, span in spans if span.asked], logits)
        self._settle()
        return True

    @torch.inference_mode()
    def abort(self, reason: FinishReason) -> None:
        """End everything in progress or waiting."""
        waiting = [*self._waiting, *self._inbox]
        self._waiting.clear()
        self._inbox.clear()
        for row in (*self._rows, *waiting):
            if row.reason is None:
                self._finish(row, reason)
        self._settle()
        self._slots.forget()  # a failed step may not have read what it should have

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Step until all of these are answered."""
        told: list[list[Delta]] = [[] for _ in requests]
        rows = [self.submit(each, told[n].append) for n, each in enumerate(requests)]
        while any(row.reason is None for row in rows):
            self.step()
        return [join_deltas(row, deltas) for row, deltas in zip(rows, told, strict=True)]

    # How it is done

    def _row(self, request: Request, hear: DeltaCallback) -> Row:
        length, sampling = len(request.ids), request.sampling
        check_request(request, self._places, self._lanes)
        most = min(length + sampling.max_tokens, self._places)
        if not self._cache.slots_for(most):
            raise _no_room(most)
        ids = np.zeros(most, np.int32)
        ids[:length] = request.ids
        generator = _generator(sampling) if sampling.temperature > 0 else None
        writer = Writer(self._tokenizer, sampling.stop)
        grammar = self._grammars.begin(sampling.constraint) if sampling.constraint else None
        return Row(request, hear, ids, length, writer, generator, grammar)

    def _admit(self) -> None:
        """Start waiting rows, first those whose adapter has the fewest in progress."""
        while self._inbox:
            self._waiting.append(self._inbox.popleft())
        for gone in [each for each in (*self._waiting, *self._rows) if each.cancelled]:
            if gone.slot < 0:
                self._waiting.remove(gone)
            self._finish(gone, "cancelled")
        self._settle()
        if not self._rows and self._cache.narrowed:
            self._slots.forget()  # a long row is gone: many fit again
        working = Counter(each.request.adapter for each in self._rows)
        while len(self._rows) < self._most and (row := self._next(working)):
            self._waiting.remove(row)
            working[row.request.adapter] += 1
            self._slots.reserve(row.most)
            space = (row.request.adapter, row.request.cache_namespace)
            row.slot, row.cached_tokens = self._slots.take(space, row.ids[: row.length])
            row.read = row.cached_tokens
            self._rows.append(row)

    def _next(self, working: Mapping[str, int]) -> Row | None:
        """The row to start: one that fits, and whose adapter has a lane or can get one.

        One that does not fit holds up those after it, or it might wait forever.
        """
        used = {each.lane for each in self._rows}
        for row in sorted(self._waiting, key=lambda each: working[each.request.adapter]):
            if len(self._rows) >= self._cache.slots_for(row.most):
                return None
            try:
                lane = self._lanes.lane(row.request.adapter, used)
            except ModelError as error:
                _log.warning("an adapter is gone: %s", error)
                self._waiting.remove(row)
                self._finish(row, "failed")
                continue
            if lane is not None:
                row.lane = lane
                return row
        return None

    def _plan(self) -> list[tuple[Row, Span]]:
        """The next tokens of each row, spans of one token first."""
        written: list[tuple[Row, Span]] = []
        stretches: list[tuple[Row, Span]] = []
        left = self._budget
        for row in self._rows:
            count = row.length - row.read
            if count > 1:
                count = min(count, left)
                left -= count
            if not count:
                continue
            end = row.read + count
            ids = row.ids[row.read : end].tolist()
            span = Span(ids, row.slot, row.read, row.lane, end == row.length)
            (written if count == 1 else stretches).append((row, span))
            row.read = end
            self._slots.fill(row.slot, row.ids[:end])
        # By lane, so that rows of one adapter lie together; those without one come last.
        written.sort(key=lambda each: (each[1].lane < 0, each[1].lane))
        return written + stretches

    def _deliver(self, rows: Sequence[Row], logits: torch.Tensor) -> None:
        """Choose each row's next token and report it."""
        likeliest = logits.argmax(-1).tolist()
        wanted = [n for n, row in enumerate(rows) if row.request.sampling.logprobs is not None]
        sums = dict(zip(wanted, logits[wanted].logsumexp(-1).tolist(), strict=True))
        for number, (row, best) in enumerate(zip(rows, likeliest, strict=True)):
            try:
                token = self._chosen(row, logits[number], best)
            except ModelError:
                self._finish(row, "failed")
                continue
            row.ids[row.length] = token
            row.length += 1
            self._tell(row, token, logits[number], sums.get(number))

    def _chosen(self, row: Row, scores: torch.Tensor, best: int) -> int:
        sampling = row.request.sampling
        changed = penalised(scores, sampling, row.prompt_tokens, row.ids[: row.length])
        if row.grammar:
            changed = row.grammar.allowed(changed)
        if row.generator is not None:
            token = draw(cut(changed, sampling), row.generator)
        else:
            token = best if changed is scores else int(changed.argmax())
        if row.grammar:
            row.grammar.accept(token)
        return token

    def _tell(self, row: Row, token: int, scores: torch.Tensor, total: float | None) -> None:
        sampling = row.request.sampling
        ended = not sampling.ignore_eos and token in self._ends
        text = "" if ended else row.writer.push(token)
        reason: FinishReason | None = None
        if ended or row.writer.stopped:
            reason = "stop"
        elif row.length == row.most:
            reason = "length"
        if reason:
            text += row.writer.close()
        delta = Delta(text, (token,), reason=reason or "")
        if total is not None:
            top = scores.topk(sampling.logprobs or 0)
            pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
            others = tuple(TokenLogprob(each, value - total) for each, value in pairs)
            own = float(scores[token]) - total
            delta = replace(delta, logprobs=(own,), alternatives=(others,))
        row.hear(delta)
        row.reason = reason

    def _finish(self, row: Row, reason: FinishReason) -> None:
        row.reason = reason
        row.hear(Delta(row.writer.close(), (), reason=reason))

    def _settle(self) -> None:
        """Give back the slots of rows that are done."""
        for row in [each for each in self._rows if each.reason]:
            moved = self._rows[self._slots.release(row.slot)]
            moved.slot, self._rows[row.slot] = row.slot, moved
            self._rows.pop()


def _no_room(tokens: int) -> InputError:
    return InputError(
        f"the keys and values of {tokens:,} tokens do not fit in the memory reserved for them",
        fix="Ask for fewer tokens, or shorten the prompt.",
    )


def _generator(sampling: Sampling) -> torch.Generator:
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)
    return generator


def _ends(network: ModelRunner, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer."""
    own = tokenizer.eos_token_id
    return network.stop_token_ids if own is None else network.stop_token_ids | {own}
