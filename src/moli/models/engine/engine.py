"""Continuous batching: sequences come and go while others are being generated.

runner = load_transformers_runner("builtin:starter")
engine = Engine(runner, load_tokenizer("builtin:starter"))
engine.complete([Request(ids, Sampling(max_tokens=20))])

A step is one pass over the model's weights. In it every sequence whose prompt has been read gets a
token, and prompts are read as far as the step's budget goes.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from moli.models.engine.adapter_slots import AdapterSlots
from moli.models.engine.detokenizer import Detokenizer
from moli.models.engine.grammar import GrammarCompiler
from moli.models.engine.sampling import apply_penalties, draw_token, warp_logits
from moli.models.engine.scheduler import Scheduler
from moli.models.engine.sequence import Sequence
from moli.models.protocols.backend import check_request, join_deltas
from moli.models.protocols.runner import ModelRunner, ScheduledChunk
from moli.models.weights.lora import LoraAdapter
from moli.records.errors import InputError
from moli.records.generation import (
    Completion,
    Delta,
    DeltaCallback,
    FinishReason,
    Request,
    Sampling,
    ScoredToken,
    TokenLogprob,
)

_log = logging.getLogger(__name__)


class Engine:
    """Answers many requests at once, with many adapters on one base model.

    Only `submit`, `Sequence.cancel` and the counts of requests may be used while another thread is
    in `step`.

    Args:
        tokenizer: turns tokens into text.
        max_num_seqs: maximum number of sequences that are answered at once.
        prefix_slots: additional cache slots, for the prefixes of earlier sequences.
        max_model_len: maximum tokens of a sequence, prompt and answer.
        max_prefill_tokens: maximum number of prompt tokens that a step reads.
        kv_cache_bytes: memory for keys and values; sequences wait while there is no room for them.
            None for as much as the other arguments require.

    Attributes:
        stop_token_ids: tokens that end an answer, at first the model's and the tokenizer's own.
    """

    def __init__(
        self,
        runner: ModelRunner,
        tokenizer: Any,
        *,
        max_num_seqs: int = 16,
        prefix_slots: int = 8,
        max_model_len: int = 2048,
        max_prefill_tokens: int = 512,
        kv_cache_bytes: int | None = None,
    ) -> None:
        self.runner = runner
        self._tokenizer, self._max_model_len = tokenizer, max_model_len
        max_tokens = None if kv_cache_bytes is None else kv_cache_bytes // runner.kv_bytes_per_token
        self._cache = runner.make_cache(max_num_seqs + prefix_slots, max_model_len, max_tokens)
        self._adapters = AdapterSlots(runner)
        self._scheduler = Scheduler(
            self._cache,
            self._adapters,
            max_num_seqs=max_num_seqs,
            max_prefill_tokens=max_prefill_tokens,
        )
        self.stop_token_ids = _stop_token_ids(runner, tokenizer)
        self._grammars = GrammarCompiler(tokenizer, self.stop_token_ids)

    # From any thread

    def submit(self, request: Request, on_delta: DeltaCallback) -> Sequence:
        """Have a request answered in the next steps, which call `on_delta`.

        Raises:
            InputError: it has no tokens or too many, an adapter that is unknown, or a constraint
                that cannot be followed.
        """
        sequence = self._new_sequence(request, on_delta)
        self._scheduler.add(sequence)
        return sequence

    @property
    def waiting_requests(self) -> int:
        """Number of submitted requests that no step has started yet."""
        return self._scheduler.waiting_count

    @property
    def running_requests(self) -> int:
        """Number of submitted requests whose prompts are being read or that are being answered."""
        return self._scheduler.running_count

    # From the thread that steps

    def add_adapter(self, adapter: LoraAdapter) -> None:
        """Make a LoRA adapter available to requests; an earlier one of that name is replaced.

        Raises:
            ModelError: the adapter was made for another base.
        """
        is_known = adapter.name in self._adapters
        self._adapters.add(adapter)
        if is_known:  # keys and values of the old one do not fit the new one
            self._scheduler.forget_prefixes()

    def update_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Replace base weights by name, and forget all cached prefixes.

        Reinforcement learning calls it after each update of the policy. Sequences in progress go
        on with the new weights.
        """
        self.runner.update_weights(weights)
        self._scheduler.forget_prefixes()

    @torch.inference_mode()
    def step(self) -> bool:
        """Run one pass of the model; False if no request needed one."""
        schedule = self._scheduler.schedule()
        if not schedule.chunks:
            return False
        logits = self.runner.run(schedule.chunks, self._cache)
        self._use_logits(schedule.predicted, logits)
        self._scheduler.free_finished()
        return True

    @torch.inference_mode()
    def abort(self, reason: FinishReason) -> None:
        """End all requests, whether they are being answered or wait."""
        self._scheduler.abort(reason)

    def complete(self, requests: Collection[Request]) -> list[Completion]:
        """Step until all of these requests are answered; the answers are in their order."""
        deltas: list[list[Delta]] = [[] for _ in requests]
        sequences = [self.submit(each, deltas[n].append) for n, each in enumerate(requests)]
        while any(sequence.reason is None for sequence in sequences):
            self.step()
        return list(map(join_deltas, sequences, deltas))

    # Internal steps

    def _new_sequence(self, request: Request, on_delta: DeltaCallback) -> Sequence:
        """A sequence for a request; the same errors as `submit` if it cannot be answered."""
        length, sampling = len(request.ids), request.sampling
        check_request(request, self._max_model_len, self._adapters)
        max_length = min(length + sampling.max_tokens, self._max_model_len)
        if not self._cache.slots_for(max_length):
            raise InputError(
                f"the keys and values of {max_length:,} tokens do not fit in the memory reserved "
                "for them",
                fix="Ask for fewer tokens, or shorten the prompt.",
            )
        token_ids = np.zeros(max_length, np.int32)
        token_ids[:length] = request.ids
        return Sequence(
            request,
            on_delta,
            token_ids,
            length,
            Detokenizer(self._tokenizer, sampling.stop),
            _generator(sampling) if sampling.temperature > 0 else None,
            self._grammars.start(sampling.constraint) if sampling.constraint else None,
        )

    def _use_logits(
        self, predicted: list[tuple[Sequence, ScheduledChunk]], logits: torch.Tensor
    ) -> None:
        """Report the log probabilities of prompts, and append tokens to prompts that are complete.

        Args:
            logits: next-token logits, [all `num_logits` of the chunks, vocabulary].
        """
        begin, rows, sequences = 0, [], []
        for sequence, chunk in predicted:
            end, read = begin + chunk.num_logits, chunk.start + len(chunk.token_ids)
            if sequence.request.sampling.prompt_logprobs and read <= sequence.prompt_tokens:
                scored = _score_prompt(sequence, chunk, logits[begin:end])
                sequence.on_delta(Delta("", (), prompt=scored))
            if read == sequence.max_length:
                sequence.finish("length")
            elif read == sequence.length:
                rows.append(end - 1)
                sequences.append(sequence)
            begin = end
        if sequences:
            self._append_tokens(sequences, logits if len(rows) == begin else logits[rows])

    def _append_tokens(self, sequences: list[Sequence], logits: torch.Tensor) -> None:
        """Choose each sequence's next token and report it.

        Args:
            logits: next-token logits, [sequences, vocabulary].
        """
        likeliest = logits.argmax(-1).tolist()
        requested = [n for n, each in enumerate(sequences) if _needs_logprobs(each)]
        log_sums = dict(zip(requested, logits[requested].logsumexp(-1).tolist(), strict=True))
        for number, (sequence, best) in enumerate(zip(sequences, likeliest, strict=True)):
            try:
                token_id, processed = _next_token(sequence, logits[number], best)
            except InputError as error:
                _log.warning("an answer cannot go on: %s", error)
                sequence.finish("refused")
                continue
            sequence.append(token_id)
            delta = self._make_delta(sequence, token_id)
            if sequence.request.sampling.processed_logprobs and number in log_sums:
                log_sum = float(processed.logsumexp(-1))
                delta = _with_logprobs(delta, sequence, processed, log_sum)
            elif number in log_sums:
                delta = _with_logprobs(delta, sequence, logits[number], log_sums[number])
            sequence.on_delta(delta)
            sequence.reason = delta.reason or None

    def _make_delta(self, sequence: Sequence, token_id: int) -> Delta:
        """The text that a new token adds to an answer, and whether it ends the answer."""
        detokenizer = sequence.detokenizer
        is_stop_token = token_id in self.stop_token_ids and not sequence.request.sampling.ignore_eos
        text = "" if is_stop_token else detokenizer.push(token_id)
        reason: FinishReason | None = None
        if is_stop_token or detokenizer.stopped:
            reason = "stop"
        elif sequence.length == sequence.max_length:
            reason = "length"
        if reason:
            text += detokenizer.finish()
        return Delta(text, (token_id,), reason=reason or "")


