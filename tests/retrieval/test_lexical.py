from __future__ import annotations

import itertools
import math
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import EVERYTHING, ingest, new_document

from moli.retrieval.lexical import LexicalIndex
from moli.retrieval.tokens import query_terms, tokenize
from moli.workspace import Workspace

TEXTS = [
    "The pump moves water. The pump is loud.",
    "A quiet pump for the garden pond, and a filter.",
    "Water flows downhill.",
    "The filter keeps the pond clean; replace the filter each spring, and the pump each decade.",
    "Nothing in here is about it.",
    "水泵把水抽到池塘。",
    "池塘的水很干净。",
]
QUERIES = [
    "pump",
    "pump filter",
    "garden pond water",
    "filter filter pump",
    "unknown",
    "水",
    "池塘水泵",
]


def naive_bm25(query: str, texts: Sequence[str]) -> dict[int, float]:
    """Scores by place from 1, in double precision, with k1 = 1.2 and b = .75."""
    k1, b = 1.2, 0.75
    bags = [Counter(tokenize(text)) for text in texts]
    lengths = [sum(bag.values()) for bag in bags]
    total, average = len(texts), sum(lengths) / len(texts)
    scores: dict[int, float] = {}
    for term in query_terms(query):
        holders = sum(term in bag for bag in bags)
        rarity = math.log(1 + (total - holders + 0.5) / (holders + 0.5))
        for number, (bag, length) in enumerate(zip(bags, lengths, strict=True), 1):
            if bag[term]:
                norm = k1 * (1 - b + b * length / average)
                gain = rarity * bag[term] * (k1 + 1) / (bag[term] + norm)
                scores[number] = scores.get(number, 0.0) + gain
    return scores


def put(workspace: Workspace, source: str, *parts: str) -> None:
    workspace.documents.put([new_document(source, *parts)])


@pytest.fixture
def index(workspace: Workspace, tmp_path: Path) -> LexicalIndex:
    """An index of `TEXTS`, each a passage, numbered from 1."""
    put(workspace, "texts", *TEXTS)
    index = LexicalIndex(tmp_path / "lexical")
    catch_up(index, workspace)
    return index


def catch_up(index: LexicalIndex, workspace: Workspace) -> None:
    changes = workspace.passages.changes(index.applied)
    if changes:
        index.apply(changes, workspace.passages)


@pytest.mark.slow
@pytest.mark.parametrize("query", QUERIES)
def test_scores_are_those_of_bm25(index: LexicalIndex, query: str) -> None:
    expected = naive_bm25(query, TEXTS)
    result = index.search(query, 100)
    assert result == pytest.approx(expected, rel=1e-5)
    assert list(result.values()) == sorted(result.values(), reverse=True)


def test_the_limit_keeps_the_best(index: LexicalIndex) -> None:
    everything = index.search("pump water filter", 100)
    assert len(everything) > 2
    best = index.search("pump water filter", 2)
    assert best == dict(list(everything.items())[:2])
    assert index.search("pump", 0) == {}


@pytest.mark.slow
@pytest.mark.parametrize("query", ["", "  ", "?!", "。"])
def test_a_query_without_terms_finds_nothing(index: LexicalIndex, query: str) -> None:
    assert index.search(query, 10) == {}


@pytest.mark.slow
@pytest.mark.parametrize("within", [[], [1], [2, 4], [3, 5, 99], range(1, 8)])
def test_within_some_passages_the_scores_are_the_same(
    index: LexicalIndex, within: Sequence[int]
) -> None:
    everything = index.search("pump water filter", 100)
    result = index.search("pump water filter", 100, within)
    assert result == pytest.approx({n: s for n, s in everything.items() if n in within})


def test_what_is_removed_is_found_no_more(index: LexicalIndex, workspace: Workspace) -> None:
    put(workspace, "more", "A second pump.")
    catch_up(index, workspace)
    assert (len(index), 8 in index.search("pump", 10)) == (8, True)
    workspace.documents.remove([workspace.documents.stored_versions()["texts"].document_id])
    catch_up(index, workspace)
    assert len(index) == 1
    assert list(index.search("pump", 10)) == [8]


def test_changes_applied_twice_do_no_harm(index: LexicalIndex, workspace: Workspace) -> None:
    before = index.search("pump water filter", 100)
    index.apply(workspace.passages.changes(0), workspace.passages)
    assert len(index) == len(TEXTS)
    assert list(index.search("pump water filter", 100)) == list(before)
    assert index.applied == workspace.passages.last_change()


def test_an_index_that_is_opened_again_knows_what_it_has_applied(
    index: LexicalIndex, tmp_path: Path
) -> None:
    again = LexicalIndex(tmp_path / "lexical")
    assert (again.applied, len(again)) == (index.applied, len(TEXTS))
    assert again.search("pump", 9) == index.search("pump", 9)


def test_what_another_process_commits_is_seen_after_a_reload(
    index: LexicalIndex, workspace: Workspace, tmp_path: Path
) -> None:
    other = LexicalIndex(tmp_path / "lexical")
    put(workspace, "more", "A second pump.")
    catch_up(other, workspace)
    assert 8 not in index.search("pump", 10)
    index.reload()
    assert index.applied == other.applied
    assert 8 in index.search("pump", 10)


