"""Constrained answers: by a JSON schema, a regular expression or a grammar.

At each step only those tokens may be chosen after which the text can still match.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moli.models.templates.json_schema import JSON_WHITESPACE
from moli.records.errors import InputError
from moli.records.generation import OutputConstraint

# llguidance's own limits allow seconds and hundreds of megabytes for one mask; with this fuel it is
# a fifth of a second. An enumeration of 5000 names still fits.
_LEXER_FUEL = 200_000
_LOCATION = re.compile(r"^at \d+\(\d+\): (failed to compile JSON schema: )?")
_MAX_REASON = 300  # characters of llguidance's own words
# All answers wait for a slow mask. Most take a hundredth of this; these are seconds of computing.
_MASK_SECONDS, _MAX_SLOW_SECONDS = 0.02, 1.0
_MAX_CHARACTERS = 1 << 18  # of a schema, an expression or a grammar


class GrammarMatcher:
    """Position of one answer in the grammar of its constraint.

    Args:
        matcher: llguidance's matcher for the constraint.
        where: field of the request that the constraint comes from, for errors.
    """

    def __init__(self, matcher: Any, where: str = "") -> None:
        self._matcher, self._where = matcher, where
        self._slow_seconds = 0.0  # by which masks took longer than a mask should

    def mask(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits [V] with -inf for tokens after which the constraint can no longer be met.

        Raises:
            InputError: the grammar has become too complex to follow.
        """
        begun = time.thread_time()
        bias = self._allowed_tokens()
        self._slow_seconds += max(0.0, time.thread_time() - begun - _MASK_SECONDS)
        if self._slow_seconds > _MAX_SLOW_SECONDS:
            raise _invalid("format", "it takes too long", self._where)
        forbidden = torch.ones(len(logits), dtype=torch.bool)
        forbidden[: len(bias)] = torch.from_numpy(bias[: len(logits)] == 0)
        return logits.masked_fill(forbidden.to(logits.device), float("-inf"))

    def accept(self, token_id: int) -> None:
        """Advance by a token that was not masked."""
        self._matcher.consume_token(token_id)

    def check_first_step(self) -> None:
        """Check that an answer can begin: some constraints fail only then, such as endless ones.

        Raises:
            InputError: it cannot.
        """
        allowed = np.flatnonzero(self._allowed_tokens())
        if len(allowed):
            attempt = self._matcher.deep_copy()
            attempt.consume_token(int(allowed[-1]))
            self._check(attempt)

    def _allowed_tokens(self) -> NDArray[np.uint8]:
        """A number for each token, 0 where it is forbidden."""
        bias = np.frombuffer(self._matcher.compute_logit_bias(), np.uint8)
        self._check(self._matcher)
        return bias

    def _check(self, matcher: Any) -> None:
        """Check that a matcher has not failed."""
        if matcher.is_error():
            raise _invalid("format", matcher.get_error(), self._where)


class GrammarCompiler:
    """Compiles constraints for one tokenizer. May be used by many threads.

    Args:
        tokenizer: a fast tokenizer of transformers, or an object with a method
            `llguidance_tokenizer`.
        stop_token_ids: tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, stop_token_ids: Collection[int]) -> None:
        self._tokenizer, self._stop_token_ids = tokenizer, sorted(stop_token_ids)
        self._compiled_tokenizer: Any = None

    def start(self, constraint: OutputConstraint) -> GrammarMatcher:
        """A matcher for a new answer.

        Raises:
            InputError: the schema, expression or grammar is invalid, too large or too complex, or
                uses a feature that llguidance does not support.
        """
        from llguidance import LLMatcher, LLParserLimits

        kind, text = _kind_and_text(constraint)
        if len(text) > _MAX_CHARACTERS:
            raise _invalid(
                kind, f"it has more than {_MAX_CHARACTERS:,} characters", constraint.where
            )
        limits = LLParserLimits(initial_lexer_fuel=_LEXER_FUEL, verbose_errors=False)
        try:
            matcher = LLMatcher(
                self._llguidance_tokenizer(), _grammar(constraint), log_level=0, limits=limits
            )
        except ValueError as error:
            raise _invalid(kind, str(error), constraint.where) from error
        if matcher.is_error():
            raise _invalid(kind, matcher.get_error(), constraint.where)
        started = GrammarMatcher(matcher, constraint.where)
        started.check_first_step()
        return started

    def _llguidance_tokenizer(self) -> Any:
        """The tokenizer in llguidance's form, which takes a moment to make, and few need."""
        if self._compiled_tokenizer is None:
            from llguidance.hf import from_tokenizer

            stop = self._stop_token_ids or None
            own = getattr(self._tokenizer, "llguidance_tokenizer", None)
            self._compiled_tokenizer = (
                own(stop) if own else from_tokenizer(self._tokenizer, eos_token=stop)
            )
        return self._compiled_tokenizer


def _kind_and_text(constraint: OutputConstraint) -> tuple[str, str]:
    """The kind of a constraint, for errors, and its text."""
    if constraint.schema:
        return "JSON schema", constraint.schema
    if constraint.lark:
        return "grammar", constraint.lark
    return "expression", constraint.regex


def _grammar(constraint: OutputConstraint) -> str:
    """A constraint as a grammar of llguidance.

    Raises:
        ValueError: it is not text or JSON.
    """
    from llguidance import LLMatcher

    if constraint.schema:
        return LLMatcher.grammar_from_json_schema(constraint.schema, JSON_WHITESPACE)
    if constraint.lark:
        return LLMatcher.grammar_from_lark(constraint.lark)
    return LLMatcher.grammar_from_regex(constraint.regex)


def _invalid(kind: str, error: str, where: str) -> InputError:
    """The error for a constraint that llguidance rejects."""
    return InputError(
        f"the {kind} cannot be followed ({_reason(error)})", where, fix="Correct or simplify it."
    )


def _reason(error: str) -> str:
    """The line of an error of llguidance that says most, without the place in its own grammar."""
    lines = [line.removesuffix("<non-verbose/>").strip() for line in error.splitlines()] or [""]
    line = next((each for each in lines if each.startswith("error: ")), lines[0])
    reason = _LOCATION.sub("", line).removeprefix("error: ")
    if "coerce_one_of" in reason:
        return "the branches of a oneOf may overlap"
    return "no text fits it" if reason == "NoExtensionBias" else reason[:_MAX_REASON]
