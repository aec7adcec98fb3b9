"""Search against a naive model of who may see what, on every way that a search can go."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import write_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from samples import ENCODER, EVERYTHING, ingest, new_document

from moli.records.answers import Fusion, Hit
from moli.retrieval import search as search_module
from moli.retrieval.dictionary import translated_query
from moli.retrieval.fuse import default_fusion
from moli.retrieval.search import Retriever
from moli.workspace import Workspace
from moli.workspace.filter import Filter

GROUPS = ("everyone", "hr", "it")
WORDS = ("pump", "valve", "motor", "filter", "水泵")
LEXICAL, DENSE, BOTH = Fusion("minmax", 1.0), Fusion("minmax", 0.0), Fusion("minmax", 0.5)
FUSIONS = [LEXICAL, DENSE, BOTH, Fusion("rrf", 0.5), Fusion("zscore", 0.3)]


@dataclass(frozen=True)
class Kept:
    """A document as the naive model knows it."""

    texts: tuple[str, ...]
    groups: frozenset[str]
    attributes: Mapping[str, str]


def is_visible(kept: Kept, visible: Filter) -> bool:
    open_to = visible.everything or bool(kept.groups & visible.groups)
    return open_to and all(kept.attributes.get(k) == v for k, v in visible.where.items())


def expected_texts(library: Mapping[str, Kept], visible: Filter) -> set[tuple[str, str]]:
    return {
        (source, text)
        for source, kept in library.items()
        if is_visible(kept, visible)
        for text in kept.texts
    }


def texts_of(hits: Sequence[Hit]) -> list[tuple[str, str]]:
    return [(hit.source, hit.text) for hit in hits]


FILTERS = st.builds(
    Filter,
    st.frozensets(st.sampled_from((*GROUPS, "nobody"))),
    st.dictionaries(st.sampled_from(["team", "year"]), st.sampled_from(["x", "y"]), max_size=2),
)


def make_library(seed: int = 5) -> dict[str, Kept]:
    generator = np.random.default_rng(seed)
    library = {}
    for n in range(60):
        words = [
            " ".join(generator.choice(WORDS, generator.integers(1, 6))) + f" {n} {part}. "
            for part in range(generator.integers(1, 4))
        ]
        groups = frozenset(map(str, generator.choice(GROUPS, generator.integers(0, 3))))
        attributes = {
            key: str(generator.choice(["x", "y"]))
            for key in ("team", "year")
            if generator.random() < 0.6
        }
        library[f"d{n}"] = Kept(tuple(words), groups, attributes)
    return library


LIBRARY = make_library()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retriever]:
    """A retriever over `LIBRARY`, which no test changes."""
    folder = tmp_path_factory.mktemp("library")
    write_settings(folder)
    with Workspace.init(folder) as workspace:
        workspace.documents.put(
            new_document(source, *kept.texts, groups=kept.groups, attributes=kept.attributes)
            for source, kept in LIBRARY.items()
        )
        yield Retriever(workspace, ENCODER)


# Candidates from each side, and visible passages up to which the indexes themselves filter.
PATHS = {
    "one look": (10_000, 20_000),
    "filtered inside": (3, 20_000),
    "looked for deeper": (3, 0),
    "either": (20, 40),
}


@pytest.fixture(params=PATHS)
def depth(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Sends searches down one of the paths; gives the candidates a side may bring."""
    depth, push_down = PATHS[request.param]
    monkeypatch.setattr(search_module, "DEPTH", depth)
    monkeypatch.setattr(search_module, "_MAX_ALLOWED_IDS", push_down)
    return depth


on_every_path = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
QUERIES = st.lists(st.sampled_from((*WORDS, "unknown")), min_size=1, max_size=3).map(" ".join)


@pytest.mark.slow
@on_every_path
@given(visible=FILTERS, query=QUERIES, fusion=st.sampled_from(FUSIONS), limit=st.integers(1, 400))
def test_nothing_hidden_is_ever_found(
    searched: Retriever, depth: int, visible: Filter, query: str, fusion: Fusion, limit: int
) -> None:
    hits = searched.search(query, limit, visible, fusion)
    allowed = expected_texts(LIBRARY, visible)
    assert set(texts_of(hits)) <= allowed
    assert len(texts_of(hits)) == len(set(texts_of(hits))) <= limit
    if fusion.weight < 1:
        assert len(hits) >= min(limit, depth, len(allowed))


