from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest
from samples import ENCODER, ingest, run_python

from moli.records.documents import Change
from moli.retrieval import indexes as indexes_module
from moli.retrieval.indexes import Indexes
from moli.retrieval.search import Retriever
from moli.workspace import Workspace

ADD = """
    import sys
    from pathlib import Path
    from samples import ingest
    from moli.workspace import Workspace
    with Workspace.open(Path(sys.argv[1])) as workspace:
        ingest(workspace, {sys.argv[2]: sys.argv[3]})
"""


def sources(retriever: Retriever, query: str) -> list[str]:
    return [hit.source for hit in retriever.search(query)]


@pytest.mark.slow
def test_an_open_index_follows_what_another_process_adds(
    workspace: Workspace, retriever: Retriever
) -> None:
    ingest(workspace, {"first": "The pump is loud."})
    assert sources(retriever, "turbine") == ["first"]
    run_python(ADD, workspace.root, "second", "The turbine is silent.")
    assert sources(retriever, "turbine")[0] == "second"
    assert retriever.search("turbine")[0].lexical


def test_a_process_that_caught_up_leaves_the_words_for_the_others(
    workspace: Workspace, retriever: Retriever
) -> None:
    ingest(workspace, {"first": "The pump is loud."})
    other = Retriever(workspace, ENCODER)
    other.indexes.catch_up()
    assert retriever.indexes.status()["lexical"] == {"passages": 0, "behind": 1}
    with workspace.lock("lexical"):  # nobody may write, and nobody has to
        assert retriever.search("pump")[0].lexical


def test_a_stale_index_shows_nothing_that_was_removed_or_replaced(
    workspace: Workspace, retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Indexes.catch_up, "__defaults__", (0.05,))
    ingest(workspace, {"a": "pump alpha", "b": "pump beta", "c": "pump gamma"})
    assert sorted(sources(retriever, "pump")) == ["a", "b", "c"]
    workspace.documents.remove([workspace.documents.stored_versions()["a"].document_id])
    ingest(workspace, {"b": "nothing of the kind"})
    workspace.documents.relabel("c", ["hr"], {})
    with workspace.lock("lexical"):
        hits = retriever.search("pump")
        assert [(hit.source, hit.text, hit.lexical) for hit in hits] == [
            ("b", "nothing of the kind", None)
        ]
        assert retriever.indexes.status()["lexical"]["behind"] == 3
    retriever.search("pump")
    assert retriever.indexes.status()["lexical"] == {"passages": 2, "behind": 0}


def test_both_indexes_hold_what_the_store_holds(workspace: Workspace) -> None:
    indexes = Indexes(workspace, ENCODER)
    for n in range(6):
        ingest(workspace, {f"d{n}": f"Words of {n}.\n\nMore."})
        if n % 2:
            stored = workspace.documents.stored_versions()
            workspace.documents.remove([stored[f"d{n - 1}"].document_id])
    assert indexes.catch_up() == workspace.passages.last_change()
    count = workspace.documents.counts()["passages"]
    both = {"passages": count, "behind": 0}
    assert indexes.status() == {"lexical": both, "dense": both}


def test_a_saved_index_need_not_be_made_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(workspace, {"a": "pump"})
    first = Indexes(workspace, ENCODER)
    first.catch_up()
    first.save()

    def refuse(*_: object) -> None:
        raise AssertionError("the log was read again")

    monkeypatch.setattr(type(workspace.passages), "changes", refuse)
    again = Indexes(workspace, ENCODER)
    again.catch_up()
    assert (len(again.lexical), len(again.dense)) == (1, 1)


@pytest.mark.slow
def test_without_its_cache_a_workspace_finds_the_same(workspace: Workspace) -> None:
    ingest(workspace, {f"d{n}": f"The pump number {n} of the plant." for n in range(9)})
    before = Retriever(workspace, ENCODER).search("pump number 3")
    shutil.rmtree(workspace.cache)
    assert Retriever(workspace, ENCODER).search("pump number 3") == before


@pytest.mark.slow
def test_a_rebuild_leaves_nothing_of_what_was_removed(
    workspace: Workspace, retriever: Retriever
) -> None:
    def files() -> dict[str, bytes]:
        folder = workspace.cache / "index"
        return {path.name: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}

    ingest(workspace, {"a": "turbine", "b": "pump"})
    retriever.search("pump")
    retriever.indexes.save()
    workspace.documents.remove([workspace.documents.stored_versions()["a"].document_id])
    retriever.search("pump")
    vector = ENCODER.encode(["turbine"])[0].astype("<f2").tobytes()
    before = files()
    assert any(vector in data for data in before.values())
    retriever.indexes.rebuild()
    assert not any(vector in data for data in files().values())
    # Terms are packed beyond recognition, but the files they were in are there no more.
    segments = {name for name in before if not name.startswith((".", "meta"))}
    assert segments
    assert not segments & set(files())
    assert sources(retriever, "pump") == ["b"]