def test_an_empty_index_answers_with_nothing(tmp_path: Path) -> None:
    index = LexicalIndex(tmp_path / "lexical")
    assert (len(index), index.applied, index.search("pump", 5)) == (0, 0, {})


def test_an_index_that_is_cleared_starts_from_nothing(
    index: LexicalIndex, workspace: Workspace
) -> None:
    before = index.search("pump", 9)
    index.clear()
    assert (len(index), index.applied, index.search("pump", 9)) == (0, 0, {})
    catch_up(index, workspace)
    assert index.search("pump", 9) == pytest.approx(before)


def test_synonyms_count_as_one_term(index: LexicalIndex, workspace: Workspace) -> None:
    """The scores are those of an index in which one word stands for all of its synonyms."""
    texts = [re.sub("(?i)filters?|gardens?", "pump", text) for text in TEXTS]
    groups = [("pump", "filter", "garden"), ("water",)]
    assert index.search_synonyms(groups, 100) == pytest.approx(naive_bm25("pump water", texts))
    assert index.search_synonyms([("nowhere", "never")], 100) == {}


def test_removed_passages_do_not_count_for_the_rarity_of_a_term(
    index: LexicalIndex, workspace: Workspace
) -> None:
    for n in range(12):
        put(workspace, f"d{n}", f"The turbine number {n}.")
    catch_up(index, workspace)
    stored = workspace.documents.stored_versions()
    workspace.documents.remove(
        [stored[f"d{n}"].document_id for n in range(11)] + [stored["texts"].document_id]
    )
    catch_up(index, workspace)
    assert len(index) == 1
    # One passage is left, and it has the term. Its length is the mean, so its score is the IDF.
    assert list(index.search("turbine", 9).values()) == pytest.approx([math.log(1 + 0.5 / 1.5)])


def test_an_index_of_another_version_of_terms_is_made_again(
    index: LexicalIndex, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(index.search("pump", 9))
    monkeypatch.setattr("moli.retrieval.lexical._TERMS", "terms_of_tomorrow")
    newer = LexicalIndex(tmp_path / "lexical")
    assert (newer.applied, len(newer)) == (0, 0)
    catch_up(newer, workspace)
    assert list(newer.search("pump", 9)) == before


WORDS = ["pump", "water", "filter", "garden", "pond", "水泵", "池塘", "圖書館"]
SOURCES = "abcdef"
# A source with its new text, or with None if it is removed; and whether the index follows at once.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(SOURCES),
        st.none() | st.lists(st.sampled_from(WORDS), min_size=1, max_size=60).map(" ".join),
        st.booleans(),
    ),
    max_size=25,
)


def scores_by_source(index: LexicalIndex, workspace: Workspace, query: str) -> dict[str, float]:
    scores = index.search(query, 100)
    passages = workspace.passages.get(list(scores), EVERYTHING)
    return {passages[number].source: score for number, score in scores.items()}


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_scores_depend_on_the_passages_that_are_there_and_on_nothing_else(
    steps: list[tuple[str, str | None, bool]],
) -> None:
    live: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with Workspace.init(root / "used") as used, Workspace.init(root / "fresh") as fresh:
            index = LexicalIndex(root / "used index")
            for source, text, follows in steps:
                if text is not None:
                    put(used, source, text)
                    live[source] = text
                elif source in live:
                    used.documents.remove([used.documents.stored_versions()[source].document_id])
                    del live[source]
                if follows:
                    catch_up(index, used)
            catch_up(index, used)
            for source in sorted(live, reverse=True):
                put(fresh, source, live[source])
            other = LexicalIndex(root / "fresh index")
            catch_up(other, fresh)
            assert len(index) == len(other) == len(live)
            texts = list(live.values())
            for query in ("pump", "water filter pump", "池塘的水泵", "图书馆 pond"):
                scores = scores_by_source(index, used, query)
                assert scores == scores_by_source(other, fresh, query)
                expected = naive_bm25(query, texts).items() if texts else ()
                assert scores == pytest.approx({list(live)[n - 1]: s for n, s in expected})


def damage(path: Path, how: str) -> None:
    size = path.stat().st_size
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "noise":
        path.write_bytes(np.random.default_rng(3).bytes(max(size, 64)))
    else:
        path.write_bytes(path.read_bytes()[: size // 2])


KINDS = [".json", ".fast", ".fieldnorm", ".idx", ".pos", ".store", ".term"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "how"),
    list(itertools.product(KINDS, ("missing", "empty", "noise", "half"))),
)
def test_damaged_files_are_thrown_away_and_made_again(
    workspace: Workspace, tmp_path: Path, index: LexicalIndex, kind: str, how: str
) -> None:
    expected = index.search("pump water filter", 100)
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "lexical", copy)
    files = [path for path in copy.iterdir() if path.suffix == kind and path.name[0] != "."]
    assert files
    for path in files:
        damage(path, how)
    again = LexicalIndex(copy)
    catch_up(again, workspace)
    assert again.search("pump water filter", 100) == pytest.approx(expected)
    ingest(workspace, {"later": "Another pump."})
    catch_up(again, workspace)
    assert len(again.search("pump", 100)) == len(index.search("pump", 100)) + 1