@pytest.mark.slow
@on_every_path
@given(visible=FILTERS, query=QUERIES)
def test_the_best_by_meaning_are_those_of_an_exhaustive_search(
    searched: Retriever, depth: int, visible: Filter, query: str
) -> None:
    allowed = sorted(expected_texts(LIBRARY, visible))
    expected = ENCODER.encode([query])[0]
    cosines = dict(zip(allowed, ENCODER.encode([t for _, t in allowed]) @ expected, strict=True))
    hits = searched.search(query, depth, visible, DENSE)
    assert len(hits) == min(depth, len(allowed))
    assert {key: cosines[key] for key in texts_of(hits)} == pytest.approx(
        {(hit.source, hit.text): hit.dense for hit in hits}, abs=2e-3
    )
    floor = min((hit.dense or 0.0 for hit in hits), default=0.0)
    left = [cosine for key, cosine in cosines.items() if key not in texts_of(hits)]
    assert max(left, default=floor) <= floor + 2e-3


@pytest.mark.slow
@on_every_path
@given(visible=FILTERS, query=QUERIES)
def test_every_visible_passage_with_the_word_is_found_by_words(
    searched: Retriever, depth: int, visible: Filter, query: str
) -> None:
    words = set(query.split())
    translated = {term for group in translated_query(query) for term in group}
    visible_texts = expected_texts(LIBRARY, visible)

    def having(sought: set[str]) -> set[tuple[str, str]]:
        """The visible passages with one of some words."""
        return {each for each in visible_texts if sought & set(each[1].replace(".", "").split())}

    hits = searched.search(query, depth, visible, LEXICAL)
    found = set(texts_of(hits))
    assert found <= having(words | translated)
    assert len(hits) >= min(depth, len(having(words)))
    assert depth < len(visible_texts) or having(words) <= found


@pytest.mark.parametrize("visible", [Filter(frozenset()), Filter(where={"team": "z"})])
def test_who_is_in_no_group_or_asks_for_nothing_there_sees_nothing(
    searched: Retriever, depth: int, visible: Filter
) -> None:
    for fusion in FUSIONS:
        assert searched.search("pump valve motor", 400, visible, fusion) == []


def test_who_may_see_everything_finds_everything(searched: Retriever) -> None:
    hits = searched.search("pump", 400, EVERYTHING, DENSE)
    assert set(texts_of(hits)) == expected_texts(LIBRARY, EVERYTHING)


def test_by_default_a_search_sees_what_is_open_to_everyone(searched: Retriever) -> None:
    hits = searched.search("pump", 400, fusion=DENSE)
    assert set(texts_of(hits)) == expected_texts(LIBRARY, Filter(frozenset({"everyone"})))


def before_and_after_hiding(
    workspace: Workspace, retriever: Retriever, fusion: Fusion
) -> tuple[list[Hit], list[Hit]]:
    """A reader's hits before and after thirty documents are added that they may not see."""
    ingest(workspace, {f"open{n}": f"The {w} number {n}." for n, w in enumerate(WORDS * 3)})
    before = retriever.search("pump valve", 8, fusion=fusion)
    ingest(workspace, {f"hidden{n}": f"The pump valve {n}." for n in range(30)}, "hr")
    return before, retriever.search("pump valve", 8, fusion=fusion)


ONE_SIDED = [DENSE, Fusion("rrf", 0.0), Fusion("zscore", 0.0)]


@pytest.mark.parametrize("fusion", ONE_SIDED)
def test_hidden_documents_change_no_score_of_what_is_shown(
    workspace: Workspace, retriever: Retriever, depth: int, fusion: Fusion
) -> None:
    before, after = before_and_after_hiding(workspace, retriever, fusion)
    assert after == before


def test_a_side_without_weight_is_not_asked(searched: Retriever) -> None:
    assert all(hit.dense is None for hit in searched.search("pump", 9, EVERYTHING, LEXICAL))
    assert all(hit.lexical is None for hit in searched.search("pump", 9, EVERYTHING, DENSE))


def test_a_hit_tells_where_it_stands(workspace: Workspace, retriever: Retriever) -> None:
    new = new_document("a", "First part. ", "The pump. ", title="Manual", pages=(0, 12))
    workspace.documents.put([new])
    (hit,) = retriever.search("pump", 1, fusion=LEXICAL)
    assert (hit.source, hit.title, hit.page, hit.start, hit.end) == ("a", "Manual", 2, 12, 22)
    assert hit.text == new.parsed.text[hit.start : hit.end]
    assert hit.text_with_context == "Manual\nThe pump."


@pytest.mark.parametrize("query", ["", " ", "?!", "\0", "a" * 5000, '"pump" AND (', "水" * 500])
def test_no_query_is_too_odd(searched: Retriever, query: str) -> None:
    assert len(searched.search(query, 5, EVERYTHING)) <= 5


def test_a_workspace_without_documents_has_nothing_to_find(retriever: Retriever) -> None:
    assert retriever.search("pump") == []


def test_a_tuned_workspace_searches_as_it_was_tuned(
    workspace: Workspace, retriever: Retriever
) -> None:
    assert retriever.fusion("en", "en") == default_fusion(ENCODER, "en", "en")
    workspace.tunings.add(ENCODER.name, "en", "en", LEXICAL, {})
    ingest(workspace, {"a": "The pump.", "b": "Nothing of it."})
    assert [hit.source for hit in retriever.search("pump")] == ["a"]
    assert retriever.fusion("zh", "zh") == default_fusion(ENCODER, "zh", "zh")
    assert retriever.fusion("en", "zh") == default_fusion(ENCODER, "en", "zh")