def _stop_token_ids(runner: ModelRunner, tokenizer: Any) -> frozenset[int]:
    """Ids of the tokens that end an answer, according to the model or to its tokenizer."""
    eos = tokenizer.eos_token_id
    return runner.stop_token_ids if eos is None else runner.stop_token_ids | {eos}


def _generator(sampling: Sampling) -> torch.Generator:
    """A random generator with the request's seed, or with a random seed if the request has none."""
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)
    return generator


def _needs_logprobs(sequence: Sequence) -> bool:
    """Whether the request asks for log probabilities."""
    return sequence.request.sampling.logprobs is not None


def _score_prompt(
    sequence: Sequence, chunk: ScheduledChunk, logits: torch.Tensor
) -> tuple[ScoredToken, ...]:
    """The prompt's tokens that a chunk of it predicts, with their log probabilities.

    Args:
        logits: next-token logits, [tokens of the chunk, vocabulary].
    """
    first = chunk.start + 1
    next_ids = sequence.request.ids[first : chunk.start + len(chunk.token_ids) + 1]
    if not next_ids:
        return ()
    logprobs = logits[: len(next_ids)].log_softmax(-1)
    top = logprobs.topk(sequence.request.sampling.logprobs or 0)
    own = logprobs.gather(1, torch.tensor(next_ids, device=logits.device)[:, None])
    rows = zip(next_ids, own[:, 0].tolist(), top.indices.tolist(), top.values.tolist(), strict=True)
    return tuple(
        ScoredToken(token_id, value, tuple(map(TokenLogprob, ids, values)))
        for token_id, value, ids, values in rows
    )


