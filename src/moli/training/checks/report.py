"""The report of a check: findings, and numbers on data, masks, cost and servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from moli.records.examples import MalformedRow, UnreadLines
from moli.training.checks.inspection import Lengths, PairStatistics, Repetitions
from moli.training.checks.masks import MaskedSample
from moli.training.checks.servers import ServerSupport
from moli.training.packing import PackingCheck
from moli.training.setup.estimates import Estimate

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of a run that a person should know before training.

    Attributes:
        severity: an "error" prevents the run.
        locations: the rows that it concerns, as `file:line`.
    """

    severity: Severity
    what: str
    fix: str
    locations: tuple[str, ...] = field(default=(), metadata={"json": "places"})


@dataclass(frozen=True, slots=True)
class TruncatedExample:
    """An example that is too long, and the number of its tokens that are cut off."""

    where: str
    tokens: int


@dataclass(frozen=True, slots=True)
class RowReport:
    """Numbers of a data set's rows that are trained on, held out, malformed, truncated or dropped.

    Attributes:
        kept: number of training examples.
        held_out: number of held-out examples.
        evaluated: number of held-out examples that evaluations in training use; None if not known.
        malformed: rows that are not examples.
        cut: training examples that are truncated.
        dropped: examples that are not trained on, and why.
        unread: lines that are no rows, because of a fault before them.
        counts: numbers of rows by what becomes of them; empty if that is not known.
    """

    kept: int = 0
    held_out: int = 0
    evaluated: int | None = field(default=None, metadata={"json": "judged"})
    malformed: tuple[MalformedRow, ...] = ()
    cut: tuple[TruncatedExample, ...] = ()
    dropped: tuple[MalformedRow, ...] = ()
    unread: tuple[UnreadLines, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Supervision:
    """Numbers of items that count in the loss, and of tokens that are read.

    Attributes:
        unit: the kind of item, such as "tokens" or "examples".
        supervised: number of items that count in the loss.
        tokens: number of tokens in all.
        unended: locations of examples whose last supervised token does not end the answer; None if
            the task teaches no ends.
    """

    unit: str
    supervised: int = field(metadata={"json": "learnt"})
    tokens: int
    unended: tuple[str, ...] | None = None

    @property
    def share(self) -> float:
        """Share of tokens that count in the loss; 1.0 for tasks without token labels."""
        return self.supervised / max(self.tokens, 1) if self.unit == "tokens" else 1.0


@dataclass(frozen=True, slots=True)
class Preflight:
    """The report of a check. Parts that an error kept from being checked are None or empty.

    Attributes:
        pairs: statistics of pairs of answers; None for other examples.
        contract: problems of the chat template; None for tasks without one.
        broken_tokens: number of training examples in which users or tools write each special token,
            which is read as letters.
        control_tokens: locations of the rows that have each control token of a chat template in a
            text.
    """

    recipe: Mapping[str, Any]
    findings: tuple[Finding, ...]
    rows: RowReport = field(default_factory=RowReport)
    supervision: Supervision | None = None
    repetitions: Repetitions = field(default_factory=Repetitions)
    labels: Mapping[str, int] = field(default_factory=dict)
    pairs: PairStatistics | None = None
    lengths: Lengths | None = None
    masks: tuple[MaskedSample, ...] = ()
    packing: PackingCheck | None = None
    contract: tuple[str, ...] | None = None
    broken_tokens: Mapping[str, int] = field(default_factory=dict)
    control_tokens: Mapping[str, list[str]] = field(default_factory=dict)
    estimate: Estimate | None = None
    servers: tuple[ServerSupport, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the run can be made."""
        return not any(finding.severity == "error" for finding in self.findings)
