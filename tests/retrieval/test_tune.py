from __future__ import annotations

import json
from pathlib import Path

import pytest
from samples import ENCODER, ingest, new_document

from moli.records.answers import Fusion
from moli.records.errors import InputError
from moli.retrieval.fuse import default_fusion
from moli.retrieval.search import Retriever
from moli.retrieval.tune import (
    CANDIDATES,
    LabelledQuery,
    labelled_queries,
    synthetic_queries,
    tune_fusion,
)
from moli.workspace import Workspace

COUNT = 40
DEFAULT = default_fusion(ENCODER, "en", "en")


@pytest.fixture
def misled(workspace: Workspace, retriever: Retriever) -> Retriever:
    """A library where the words lead astray and the meaning is right.

    Document n has the vector of query n, and the words of query n + 1.
    """
    queries = [f"query{n}" for n in range(COUNT)]
    vectors = ENCODER.encode(queries)
    workspace.documents.put(
        new_document(f"d{n}", f"query{(n + 1) % COUNT}", vectors=vectors[[n]]) for n in range(COUNT)
    )
    return retriever


def labelled() -> list[LabelledQuery]:
    """Queries whose answer is the document of their vector."""
    return [LabelledQuery(f"query{n}", f"d{n}") for n in range(COUNT)]


def current(workspace: Workspace, language: str, passage_language: str) -> Fusion | None:
    """The stored fusion for the encoder of these tests."""
    return workspace.tunings.current(ENCODER.name, language, passage_language)


def test_what_the_queries_show_is_chosen_and_kept(misled: Retriever, workspace: Workspace) -> None:
    (tuning,) = tune_fusion(workspace, misled, labelled())
    scores = {trial.fusion: trial.score for trial in tuning.trials}
    assert set(scores) == {*CANDIDATES, DEFAULT}
    assert scores[Fusion("minmax", 0.0)] == 1.0
    assert scores[Fusion("minmax", 1.0)] < 0.1
    assert scores[tuning.fusion] == max(scores.values()) == 1.0
    assert tuning.p_value < 0.05
    assert (tuning.language, tuning.queries, tuning.synthetic) == ("en", COUNT, False)
    assert current(workspace, "en", "en") == misled.fusion("en", "en") == tuning.fusion
    assert current(workspace, "zh", "zh") is None


def test_the_default_stands_where_no_trial_is_surely_better(
    misled: Retriever, workspace: Workspace
) -> None:
    (tuning,) = tune_fusion(workspace, misled, labelled()[:2])
    assert tuning.p_value >= 0.05
    assert tuning.fusion == tuning.default == DEFAULT
    assert current(workspace, "en", "en") == DEFAULT


def test_made_up_queries_move_the_weight_only_half_of_the_way(
    misled: Retriever, workspace: Workspace
) -> None:
    made_up = [LabelledQuery(each.query, each.source, True) for each in labelled()]
    (tuning,) = tune_fusion(workspace, misled, made_up)
    best = max(tuning.trials, key=lambda trial: trial.score).fusion
    assert tuning.synthetic
    assert tuning.fusion.method == "minmax"
    assert tuning.fusion.weight == pytest.approx((best.weight + DEFAULT.weight) / 2)


def test_each_language_is_tuned_by_its_own_queries(
    workspace: Workspace, retriever: Retriever
) -> None:
    ingest(workspace, {"a": "The pump is loud.", "b": "水泵的声音很大。"})
    queries = [LabelledQuery("pump", "a"), LabelledQuery("水泵", "b"), LabelledQuery("x", "gone")]
    tunings = tune_fusion(workspace, retriever, queries)
    assert {(each.language, each.queries) for each in tunings} == {("en", 1), ("zh", 1)}


def test_queries_across_languages_are_tuned_apart(
    workspace: Workspace, retriever: Retriever
) -> None:
    ingest(workspace, {"a": "The pump is loud.", "b": "水泵的声音很大。"})
    queries = [LabelledQuery("pump", "b"), LabelledQuery("pump", "a"), LabelledQuery("水泵", "a")]
    tunings = tune_fusion(workspace, retriever, queries)
    pairs = [(each.language, each.passage_language, each.queries) for each in tunings]
    assert pairs == [("en", "en", 1), ("en", "zh", 1), ("zh", "en", 1)]
    assert current(workspace, "zh", "en") == retriever.fusion("zh", "en")


def test_queries_whose_documents_are_not_there_are_refused(
    workspace: Workspace, retriever: Retriever
) -> None:
    with pytest.raises(InputError, match="moli list"):
        tune_fusion(workspace, retriever, [LabelledQuery("pump", "nowhere")])
    with pytest.raises(InputError):
        tune_fusion(workspace, retriever, [])


def test_a_file_of_labelled_queries_is_read(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    rows = [{"query": "泵", "source": "a.txt"}, {"query": "valve", "source": "b.txt", "more": 1}]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    assert labelled_queries(path) == [LabelledQuery("泵", "a.txt"), LabelledQuery("valve", "b.txt")]


@pytest.mark.parametrize(
    "line", ["nonsense", '{"query": "x"}', '["x", "y"]', "3", '{"query": "x", "source": "y"']
)
def test_a_line_that_is_no_labelled_query_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text(f'{{"query": "x", "source": "y"}}\n{line}\n')
    with pytest.raises(InputError) as caught:
        labelled_queries(path)
    assert caught.value.where == f"{path}:2"


def test_a_line_separator_inside_a_query_does_not_end_its_line(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    row = json.dumps({"query": "one\u2028two\x85three", "source": "a"}, ensure_ascii=False)
    path.write_text(row, encoding="utf-8")
    assert labelled_queries(path) == [LabelledQuery("one\u2028two\x85three", "a")]


@pytest.mark.parametrize("data", [None, b'{"query": "\xff\xfe", "source": "a"}'])
def test_a_file_that_cannot_be_read_is_an_input_error(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "queries.jsonl"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError):
        labelled_queries(path)


def test_made_up_queries_are_part_of_a_sentence_of_their_document(workspace: Workspace) -> None:
    texts = {
        f"en{n}": f"The pump number {n} moves the water of the plant to the tank. It is loud."
        for n in range(6)
    } | {f"zh{n}": f"第{n}台水泵把水厂的水送到很远很远的地方去" * 3 + "。" for n in range(6)}
    ingest(workspace, texts)
    queries = synthetic_queries(workspace.passages, limit=4)
    assert len(queries) == 8
    assert queries == synthetic_queries(workspace.passages, limit=4)
    assert queries != synthetic_queries(workspace.passages, limit=4, seed=1)
    for query in queries:
        assert query.synthetic
        words = query.query.split()
        assert 0 < len(query.query) < len(texts[query.source])
        if query.source.startswith("en"):
            remaining = iter(texts[query.source].split())
            assert all(word in remaining for word in words)  # in their order


def test_passages_without_a_long_sentence_give_no_queries(workspace: Workspace) -> None:
    ingest(workspace, {"a": "Short. Shorter."})
    assert synthetic_queries(workspace.passages, limit=4) == []