def _next_token(
    sequence: Sequence, logits: torch.Tensor, likeliest: int
) -> tuple[int, torch.Tensor]:
    """Choose the next token of a sequence by its sampling parameters.

    Args:
        logits: next-token logits, [V].
        likeliest: the token with the largest logit.

    Returns:
        The token, and the logits that it was chosen by: after penalties, temperature and cuts.

    Raises:
        InputError: the request's constraint has become too complex to follow.
    """
    sampling, so_far = sequence.request.sampling, sequence.token_ids[: sequence.length]
    changed = apply_penalties(logits, sampling, sequence.prompt_tokens, so_far)
    if sequence.matcher:
        changed = sequence.matcher.mask(changed)
    if sequence.generator is not None:
        changed = warp_logits(changed, sampling)
        token_id = draw_token(changed, sequence.generator)
    else:
        token_id = likeliest if changed is logits else int(changed.argmax())
    if sequence.matcher:
        sequence.matcher.accept(token_id)
    return token_id, changed


def _with_logprobs(delta: Delta, sequence: Sequence, logits: torch.Tensor, log_sum: float) -> Delta:
    """A delta of one token with its log probability and those of the likeliest alternatives.

    Args:
        log_sum: logarithm of the sum of the exponentiated logits.
    """
    top = logits.topk(sequence.request.sampling.logprobs or 0)
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    alternatives = tuple(TokenLogprob(token_id, value - log_sum) for token_id, value in pairs)
    logprob = float(logits[delta.ids[0]]) - log_sum
    return replace(delta, logprobs=(logprob,), alternatives=(alternatives,))
