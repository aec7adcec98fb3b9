"""Constrained answers: by a JSON schema, a regular expression or a grammar.

At each step only those tokens may be chosen after which the text can still match.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch

from moli.models.templates.json_schema import JSON_WHITESPACE
from moli.records.errors import InputError, ModelError
from moli.records.generation import OutputConstraint


class GrammarMatcher:
    """Position of one answer in the grammar of its constraint.

    Args:
        matcher: llguidance's matcher for the constraint.
    """

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def mask(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits [V] with -inf for tokens after which the constraint can no longer be met.

        Raises:
            ModelError: the grammar has become too complex to follow.
        """
        bias = np.frombuffer(self._matcher.compute_logit_bias(), np.uint8)
        if self._matcher.is_error():
            raise ModelError(
                f"the requested format cannot be followed ({self._matcher.get_error()})",
                fix="Ask for a simpler one.",
            )
        forbidden = torch.ones(len(logits), dtype=torch.bool)
        forbidden[: len(bias)] = torch.from_numpy(bias[: len(logits)] == 0)
        return logits.masked_fill(forbidden.to(logits.device), float("-inf"))

    def accept(self, token_id: int) -> None:
        """Advance by a token that was not masked."""
        self._matcher.consume_token(token_id)


class GrammarCompiler:
    """Compiles constraints for one tokenizer.

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
            InputError: the schema, expression or grammar is invalid, or uses a feature that
                llguidance does not support.
        """
        from llguidance import LLMatcher

        tokenizer = self._llguidance_tokenizer()
        kind = ""
        try:
            if constraint.schema:
                kind = "JSON schema"
                grammar = LLMatcher.grammar_from_json_schema(constraint.schema, JSON_WHITESPACE)
            elif constraint.lark:
                kind = "grammar"
                grammar = LLMatcher.grammar_from_lark(constraint.lark)
            else:
                kind = "expression"
                grammar = LLMatcher.grammar_from_regex(constraint.regex)
            matcher = LLMatcher(tokenizer, grammar, log_level=0)
        except ValueError as error:
            raise _invalid(kind, str(error)) from error
        if matcher.is_error():
            raise _invalid(kind, matcher.get_error())
        return GrammarMatcher(matcher)

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


def _invalid(kind: str, error: str) -> InputError:
    """The error for a constraint that llguidance rejects."""
    reason = next(iter(error.splitlines()), "")
    return InputError(f"the {kind} cannot be followed ({reason})", fix="Correct or simplify it.")
