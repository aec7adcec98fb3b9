"""A removal leaves nothing of a document's words, down to the bytes on disk."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa
from samples import bytes_with, hit_of, new_document, trace_of

from moli.records.answers import Sentence
from moli.workspace import Workspace, schema

WORD = "xylographquartz"


def put(workspace: Workspace, source: str, *parts: str) -> int:
    workspace.documents.put([new_document(source, *parts, title=f"{WORD} of {source}")])
    return workspace.documents.stored_versions()[source].document_id


def checkpoint(workspace: Workspace) -> None:
    """Move the write-ahead log into the database file and end it."""
    with workspace.database.engine.connect() as connection:
        raw = connection.connection.driver_connection
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    workspace.close()


@pytest.mark.parametrize("documents", [1, 40])
def test_nothing_of_a_removed_document_is_left_in_the_files(
    workspace: Workspace, documents: int
) -> None:
    """Among documents that stay, so that pages of the file are shared, split and joined."""
    ids = []
    for n in range(documents):
        put(workspace, f"kept{n}", *(f"Ordinary words {n} {i}. " * 9 for i in range(8)))
        ids.append(put(workspace, f"gone{n}", *(f"{WORD} number {n} {i}. " * 9 for i in range(8))))
        hit = hit_of(f"{WORD} quoted.", f"gone{n}", document_id=ids[-1], title=WORD, heading=WORD)
        workspace.traces.add(trace_of(f"{n:032x}", hit))
    assert bytes_with(workspace.folder, WORD)
    workspace.documents.remove(ids)
    with workspace.database.write() as connection:
        connection.exec_driver_sql("UPDATE documents SET title = '' WHERE source LIKE 'kept%'")
    checkpoint(workspace)
    assert bytes_with(workspace.folder, WORD) == []


def test_nothing_of_a_replaced_version_is_left_in_the_files(workspace: Workspace) -> None:
    put(workspace, "a", *(f"{WORD} {n}. " * 20 for n in range(30)))
    workspace.documents.put([new_document("a", "Other words.")])
    checkpoint(workspace)
    assert bytes_with(workspace.folder, WORD) == []


def test_a_trace_of_an_older_version_is_redacted_with_its_document(workspace: Workspace) -> None:
    old = put(workspace, "a", f"{WORD} was the old version.")
    workspace.traces.add(trace_of("aa", hit_of(f"{WORD} was the old version.", document_id=old)))
    workspace.documents.put([new_document("a", "The new version.")])
    (new,) = workspace.documents.list()
    workspace.documents.remove([new.id])
    assert WORD not in repr(workspace.traces.get("aa"))


def test_what_a_model_said_without_a_quote_goes_with_the_document(workspace: Workspace) -> None:
    number = put(workspace, "a", f"The code is {WORD}.")
    trace = trace_of("aa", hit_of(f"The code is {WORD}.", document_id=number))
    message = Sentence(f"The secret code is {WORD}.", supported=False)
    workspace.traces.add(replace(trace, sentences=(*trace.sentences, message)))
    workspace.documents.remove([number])
    assert WORD not in repr(workspace.traces.get("aa"))


def test_a_closest_sentence_goes_with_its_document(workspace: Workspace) -> None:
    number = put(workspace, "a", f"The code is {WORD}.")
    trace = trace_of("aa", hit_of(f"The code is {WORD}.", document_id=number))
    (closest,) = trace.sentences
    trace = replace(trace, answered=False, sentences=(), closest=closest, missing=("B7",))
    workspace.traces.add(trace)
    assert workspace.traces.get("aa") == trace
    workspace.documents.remove([number])
    redacted = workspace.traces.get("aa")
    assert WORD not in repr(redacted)
    assert (redacted.tier, redacted.missing) == ("unsure", ("B7",))


def test_a_trace_of_an_earlier_version_is_read_and_redacted(workspace: Workspace) -> None:
    number = put(workspace, "a", f"The code is {WORD}.")
    workspace.traces.add(trace_of("aa", hit_of(f"The code is {WORD}.", document_id=number)))
    table = schema.traces
    with workspace.database.write() as connection:
        payload = dict(connection.execute(sa.select(table.c.payload)).scalar_one())
        del payload["closest"], payload["missing"]
        connection.execute(sa.update(table).values(payload=payload))
    assert workspace.traces.get("aa").tier == "answered"
    workspace.documents.remove([number])
    assert WORD not in repr(workspace.traces.get("aa"))


def test_a_trace_that_comes_after_the_removal_holds_none_of_the_words(workspace: Workspace) -> None:
    number = put(workspace, "a", f"{WORD} is secret.")
    workspace.documents.remove([number])
    workspace.traces.add(trace_of("aa", hit_of(f"{WORD} is secret.", document_id=number)))
    assert WORD not in repr(workspace.traces.get("aa"))


def test_traces_of_other_documents_are_left_as_they_are(workspace: Workspace) -> None:
    a, b = put(workspace, "a", "One."), put(workspace, "b", "Two.")
    trace = trace_of("bb", hit_of("Two.", "b", document_id=b))
    workspace.traces.add(trace)
    assert workspace.documents.remove([a]).traces == 0
    assert workspace.traces.get("bb") == trace