def test_an_index_that_is_open_survives_a_rebuild_by_another(
    workspace: Workspace, retriever: Retriever
) -> None:
    ingest(workspace, {"a": "pump", "b": "turbine"})
    before = retriever.search("pump")
    Indexes(workspace, ENCODER).rebuild()
    assert retriever.search("pump") == before
    ingest(workspace, {"c": "another pump"})
    assert set(sources(retriever, "pump")) == {"a", "b", "c"}


@pytest.mark.slow
def test_an_index_of_another_database_is_not_taken_for_this_ones(
    workspace: Workspace, retriever: Retriever
) -> None:
    for name in ("a", "b", "c"):
        ingest(workspace, {name: f"pump {name}"})
    retriever.search("pump")
    retriever.indexes.save()
    workspace.close()
    for path in workspace.folder.glob("moli.db*"):
        path.unlink()
    with Workspace.open(workspace.root) as again:
        ingest(again, {"new": "turbine"})
        (hit,) = Retriever(again, ENCODER).search("turbine")
        assert hit.lexical is not None
        assert hit.dense == pytest.approx(1.0, abs=1e-2)


def test_an_index_that_another_thread_has_just_brought_further_is_kept(
    workspace: Workspace, retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(workspace, {"a": "pump"})
    retriever.search("pump")
    cleared: list[str] = []
    monkeypatch.setattr(type(retriever.indexes.lexical), "clear", lambda _: cleared.append("both"))
    monkeypatch.setattr(type(retriever.indexes.dense), "clear", lambda _: None)
    original = type(workspace.passages).last_change
    calls = iter(range(99))

    def overtaken(store: object) -> int:
        newest = original(workspace.passages)
        if next(calls) == 0:
            ingest(workspace, {"b": "turbine"})
            retriever.indexes.catch_up()
        return newest

    monkeypatch.setattr(type(workspace.passages), "last_change", overtaken)
    retriever.indexes.catch_up()
    assert cleared == []


def test_a_database_that_was_put_back_is_followed_from_where_it_is(workspace: Workspace) -> None:
    backup = workspace.root / "backup.db"
    ingest(workspace, {"a": "pump"})
    with closing(sqlite3.connect(workspace.folder / "moli.db")) as raw:
        raw.execute(f"VACUUM INTO '{backup}'")
    ingest(workspace, {"b": "turbine", "c": "valve"})
    indexes = Indexes(workspace, ENCODER)
    indexes.catch_up()
    indexes.save()
    workspace.close()
    for path in workspace.folder.glob("moli.db*"):
        path.unlink()
    backup.rename(workspace.folder / "moli.db")
    with Workspace.open(workspace.root) as restored:
        assert sources(Retriever(restored, ENCODER), "pump") == ["a"]
        ingest(restored, {"d": "motor"})
        hits = Retriever(restored, ENCODER).search("motor")
        assert hits[0].source == "d"
        assert hits[0].lexical
        assert hits[0].dense == pytest.approx(1.0, abs=1e-2)


def test_additions_beside_each_other_are_read_together_and_nothing_else_is() -> None:
    changes = [
        Change(1, "add", 1, 1, 3),
        Change(2, "add", 2, 4, 4),
        Change(3, "remove", 1, 1, 3),
        Change(4, "add", 3, 5, 6),
        Change(5, "add", 4, 9, 9),
        Change(6, "remove", 4, 9, 9),
        Change(7, "remove", 3, 5, 6),
    ]
    joined = list(indexes_module._merge_adjacent(changes))
    assert [(c.kind, c.seq, c.first_passage, c.last_passage) for c in joined] == [
        ("add", 2, 1, 4),
        ("remove", 3, 1, 3),
        ("add", 4, 5, 6),
        ("add", 5, 9, 9),
        ("remove", 6, 9, 9),
        ("remove", 7, 5, 6),
    ]


@pytest.mark.slow
def test_threads_that_search_while_passages_arrive_find_what_is_there(workspace: Workspace) -> None:
    """In a process of its own: the vectors' memory is moved while it is read."""
    code = """
        import sys, threading
        from pathlib import Path
        import numpy as np
        from samples import ENCODER, new_document
        from moli.retrieval.search import Retriever
        from moli.records.answers import Fusion
        from moli.workspace import Workspace
        failures = []
        with Workspace.open(Path(sys.argv[1])) as workspace:
            retriever = Retriever(workspace, ENCODER)
            done = threading.Event()
            def search():
                try:
                    while not done.is_set():
                        hits = retriever.search("pump one", 5, fusion=Fusion("minmax", 0.0))
                        assert all("pump" in hit.text for hit in hits)
                except BaseException as error:
                    failures.append(repr(error))
            threads = [threading.Thread(target=search) for _ in range(4)]
            for thread in threads: thread.start()
            for n in range(25):
                parts = [f"pump {n} {i}. " for i in range(300)]
                vectors = np.tile(ENCODER.encode(["pump"]), (300, 1))
                workspace.documents.put([new_document(f"d{n % 12}", *parts, vectors=vectors)])
                retriever.indexes.catch_up()
            done.set()
            for thread in threads: thread.join()
            print(failures, len(retriever.indexes.dense))
    """
    assert run_python(code, workspace.root) == "[] 3600\n"
