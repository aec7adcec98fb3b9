"""Selection of the fusion of scores by measurement on the workspace's own documents.

Every method and weight is evaluated on queries whose source is known. The default stays unless
another fusion is significantly better, so a small or odd set of queries cannot make search worse.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from moli.metrics.ranking import reciprocal_rank
from moli.metrics.statistics import paired_p_value
from moli.records.answers import Fusion
from moli.records.errors import InputError
from moli.retrieval.fuse import default_fusion, fuse
from moli.retrieval.search import Retriever
from moli.retrieval.sentences import sentence_spans
from moli.retrieval.tokens import LANGUAGES, Language, language_of
from moli.workspace import Workspace
from moli.workspace.filter import Filter
from moli.workspace.passages import PassageStore

CANDIDATES = (
    *(Fusion("minmax", round(0.1 * step, 1)) for step in range(11)),
    *(Fusion("zscore", round(0.1 * step, 1)) for step in range(1, 10)),
    Fusion("rrf", 0.5),
)
_DEPTH = 10
_SIGNIFICANCE = 0.05
_KEPT_SHARE = 0.5
_MIN_CHARACTERS = 40  # of a sentence that a query is made from


@dataclass(frozen=True, slots=True)
class LabelledQuery:
    """A query and the source of the document that answers it."""

    query: str
    source: str
    synthetic: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """A fusion and its mean reciprocal rank at 10."""

    fusion: Fusion
    score: float


@dataclass(frozen=True, slots=True)
class FusionTuning:
    """The fusion selected for queries and passages in some languages, with its evidence.

    Attributes:
        language: the queries'.
        queries: number of queries.
        synthetic: whether any query was made from a passage.
        p_value: p-value of the best trial's advantage over the default.
    """

    language: Language
    passage_language: Language
    fusion: Fusion
    default: Fusion
    queries: int
    synthetic: bool
    p_value: float
    trials: tuple[Trial, ...]


def labelled_queries(path: Path) -> list[LabelledQuery]:
    """Read queries from JSONL lines {"query": ..., "source": ...}.

    Raises:
        InputError: the file or a line cannot be read; the message has the line's number.
    """
    try:
        # Not splitlines(): JSON texts may contain U+2028 and the like.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot be read ({error})", where=str(path), fix="Give a JSONL file in UTF-8."
        ) from error
    queries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            queries.append(LabelledQuery(str(row["query"]), str(row["source"])))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(
                f"not a labelled query ({type(error).__name__}: {error})",
                where=f"{path}:{number}",
                fix='Write {"query": "...", "source": "..."} on each line.',
            ) from error
    return queries


def synthetic_queries(passages: PassageStore, limit: int, seed: int = 0) -> list[LabelledQuery]:
    """At most `limit` queries per language made from passages: half the words of a sentence.

    They repeat the passage's own words and so favor the lexical index; `tune_fusion` therefore
    moves the weight only half of the way.
    """
    generator = random.Random(seed)  # noqa: S311
    by_language: dict[Language, list[LabelledQuery]] = {"en": [], "zh": []}
    for batch in passages.scan():
        for passage in batch:
            spans = [
                (start, end)
                for start, end in sentence_spans(passage.text)
                if end - start >= _MIN_CHARACTERS
            ]
            if spans:
                start, end = generator.choice(spans)
                query = _sample_words(passage.text[start:end], generator)
                labelled = LabelledQuery(query, passage.source, synthetic=True)
                by_language[language_of(query)].append(labelled)
    return [
        query
        for queries in by_language.values()
        for query in generator.sample(queries, min(limit, len(queries)))
    ]


def _sample_words(sentence: str, generator: random.Random) -> str:
    """A random half of a sentence's words, in their order."""
    is_chinese = language_of(sentence) == "zh"
    # Chinese has no spaces between words; runs of three characters take their place.
    words = (
        [sentence[i : i + 3] for i in range(0, len(sentence), 3)]
        if is_chinese
        else sentence.split()
    )
    kept = [word for word in words if generator.random() < _KEPT_SHARE] or words
    return ("" if is_chinese else " ").join(kept)


def tune_fusion(
    workspace: Workspace, retriever: Retriever, queries: Sequence[LabelledQuery], limit: int = 400
) -> list[FusionTuning]:
    """Select the best fusion for each pair of languages, and store it in the workspace.

    Args:
        limit: maximum number of queries per pair of a query's and its document's language.

    Raises:
        InputError: no query's source is in the workspace.
    """
    languages = {each.source: each.language for each in workspace.documents.list()}
    usable = [query for query in queries if query.source in languages]
    if not usable:
        raise InputError(
            "no query names a document of this workspace",
            fix="Use sources as 'moli list' shows them, and add documents first.",
        )
    tunings = []
    for language, passage_language in itertools.product(LANGUAGES, LANGUAGES):
        selected = [
            query
            for query in usable
            if (language_of(query.query), languages[query.source]) == (language, passage_language)
        ][:limit]
        if selected:
            tuning = _tune_pair(retriever, language, passage_language, selected)
            workspace.tunings.add(
                retriever.encoder.name,
                language,
                passage_language,
                tuning.fusion,
                evidence=asdict(tuning),
            )
            tunings.append(tuning)
    return tunings


def _tune_pair(
    retriever: Retriever,
    language: Language,
    passage_language: Language,
    queries: Sequence[LabelledQuery],
) -> FusionTuning:
    """Evaluate all fusions on queries whose passages are in one language, and select one."""
    everything = Filter(everything=True)
    both = Fusion("minmax", 0.5)
    results = [retriever.candidates(query.query, everything, (both,)) for query in queries]
    is_native = language == passage_language
    pairs = [(each.lexical if is_native else each.translated, each.dense) for each in results]
    sources = retriever.sources([id_ for pair in pairs for by_id in pair for id_ in by_id])

    def scores(fusion: Fusion) -> list[float]:
        """Reciprocal rank of each query's source."""
        rankings = [_ranked_sources(fuse(*pair, fusion), sources) for pair in pairs]
        return [
            reciprocal_rank(ranking, {query.source}, _DEPTH)
            for ranking, query in zip(rankings, queries, strict=True)
        ]

    default = default_fusion(retriever.encoder, language, passage_language)
    by_fusion = {fusion: scores(fusion) for fusion in dict.fromkeys((*CANDIDATES, default))}
    best = max(by_fusion, key=lambda fusion: sum(by_fusion[fusion]))
    p_value = paired_p_value(by_fusion[best], by_fusion[default])
    synthetic = any(query.synthetic for query in queries)
    fusion = best if p_value < _SIGNIFICANCE else default
    if synthetic and fusion.method == default.method:
        fusion = Fusion(fusion.method, round((fusion.weight + default.weight) / 2, 3))
    elif synthetic:
        fusion = default
    return FusionTuning(
        language=language,
        passage_language=passage_language,
        fusion=fusion,
        default=default,
        queries=len(queries),
        synthetic=synthetic,
        p_value=p_value,
        trials=tuple(Trial(f, sum(values) / len(values)) for f, values in by_fusion.items()),
    )


def _ranked_sources(ranked: list[tuple[int, float]], sources: dict[int, str]) -> list[str]:
    """Sources in the order of their best passages."""
    best = ranked[: 5 * _DEPTH]
    return list(dict.fromkeys(sources[id_] for id_, _ in best if id_ in sources))
