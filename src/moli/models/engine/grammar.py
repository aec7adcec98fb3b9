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


class Grammar:
    """How far one answer has got in its form."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def allowed(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores [V] with -inf for tokens after which the form can no longer be met.

        Raises:
            ModelError: the form has become too complex to follow.
        """
        bias = np.frombuffer(self._matcher.compute_logit_bias(), np.uint8)
        if self._matcher.is_error():
            raise ModelError(
                f"the requested format cannot be followed ({self._matcher.get_error()})",
                fix="Ask for a simpler one.",
            )
        hidden = torch.ones(len(scores), dtype=torch.bool)
        hidden[: len(bias)] = torch.from_numpy(bias[: len(scores)] == 0)
        return scores.masked_fill(hidden.to(scores.device), float("-inf"))

    def accept(self, token: int) -> None:
        """Advance by a token that was allowed."""
        self._matcher.consume_token(token)


class Grammars:
    """Forms for one tokenizer.

    Args:
        tokenizer: a fast one of transformers, or one that has its own `guided`.
        ends: tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, ends: Collection[int]) -> None:
        self._tokenizer, self._ends = tokenizer, sorted(ends)
        self._known: Any = None

    def begin(self, form: OutputConstraint) -> Grammar:
        """A form of which nothing has been written yet.

        Raises:
            InputError: the schema, expression or grammar is invalid, or uses what is not supported
                here.
        """
        from llguidance import LLMatcher
        from llguidance.hf import from_tokenizer

        if self._known is None:  # takes a moment, and few need it
            ends = self._ends or None
            own = getattr(self._tokenizer, "guided", None)
            self._known = own(ends) if own else from_tokenizer(self._tokenizer, eos_token=ends)
        name = "JSON schema" if form.schema else "grammar" if form.lark else "expression"
        try:
            if form.schema:
                read = LLMatcher.grammar_from_json_schema(form.schema, JSON_WHITESPACE)
            elif form.lark:
                read = LLMatcher.grammar_from_lark(form.lark)
            else:
                read = LLMatcher.grammar_from_regex(form.regex)
            matcher = LLMatcher(self._known, read, log_level=0)
        except ValueError as error:
            raise _no_form(name, str(error)) from error
        if matcher.is_error():
            raise _no_form(name, matcher.get_error())
        return Grammar(matcher)


def _no_form(name: str, error: str) -> InputError:
    reason = next(iter(error.splitlines()), "")
    return InputError(f"the {name} cannot be followed ({reason})", fix="Correct or simplify it.")
