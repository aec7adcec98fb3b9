"""Fusion chosen by measurement on the workspace's own documents.

Every method and weight is tried on queries whose source is known. The default stands unless a
trial beats it by more than chance, so a small or odd set of queries cannot make search worse.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from moli.metrics.ranking import reciprocal_rank
from moli.metrics.statistics import paired_p_value
from moli.records.answers import Fusion
from moli.records.errors import InputError
from moli.retrieval.fuse import DEFAULTS, fuse
from moli.retrieval.search import Candidates, Retriever
from moli.retrieval.sentences import sentence_spans
from moli.retrieval.tokens import Language, language_of
from moli.workspace import Workspace
from moli.workspace.filter import Filter
from moli.workspace.passages import PassageStore

TRIALS = (
    *(Fusion("minmax", round(0.1 * step, 1)) for step in range(11)),
    *(Fusion("zscore", round(0.1 * step, 1)) for step in range(1, 10)),
    Fusion("rrf", 0.5),
)
_DEPTH = 10
_SIGNIFICANT = 0.05
_KEPT_WORDS = 0.5
_SHORTEST = 40  # characters of a sentence that a query is made from


@dataclass(frozen=True, slots=True)
class LabelledQuery:
    """A query and the source that answers it."""

    query: str
    source: str
    synthetic: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """A way of fusing and its mean reciprocal rank at 10."""

    fusion: Fusion
    score: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was chosen for a language, and why: `p_value` is of the best trial over the default."""

    language: Language
    fusion: Fusion
    default: Fusion
    queries: int
    synthetic: bool
    p_value: float
    trials: tuple[Trial, ...]


def labelled_queries(path: Path) -> list[LabelledQuery]:
    """Read queries from JSONL lines {"query": ..., "source": ...}.

    Raises:
        InputError: a line cannot be read; the message has its number.
    """
    try:
        # Not splitlines(): JSON lets U+2028 and its like stand in a text.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot be read ({error})", where=str(path), fix="Give a JSONL file in UTF-8."
        ) from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            found.append(LabelledQuery(str(row["query"]), str(row["source"])))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(
                f"not a labelled query ({type(error).__name__}: {error})",
                where=f"{path}:{number}",
                fix='Write {"query": "...", "source": "..."} on each line.',
            ) from error
    return found


def synthetic_queries(passages: PassageStore, limit: int, seed: int = 0) -> list[LabelledQuery]:
    """Queries made from passages: half the words of a sentence, in their order.

    At most `limit` a language. They repeat the passage's own words and so flatter the lexical
    side; `tune` goes only half of the way they point.
    """
    generator = random.Random(seed)  # noqa: S311
    found: dict[Language, list[LabelledQuery]] = {"en": [], "zh": []}
    for batch in passages.scan():
        for passage in batch:
            spans = [s for s in sentence_spans(passage.text) if s[1] - s[0] >= _SHORTEST]
            if spans:
                start, end = generator.choice(spans)
                query = _thinned(passage.text[start:end], generator)
                found[language_of(query)].append(LabelledQuery(query, passage.source, True))
    return [
        each
        for queries in found.values()
        for each in generator.sample(queries, min(limit, len(queries)))
    ]


def _thinned(sentence: str, generator: random.Random) -> str:
    chinese = language_of(sentence) == "zh"
    # Chinese has no spaces to part words; runs of three characters stand in for them.
    words = (
        [sentence[i : i + 3] for i in range(0, len(sentence), 3)] if chinese else sentence.split()
    )
    kept = [word for word in words if generator.random() < _KEPT_WORDS] or words
    return ("" if chinese else " ").join(kept)


def tune(
    workspace: Workspace, retriever: Retriever, queries: Sequence[LabelledQuery], limit: int = 400
) -> list[Tuning]:
    """Measure every trial per language, store and return what was chosen.

    Raises:
        InputError: no query's source is in the workspace.
    """
    known = workspace.documents.stored_versions()
    usable = [each for each in queries if each.source in known]
    if not usable:
        raise InputError(
            "no query names a document of this workspace",
            fix="Use sources as 'moli list' shows them, and add documents first.",
        )
    chosen = []
    for language in DEFAULTS:
        asked = [each for each in usable if language_of(each.query) == language][:limit]
        if asked:
            tuning = _tune(retriever, language, asked)
            evidence = asdict(tuning)
            workspace.tunings.add(language, tuning.fusion, evidence)
            chosen.append(tuning)
    return chosen


def _tune(retriever: Retriever, language: Language, asked: Sequence[LabelledQuery]) -> Tuning:
    everything = Filter(everything=True)
    both = Fusion("minmax", 0.5)
    found = [retriever.candidates(each.query, everything, both) for each in asked]
    sources = retriever.sources([n for each in found for n in {*each.lexical, *each.dense}])

    def scores(fusion: Fusion) -> list[float]:
        return [
            reciprocal_rank(_ranked(each, fusion, sources), {query.source}, _DEPTH)
            for each, query in zip(found, asked, strict=True)
        ]

    default = DEFAULTS[language]
    by_trial = {fusion: scores(fusion) for fusion in dict.fromkeys((*TRIALS, default))}
    best = max(by_trial, key=lambda fusion: sum(by_trial[fusion]))
    p_value = paired_p_value(by_trial[best], by_trial[default])
    synthetic = any(each.synthetic for each in asked)
    fusion = best if p_value < _SIGNIFICANT else default
    if synthetic and fusion.method == default.method:
        fusion = Fusion(fusion.method, round((fusion.weight + default.weight) / 2, 3))
    elif synthetic:
        fusion = default
    return Tuning(
        language=language,
        fusion=fusion,
        default=default,
        queries=len(asked),
        synthetic=synthetic,
        p_value=p_value,
        trials=tuple(Trial(f, sum(values) / len(values)) for f, values in by_trial.items()),
    )


def _ranked(found: Candidates, fusion: Fusion, sources: dict[int, str]) -> list[str]:
    """Sources by their best passage."""
    ranked = fuse(found.lexical, found.dense, fusion)[: 5 * _DEPTH]
    return list(dict.fromkeys(sources[number] for number, _ in ranked if number in sources))
