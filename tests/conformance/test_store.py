"""The store of record, on SQLite and on PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from conftest import Make
from samples import (
    ENCODER,
    EVERYTHING,
    hit_of,
    ingest,
    new_document,
    orphans,
    row_counts,
    run_together,
    trace_of,
)

from moli.records.answers import Fusion
from moli.records.documents import Removal, Timestamp
from moli.records.errors import NotFoundError
from moli.retrieval.answer import Answerer
from moli.retrieval.search import Retriever
from moli.workspace import passages as passages_module
from moli.workspace import schema
from moli.workspace.database import Database
from moli.workspace.documents import DocumentStore
from moli.workspace.filter import Filter
from moli.workspace.passages import PassageStore
from moli.workspace.traces import TraceStore
from moli.workspace.tunings import TuningStore


def id_of(documents: DocumentStore, source: str) -> int:
    return documents.stored_versions()[source].document_id


def seen(groups: Sequence[str] = ("everyone",), **where: str) -> Filter:
    return Filter(frozenset(groups), where)


# The schema


def test_the_migrated_schema_is_the_one_that_is_declared(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


@pytest.mark.slow
def test_processes_that_migrate_at_once_all_succeed(database_url: str) -> None:
    code = """
        import sys, time
        from alembic import command
        from moli.workspace.database import Database
        Database(sys.argv[1])._revision()
        print("ready", flush=True)
        time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
        Database(sys.argv[1]).migrate()
    """
    run_together(code, [[database_url, time.time() + 4]] * 3)


# Documents


def test_a_document_comes_back_as_it_was_stored(
    documents: DocumentStore, passages: PassageStore
) -> None:
    new = new_document(
        "手册.txt",
        "充满电需要两小时。\n",
        "It’s 20 €, 😀.",
        title="Manual 手册",
        pages=(0, 10),
        times=(Timestamp(0, 0.0), Timestamp(10, 62.5)),
        groups=("hr", "it"),
        attributes={"team": "支持"},
    )
    assert documents.put([new]) == set()
    (stored,) = documents.list()
    assert (stored.source, stored.title, stored.pages) == (new.source, "Manual 手册", (0, 10))
    assert (stored.characters, stored.bytes) == (len(new.parsed.text), new.bytes)
    assert stored.times == new.parsed.times
    assert (stored.groups, stored.sha256) == (("hr", "it"), new.sha256)
    assert documents.text(stored.id) == new.parsed.text
    assert documents.get(stored.id) == stored
    stored_passages = sorted(passages.range(1, 2), key=lambda each: each.id)
    assert [(each.start, each.end, each.text) for each in stored_passages] == [
        (0, 10, "充满电需要两小时。\n"),
        (10, 23, "It’s 20 €, 😀."),
    ]
    assert [(each.page, each.time) for each in stored_passages] == [(1, "00:00"), (2, "01:02")]
    ids, vectors = passages.vectors(ENCODER.name, 1, 2)
    assert ids.tolist() == [1, 2]
    np.testing.assert_array_equal(vectors, new.vectors.astype(np.float16).astype(np.float32))


def test_a_document_of_the_same_source_is_replaced_whole(
    documents: DocumentStore, passages: PassageStore, database: Database
) -> None:
    documents.put([new_document("a", "One. ", "Two.", groups=("hr",), attributes={"old": "1"})])
    before = id_of(documents, "a")
    assert documents.put(
        [new_document("a", "Three.", groups=("it",)), new_document("b", "Four.")]
    ) == {"a"}
    assert documents.text(id_of(documents, "a")) == "Three."
    assert documents.list(seen(["hr"])) == []
    assert documents.list(seen(old="1")) == []
    assert id_of(documents, "a") != before
    assert row_counts(database)["passages"] == 2
    assert not any(orphans(database).values())
    assert [(c.kind, c.first_passage, c.last_passage) for c in passages.changes(0)] == [
        ("add", 1, 2),
        ("remove", 1, 2),
        ("add", 3, 3),
        ("add", 4, 4),
    ]


def test_of_one_source_given_twice_the_last_is_kept(documents: DocumentStore) -> None:
    documents.put([new_document("a", "First."), new_document("a", "Second.")])
    assert [documents.text(each.id) for each in documents.list()] == ["Second."]


def test_a_replacement_that_fails_leaves_the_older_version(
    documents: DocumentStore, database: Database
) -> None:
    documents.put([new_document("a", "Old words.")])
    counts = row_counts(database)
    broken = new_document("b", "New words.", format=None)
    with pytest.raises(sa.exc.SQLAlchemyError):
        documents.put([new_document("a", "New words."), broken])
    assert documents.text(id_of(documents, "a")) == "Old words."
    assert row_counts(database) == counts


def test_a_store_that_is_given_nothing_is_left_as_it_is(
    documents: DocumentStore, passages: PassageStore
) -> None:
    assert documents.put([]) == set()
    assert documents.remove([]) == Removal(0, 0, 0, 0)
    assert passages.last_change() == 0


def test_a_document_without_passages_is_kept_and_removed(
    documents: DocumentStore, passages: PassageStore
) -> None:
    documents.put([new_document("blank")])
    assert documents.text(id_of(documents, "blank")) == ""
    assert documents.remove([id_of(documents, "blank")]) == Removal(1, 0, 0, 0)
    assert passages.changes(0) == []


def test_a_document_that_is_not_there_is_told_so(documents: DocumentStore) -> None:
    documents.put([new_document("a", "Words.", groups=("hr",))])
    with pytest.raises(NotFoundError):
        documents.get(999)
    with pytest.raises(NotFoundError):
        documents.get(id_of(documents, "a"), seen())


def test_documents_are_listed_by_source(documents: DocumentStore) -> None:
    documents.put([new_document(name, "Words.") for name in ("c", "a", "b")])
    assert [each.source for each in documents.list()] == ["a", "b", "c"]


def test_what_no_database_holds_is_replaced_and_all_offsets_stay(documents: DocumentStore) -> None:
    documents.put([new_document("a", "Before\0after.", attributes={"team": "a\0\ud83d"})])
    assert documents.text(id_of(documents, "a")) == "Before\N{REPLACEMENT CHARACTER}after."
    assert len(documents.list(seen(team="a\0\ud83d"))) == 1


def test_a_long_text_of_every_plane_comes_back_exactly(documents: DocumentStore) -> None:
    text = "".join(chr(c) for c in range(1, 0x30000, 7) if not 0xD800 <= c < 0xE000)
    documents.put([new_document("a", text)])
    assert documents.text(id_of(documents, "a")) == text


# Removal


@pytest.fixture
def library(documents: DocumentStore, traces: TraceStore) -> DocumentStore:
    """Three documents of 2, 1 and 3 passages; traces quote a, a with b, c, and none."""
    documents.put(
        [
            new_document("a", "A one. ", "A two.", attributes={"k": "v"}),
            new_document("b", "B one.", groups=("hr", "it")),
            new_document("c", "C one. ", "C two. ", "C three."),
        ]
    )
    a, b, c = (hit_of(f"Words of {s}.", s, document_id=id_of(documents, s)) for s in "abc")
    for name, hits in (("ta", [a]), ("tab", [a, b]), ("tc", [c]), ("none", [])):
        traces.add(trace_of(name, *hits))
    return documents


@pytest.mark.slow
@pytest.mark.parametrize("sources", ["a", "b", "c", "ab", "abc"])
def test_the_receipt_of_a_removal_is_what_went_from_the_tables(
    library: DocumentStore, database: Database, sources: str
) -> None:
    before = row_counts(database)
    receipt = library.remove([id_of(library, source) for source in sources])
    after = row_counts(database)
    for table in ("documents", "passages", "vectors"):
        assert getattr(receipt, table) == before[table] - after[table], table
    expected = {"a": 2, "b": 1, "c": 1, "ab": 2, "abc": 3}[sources]
    assert receipt.traces == expected
    assert after["traces"] == before["traces"]
    assert not any(orphans(database).values())


def test_removing_everything_leaves_only_the_log_and_the_traces(
    library: DocumentStore, database: Database
) -> None:
    library.remove([each.id for each in library.list()])
    left = {table for table, count in row_counts(database).items() if count}
    assert left == {"changes", "traces", "identity"}


def test_a_trace_is_counted_once_however_many_of_its_documents_go(
    library: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passages_module, "_BATCH", 1)
    receipt = library.remove([id_of(library, "a"), id_of(library, "b")])
    assert receipt == Removal(documents=2, passages=3, vectors=3, traces=2)


def test_removing_what_is_not_there_removes_nothing(library: DocumentStore) -> None:
    gone = id_of(library, "a")
    library.remove([gone])
    assert library.remove([gone, 12345]) == Removal(0, 0, 0, 0)
    assert len(library.list()) == 2


def test_numbers_are_never_used_twice(documents: DocumentStore, passages: PassageStore) -> None:
    used: list[int] = []
    ids: list[int] = []
    for turn in range(4):
        documents.put([new_document("a", "One. ", "Two."), new_document(f"b{turn}", "Three.")])
        live = [each.id for batch in passages.scan() for each in batch]
        fresh = [number for number in live if number not in used]
        assert min(fresh) > max(used, default=0)
        used += fresh
        ids += [each.id for each in documents.list() if each.id not in ids]
        documents.remove([each.id for each in documents.list()])
    assert ids == sorted(set(ids))
    assert used == sorted(set(used))


# Who may see what


def test_the_groups_of_a_document_are_replaced_without_touching_the_rest(
    documents: DocumentStore, passages: PassageStore
) -> None:
    documents.put([new_document("a", "Words.", groups=("hr",))])
    before = passages.last_change()
    documents.relabel("a", ["it", "it", "everyone"], {})
    assert documents.list()[0].groups == ("everyone", "it")
    assert documents.list(seen(["hr"])) == []
    assert passages.last_change() == before


def test_a_replaced_document_stays_as_closed_as_it_was(documents: DocumentStore) -> None:
    documents.put([new_document("a", "Old.", groups=("hr",)), new_document("b", "Old.")])
    documents.put([new_document("a", "New."), new_document("b", "New."), new_document("c", "New.")])
    groups = {each.source: each.groups for each in documents.list()}
    assert groups == {"a": ("hr",), "b": ("everyone",), "c": ("everyone",)}


def test_labels_are_added_and_replaced_one_by_one(documents: DocumentStore) -> None:
    documents.put([new_document("a", "Words.", attributes={"team": "x", "year": "1"})])
    documents.relabel("a", None, {"team": "y", "new": "z"})
    assert documents.list(seen(team="y", year="1", new="z"))
    assert documents.list(seen(team="x")) == []
    assert documents.list()[0].groups == ("everyone",)


def test_a_document_without_groups_is_seen_by_nobody(documents: DocumentStore) -> None:
    documents.put([new_document("a", "Words.")])
    documents.relabel("a", [], {})
    assert documents.list(seen(["everyone", ""])) == []
    assert len(documents.list(EVERYTHING)) == 1


def test_groups_of_an_unknown_source_are_let_be(
    documents: DocumentStore, database: Database
) -> None:
    documents.relabel("nowhere", ["hr"], {"k": "v"})
    assert not any(row_counts(database)[table] for table in ("access", "attributes"))


FILTERS: list[tuple[Filter, str]] = [
    (seen(), "ac"),
    (seen(["hr"]), "b"),
    (seen(["hr", "everyone"]), "abc"),
    (seen([]), ""),
    (seen(["nobody"]), ""),
    (seen(["Everyone"]), ""),
    (seen(team="x"), "a"),
    (seen(["hr", "everyone"], team="x"), "ab"),
    (seen(["hr", "everyone"], team="x", format="md"), "b"),
    (seen(team="X"), ""),
    (seen(team="x' OR '1'='1"), ""),
    (Filter(frozenset(), {}, everything=True), "abc"),
    (Filter(frozenset(), {"team": "x"}, everything=True), "ab"),
]


@pytest.mark.parametrize(("visible", "sources"), FILTERS)
def test_a_filter_shows_the_same_to_every_way_of_asking(
    documents: DocumentStore, passages: PassageStore, visible: Filter, sources: str
) -> None:
    documents.put(
        [
            new_document("a", "A. ", "AA.", attributes={"team": "x"}),
            new_document("b", "B.", groups=("hr", "it"), attributes={"team": "x"}, format="md"),
            new_document("c", "C.", attributes={"team": "y"}),
        ]
    )
    numbers = {"a": [1, 2], "b": [3], "c": [4]}
    expected = sorted(n for source in sources for n in numbers[source])
    assert "".join(each.source for each in documents.list(visible)) == sources
    assert sorted(passages.get([1, 2, 3, 4, 99], visible)) == expected
    assert passages.visible_ids([1, 2, 3, 4, 99], visible) == set(expected)
    assert sorted(passages.all_visible_ids(visible)) == expected


# Passages and vectors


@pytest.mark.slow
def test_lists_longer_than_a_statement_may_bind_are_taken_in_parts(
    documents: DocumentStore, passages: PassageStore
) -> None:
    documents.put([new_document("a", *(f"{n} " for n in range(1300)))])
    everything = list(range(1, 1301))
    assert sorted(passages.get(everything, seen())) == everything
    assert passages.visible_ids(everything, seen()) == set(everything)
    assert [len(batch) for batch in passages.scan(500)] == [500, 500, 300]


def test_a_further_encoder_gets_vectors_only_of_what_is_still_there(
    documents: DocumentStore, passages: PassageStore, database: Database
) -> None:
    documents.put([new_document("a", "One. ", "Two."), new_document("b", "Three.")])
    waiting = passages.without_vectors("other", 10)
    assert [each.id for each in waiting] == [1, 2, 3]
    assert passages.without_vectors(ENCODER.name, 10) == []
    documents.remove([id_of(documents, "b")])
    passages.set_vectors("other", [1, 2, 3], np.eye(3, dtype=np.float32))
    passages.set_vectors("other", [2], np.full((1, 3), 0.5, np.float32))
    ids, vectors = passages.vectors("other", 1, 3)
    assert ids.tolist() == [1, 2]
    assert vectors.tolist() == [[1, 0, 0], [0.5, 0.5, 0.5]]
    assert passages.without_vectors("other", 10) == []
    assert passages.vectors(ENCODER.name, 1, 3)[0].tolist() == [1, 2]


@pytest.mark.parametrize(
    "database_url",
    [
        "sqlite",
        "postgresql",
    ],
    indirect=True,
)
def test_a_range_of_passages_comes_in_order(
    documents: DocumentStore, passages: PassageStore
) -> None:
    documents.put([new_document("a", *(f"{n} " for n in range(40)))])
    assert [each.id for each in passages.range(1, 40)] == list(range(1, 41))


def test_vectors_of_an_unknown_encoder_are_none(passages: PassageStore) -> None:
    ids, vectors = passages.vectors("unknown", 1, 10)
    assert (len(ids), len(vectors)) == (0, 0)


def test_the_log_is_read_on_from_any_place(
    documents: DocumentStore, passages: PassageStore
) -> None:
    for n in range(5):
        documents.put([new_document(str(n), "Words.")])
    assert [each.seq for each in passages.changes(0, limit=2)] == [1, 2]
    assert [each.seq for each in passages.changes(2)] == [3, 4, 5]
    assert passages.changes(5) == []
    assert passages.last_change() == 5


# Traces and tunings


def test_a_trace_comes_back_equal_by_its_id_or_a_prefix(
    documents: DocumentStore, traces: TraceStore
) -> None:
    documents.put([new_document("a", "It’s 20 €. 两小时")])
    trace = trace_of("3f9c00", hit_of("It’s 20 €. 两小时", page=2, lexical=None))
    traces.add(trace)
    traces.add(trace_of("4a0000"))
    assert traces.get("3f9c00") == trace
    assert traces.get("3") == trace


@pytest.mark.parametrize("prefix", ["", "a", "zz", "ab0%", "%", "_b01", "ab01' OR 1=1 --"])
def test_a_prefix_of_none_or_of_several_finds_nothing(traces: TraceStore, prefix: str) -> None:
    for name in ("ab01", "ac02"):
        traces.add(trace_of(name))
    with pytest.raises(NotFoundError, match="moli ask"):
        traces.get(prefix)


def test_the_newest_traces_come_first(traces: TraceStore) -> None:
    for name, created in (("b", 2.0), ("c", 3.0), ("a", 1.0)):
        traces.add(trace_of(name, created_at=created))
    assert [each.id for each in traces.recent(limit=2)] == ["c", "b"]


def test_a_removal_takes_the_words_out_of_traces_and_leaves_the_numbers(
    library: DocumentStore, traces: TraceStore
) -> None:
    before = traces.get("tab")
    library.remove([id_of(library, "a")])
    after = traces.get("tab")
    gone, kept = after.passages
    assert (gone.text, gone.source, gone.title, gone.heading) == ("", "", "", "")
    assert (gone.start, gone.end, gone.score) == (0, len("Words of a."), 1.0)
    assert kept == before.passages[1]
    assert after.sentences[0].text == after.sentences[0].citations[0].quote == ""
    assert after.sentences[1] == before.sentences[1]
    assert traces.get("tc").passages[0].text == "Words of c."


def test_the_newest_tuning_is_in_force(tunings: TuningStore) -> None:
    key = ("e5", "en", "en")
    assert tunings.current(*key) is None
    tunings.add(*key, Fusion("minmax", 0.25), {"trials": [{"score": 0.5}]})
    tunings.add(*key, Fusion("rrf", 0.5), {})
    assert tunings.current(*key) == Fusion("rrf", 0.5)


# Transactions


def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    insert = sa.insert(schema.changes).values(
        kind="add", document_id=1, first_passage=1, last_passage=1
    )
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        connection.execute(insert)
        raise ZeroDivisionError
    assert row_counts(database)["changes"] == 0


def test_readers_do_not_wait_for_a_writer(documents: DocumentStore, database: Database) -> None:
    documents.put([new_document("a", "Words.")])
    with database.write() as connection:
        connection.execute(sa.delete(schema.documents))
        assert [each.source for each in documents.list()] == ["a"]
    assert documents.list() == []


@pytest.mark.parametrize(
    "database_url",
    [
        "sqlite",
        "postgresql",
    ],
    indirect=True,
)
def test_a_reader_sees_one_state_for_as_long_as_it_reads(
    documents: DocumentStore, database: Database
) -> None:
    count = sa.select(sa.func.count()).select_from(schema.documents)
    with database.read() as connection:
        before = connection.execute(count).scalar_one()
        documents.put([new_document("a", "Words.")])
        assert connection.execute(count).scalar_one() == before


@pytest.fixture
def write_together(database: Database, database_url: str) -> Callable[[str, int], None]:
    """Has several processes put documents at once: `names` is a Python expression of n, p."""

    def run(names: str, processes: int) -> None:
        code = f"""
            import sys
            from samples import new_document
            from moli.workspace.database import Database
            from moli.workspace.documents import DocumentStore
            p, store = sys.argv[2], DocumentStore(Database(sys.argv[1]))
            for n in range(8):
                store.put([new_document({names}, f"{{p}} {{n}} one. ", "Two.")])
        """
        run_together(code, [[database_url, p] for p in range(processes)])

    return run


@pytest.mark.slow
def test_documents_of_processes_that_write_at_once_all_land(
    write_together: Callable[[str, int], None], documents: DocumentStore, passages: PassageStore
) -> None:
    write_together('f"{p}-{n}"', 4)
    stored = {each.id: each.source for each in documents.list()}
    assert sorted(stored.values()) == sorted(f"{p}-{n}" for p in range(4) for n in range(8))
    changes = passages.changes(0)
    numbers = [change.seq for change in changes]
    assert numbers == sorted(set(numbers))
    # Passages were numbered in the order of the log, so no range meets another.
    ranges = [(change.first_passage, change.last_passage) for change in changes]
    assert ranges == [(2 * n + 1, 2 * n + 2) for n in range(32)]
    for process in "0123":
        own = [stored[change.document_id] for change in changes]
        own = [source for source in own if source.startswith(process)]
        assert own == [f"{process}-{n}" for n in range(8)]


@pytest.mark.slow
def test_processes_that_store_one_source_at_once_leave_one_version(
    write_together: Callable[[str, int], None],
    documents: DocumentStore,
    passages: PassageStore,
    database: Database,
) -> None:
    write_together('"same"', 3)
    (document,) = documents.list()
    assert documents.text(document.id).endswith(" 7 one. Two.")
    assert row_counts(database)["passages"] == 2
    assert not any(orphans(database).values())
    live: set[int] = set()
    for change in passages.changes(0):
        numbers = range(change.first_passage, change.last_passage + 1)
        live = live.union(numbers) if change.kind == "add" else live.difference(numbers)
    assert sorted(live) == [each.id for batch in passages.scan() for each in batch]


@pytest.mark.slow
def test_a_workspace_runs_on_each_backend(database_url: str, make_workspace: Make) -> None:
    workspace = make_workspace(database=database_url, confidence=0.0)
    ingest(workspace, {"a": "The server listens on port 7860.", "b": "Nothing else."})
    retriever = Retriever(workspace, ENCODER)
    assert retriever.search("which port does the server use")[0].source == "a"
    answer = Answerer(workspace, retriever).ask("Which port does the server use?")
    assert workspace.traces.get(answer.trace_id).question == answer.question
    (a, _) = workspace.documents.list()
    assert workspace.documents.remove([a.id]).traces == 1
    assert [hit.source for hit in retriever.search("which port does the server use")] == ["b"]