@pytest.mark.parametrize(
    ("query", "source"),
    [("图书馆什么时候关门？", "library"), ("When is the invoice due?", "发票"), ("pump", "pump")],
)
def test_words_find_passages_in_the_other_language(
    workspace: Workspace, retriever: Retriever, query: str, source: str
) -> None:
    """The encoder of this test knows no meanings, so only the dictionary can tell."""
    texts = {
        "library": "The library closes at six.",
        "pump": "The pump is loud.",
        "发票": "发票三十天内付款。",
    }
    ingest(workspace, {**texts, "池塘": "池塘的水很干净。"})
    (best, *_) = retriever.search(query, fusion=LEXICAL)
    assert best.source == source


SOURCES = st.sampled_from([f"s{n}" for n in range(8)])
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)


class LibraryMachine(RuleBasedStateMachine):
    """A library that changes in every way it can, searched after each change."""

    folders: Iterator[Path]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Kept] = {}
        self.count = itertools.count()

    @initialize(path=st.sampled_from(sorted(PATHS)))
    def begin(self, path: str) -> None:
        folder = next(self.folders)
        write_settings(folder)
        self.workspace = Workspace.init(folder)
        self.retriever = Retriever(self.workspace, ENCODER)
        search_module.DEPTH, search_module._MAX_ALLOWED_IDS = self.path = PATHS[path]

    @rule(
        source=SOURCES,
        texts=st.lists(SENTENCES, max_size=3),
        groups=st.frozensets(st.sampled_from(GROUPS)),
        attributes=st.dictionaries(st.just("team"), st.sampled_from(["x", "y"])),
    )
    def put(
        self, source: str, texts: list[str], groups: frozenset[str], attributes: dict[str, str]
    ) -> None:
        parts = tuple(f"{text} {next(self.count)}. " for text in texts)
        new = new_document(source, *parts, groups=groups, attributes=attributes)
        assert self.workspace.documents.put([new]) == ({source} & set(self.kept))
        self.kept[source] = Kept(parts, groups, attributes)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        source = data.draw(st.sampled_from(sorted(self.kept)))
        number = self.workspace.documents.stored_versions()[source].document_id
        receipt = self.workspace.documents.remove([number])
        count = len(self.kept.pop(source).texts)
        assert (receipt.documents, receipt.passages, receipt.vectors) == (1, count, count)

    @precondition(lambda self: self.kept)
    @rule(data=st.data(), groups=st.frozensets(st.sampled_from(GROUPS)))
    def regroup(self, data: st.DataObject, groups: frozenset[str]) -> None:
        source = data.draw(st.sampled_from(sorted(self.kept)))
        self.workspace.documents.relabel(source, sorted(groups), {})
        old = self.kept[source]
        self.kept[source] = Kept(old.texts, groups, old.attributes)

    @rule()
    def reopen(self) -> None:
        self.retriever.indexes.save()
        self.retriever = Retriever(self.workspace, ENCODER)

    @rule()
    def rebuild(self) -> None:
        self.retriever.indexes.rebuild()

    @rule(visible=FILTERS, query=QUERIES, fusion=st.sampled_from(FUSIONS))
    def search(self, visible: Filter, query: str, fusion: Fusion) -> None:
        allowed = expected_texts(self.kept, visible)
        result = texts_of(self.retriever.search(query, 400, visible, fusion))
        assert set(result) <= allowed
        assert len(result) == len(set(result))
        if fusion.weight < 1:
            assert len(result) >= min(self.path[0], len(allowed))

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        if hasattr(self, "workspace"):
            listed = self.workspace.documents.list()
            assert {each.source: frozenset(each.groups) for each in listed} == {
                source: kept.groups for source, kept in self.kept.items()
            }

    def teardown(self) -> None:
        if hasattr(self, "workspace"):
            self.retriever.indexes.catch_up()
            status = self.retriever.indexes.status()
            self.workspace.close()
            passages = sum(len(kept.texts) for kept in self.kept.values())
            both = {"passages": passages, "behind": 0}
            assert status == {"lexical": both, "dense": both}


@pytest.mark.slow
def test_a_changing_library_never_shows_more_or_less_than_it_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Registered so that they are set back, whatever the machine sets them to.
    monkeypatch.setattr(search_module, "DEPTH", search_module.DEPTH)
    monkeypatch.setattr(search_module, "_MAX_ALLOWED_IDS", search_module._MAX_ALLOWED_IDS)
    LibraryMachine.folders = (tmp_path / str(n) for n in itertools.count())
    machine = LibraryMachine.TestCase
    machine.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)
    machine("runTest").runTest()
