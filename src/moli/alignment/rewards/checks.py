"""Rewards that can be verified: 1 for an answer that passes a check, 0 for any other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from moli.alignment.rewards.protocol import Reward
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.metrics.answers import chinese_exact_match, exact_match
from moli.records.errors import InputError
from moli.records.messages import STRICT_JSON

_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?|[-+]?\.\d+")
_MARKED_NUMBER = re.compile(rf"####\s*\$?({_NUMBER.pattern})")  # ends a solution in GSM8K


def check_reward(check: Callable[[TrainingPrompt, SampledAnswer], bool], name: str) -> Reward:
    """A reward of 1 for answers that pass a check, else 0.

    Args:
        name: the reward's name in errors.
    """

    def reward(
        prompts: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer], /
    ) -> list[float]:
        """1 or 0 for each answer."""
        pairs = zip(prompts, answers, strict=True)
        return [float(check(prompt, answer)) for prompt, answer in pairs]

    reward.__name__ = name
    return reward


def exact_match_reward() -> Reward:
    """A reward for answers that equal the prompt's reference, as SQuAD or CMRC compare answers.

    Case, punctuation and English articles do not count.
    """

    def check(prompt: TrainingPrompt, answer: SampledAnswer) -> bool:
        """Whether the answer equals the reference by either comparison."""
        references = [_reference(prompt, "exact match")]
        if not answer.text.strip():  # or it would equal a reference of punctuation
            return False
        comparisons = (exact_match, chinese_exact_match)
        return any(compare(answer.text, references) == 1 for compare in comparisons)

    return check_reward(check, "exact match")


def number_reward() -> Reward:
    """A reward for answers with the number of the prompt's reference, as GSM8K is scored.

    The number is the one after `####`, and otherwise the last one; 1,000.0 equals 1000.
    """

    def check(prompt: TrainingPrompt, answer: SampledAnswer) -> bool:
        """Whether both have the same number."""
        expected = final_number(_reference(prompt, "number"))
        if expected is None:
            raise InputError(
                f"the reference '{prompt.reference[:60]}' has no number",
                where="number reward",
                fix="Give prompts a reference that ends with the right number.",
            )
        return final_number(answer.text) == expected

    return check_reward(check, "number reward")


def final_number(text: str) -> Decimal | None:
    """The number after the last `####`, otherwise the last one in the text; None without any."""
    numbers = _MARKED_NUMBER.findall(text) or _NUMBER.findall(text)
    return Decimal(numbers[-1].replace(",", "")) if numbers else None


def regex_reward(pattern: str) -> Reward:
    """A reward for answers that match a regular expression as a whole, apart from outer space.

    Raises:
        InputError: the expression is malformed.
    """
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise InputError(
            f"'{pattern}' is no regular expression ({error})",
            where="regex reward",
            fix="Correct it; begin and end it with .* to look inside of an answer.",
        ) from error
    return check_reward(
        lambda _, answer: compiled.fullmatch(answer.text.strip()) is not None, "regex reward"
    )


def json_reward(schema: Mapping[str, Any]) -> Reward:
    """A reward for answers that are JSON by a schema, with nothing around it.

    Raises:
        InputError: the schema is malformed.
    """
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    validator_class = validator_for(schema)
    try:
        validator_class.check_schema(schema)
    except SchemaError as error:
        raise InputError(
            f"the JSON schema is malformed ({error.message})",
            where="json reward",
            fix="Correct it by json-schema.org.",
        ) from error
    validator = validator_class(schema)

    def check(_: TrainingPrompt, answer: SampledAnswer) -> bool:
        """Whether the answer is JSON that the schema allows."""
        try:
            value = STRICT_JSON.decode(answer.text)
        except (ValueError, RecursionError):
            return False
        return bool(validator.is_valid(value))

    return check_reward(check, "json reward")


def _reference(prompt: TrainingPrompt, name: str) -> str:
    """The prompt's reference.

    Raises:
        InputError: it has none.
    """
    if not prompt.reference:
        raise InputError(
            "a prompt has no reference to compare answers with",
            where=name,
            fix="Give each prompt the right answer as its reference, or use another reward.",
        )
    return prompt.reference
