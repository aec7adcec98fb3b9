from __future__ import annotations

from dataclasses import replace

import pytest
from samples import new_document

from moli.workspace import Workspace
from moli.workspace.document_dates import document_date


@pytest.mark.parametrize(
    ("source", "title", "attributes", "date"),
    [
        ("a.md", "A", {"date": "2024-03-01"}, "2024-03-01"),
        ("a-2021.md", "A", {"date": "2024-03-01"}, "2024-03-01"),
        ("mail.eml", "A", {"date": "Fri, 01 Mar 2024 10:00:00 +0100"}, "2024-03-01"),
        (
            "a.docx",
            "A",
            {"modified": "2024-03-01T09:00:00Z", "created": "2020-1-1"},
            "2024-03-01",
        ),
        ("handbook-2023.docx", "A", {"modified": "2025-03-01T09:00:00Z"}, "2023"),
        ("/x/2023/handbook.md", "A", {}, "2023"),
        ("a.md", "员工手册（2024年3月）", {}, "2024-03"),
        ("minutes_20240301.txt", "minutes 20240301", {}, "2024-03-01"),
        ("a.md", "Report 2024-13", {}, "2024"),
        ("a.md", "Order 920241 of server 7860", {}, ""),
        ("a.md", "A", {"date": "last spring"}, ""),
    ],
)
def test_a_date_is_stated_named_or_that_of_the_last_change(
    source: str, title: str, attributes: dict[str, str], date: str
) -> None:
    assert document_date(source, title, attributes) == date


def test_documents_are_listed_with_their_dates(workspace: Workspace) -> None:
    dated = new_document("a", "One.")
    dated = replace(dated, parsed=replace(dated.parsed, metadata={"date": "2024-03-01"}))
    workspace.documents.put([dated, new_document("b", "Two.")])
    assert [each.date for each in workspace.documents.list()] == ["2024-03-01", ""]
