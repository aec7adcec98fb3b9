from __future__ import annotations

from pathlib import Path

import pytest
from samples import ingest_with

from moli.models.encoders.load import load_encoder
from moli.retrieval.absence import explain_absence, find_absence
from moli.retrieval.answer import Answerer
from moli.retrieval.search import Retriever
from moli.workspace import Workspace
from moli.workspace.filter import Filter

ENCODER = load_encoder("scripted:hash")


def reader(*groups: str, **where: str) -> Filter:
    return Filter(frozenset(groups), where)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.init(tmp_path)


def test_each_reason_has_its_own_words(workspace: Workspace) -> None:
    assert find_absence(workspace.passages, reader("everyone")) == "no_documents"
    ingest_with(ENCODER, workspace, {"a.txt": "Backups are kept for 35 days."}, "hr", team="x")
    reasons = [
        (reader("hr"), ""),
        (reader("hr", team="x"), ""),
        (reader("hr", team="y"), "no_match"),
        (reader("sales"), "no_access"),
        (reader(), "no_access"),
        (reader("sales", team="y"), "no_access"),
    ]
    for visible, reason in reasons:
        assert find_absence(workspace.passages, visible) == reason


@pytest.mark.parametrize(
    ("visible", "english", "chinese"),
    [
        (reader(), "you are in no group", "你不在任何组里"),
        (reader("sales", "it"), "none is in it, sales", "没有一篇属于组 it, sales"),
    ],
)
def test_a_reader_without_documents_is_told_the_groups(
    visible: Filter, english: str, chinese: str
) -> None:
    assert english in explain_absence("no_access", visible, "en")
    assert chinese in explain_absence("no_access", visible, "zh")


def test_an_answer_says_why_there_is_none(workspace: Workspace) -> None:
    answerer = Answerer(workspace, Retriever(workspace, ENCODER))
    empty = answerer.ask("How long?", reader("everyone"))
    assert (empty.answered, empty.reason) == (False, "no_documents")
    assert "moli add" in empty.text
    ingest_with(ENCODER, workspace, {"a.txt": "Backups are kept for 35 days."}, "everyone")
    unmatched = answerer.ask("要多久？", reader("everyone", format="pdf"))
    assert (unmatched.reason, "format=pdf" in unmatched.text) == ("no_match", True)
    assert answerer.ask("Qzx vbn?", reader("everyone")).reason in ("", "not_in_documents")
