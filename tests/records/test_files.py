"""Files are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from moli.records.files import remove_drafts, whole_file


def test_a_file_is_replaced_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / ("长" * 80 + ".jsonl")  # 246 of the 255 bytes that a name may have
    with whole_file(path) as draft:
        draft.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    with pytest.raises(ZeroDivisionError), whole_file(path) as draft:
        draft.write_text("hal")
        1 / 0  # noqa: B018
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    link = tmp_path / "link"
    link.symlink_to("target")
    with whole_file(link) as draft:
        draft.write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_drafts_of_killed_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".run.json.77.part").write_text("half")
    (tmp_path / ".keep").write_text("")
    remove_drafts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".keep"]
