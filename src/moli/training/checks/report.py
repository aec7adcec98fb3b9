"""What is found of a run before its first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from moli.records.examples import MalformedRow
from moli.training.checks.inspection import Lengths, Repetitions
from moli.training.checks.masks import Masked
from moli.training.checks.servers import Verdict
from moli.training.packing import PackingCheck
from moli.training.setup.estimates import Estimate

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know before training.

    Attributes:
        severity: an "error" prevents the run.
        places: all that it concerns, as `file:line`.
    """

    severity: Severity
    what: str
    fix: str
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cut:
    """An example that is too long, and how many of its tokens are cut off."""

    where: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Rows:
    """What becomes of the rows of a data set.

    Attributes:
        kept: training examples.
        judged: those of the held-out examples that evaluations in training take; None where that
            is not known.
        malformed: rows that are not examples.
        dropped: examples from which nothing is learnt, and why.
    """

    kept: int = 0
    held_out: int = 0
    judged: int | None = None
    malformed: tuple[MalformedRow, ...] = ()
    cut: tuple[Cut, ...] = ()
    dropped: tuple[MalformedRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Supervision:
    """What is learnt of what is read.

    Attributes:
        unit: what is counted, such as "tokens" or "examples".
        learnt, tokens: supervised items, and tokens in all.
        unended: examples whose last learnt token does not end the answer; None where a task
            teaches no ends.
    """

    unit: str
    learnt: int
    tokens: int
    unended: tuple[str, ...] | None = None

    @property
    def share(self) -> float:
        """Of the tokens that are supervised; 1 where it is not tokens that are."""
        return self.learnt / max(self.tokens, 1) if self.unit == "tokens" else 1.0


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found. What could not be looked at, because of an error, is None or empty."""

    recipe: Mapping[str, Any]
    findings: tuple[Finding, ...]
    rows: Rows = field(default_factory=Rows)
    supervision: Supervision | None = None
    repetitions: Repetitions = field(default_factory=Repetitions)
    labels: Mapping[str, int] = field(default_factory=dict)
    lengths: Lengths | None = None
    masks: tuple[Masked, ...] = ()
    packing: PackingCheck | None = None
    contract: tuple[str, ...] | None = None
    estimate: Estimate | None = None
    servers: tuple[Verdict, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the run can be made."""
        return not any(each.severity == "error" for each in self.findings)
