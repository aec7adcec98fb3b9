from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import write_settings
from models.speech.small_whisper import as_file, beeps, save_whisper
from samples import ENCODER, bytes_with, ingest

import moli as package
from moli.retrieval.search import Retriever
from moli.workspace import Workspace

Moli = Callable[..., Any]


def test_a_workspace_is_made_and_made_again_without_harm(moli: Moli, tmp_path: Path) -> None:
    made = moli("init", tmp_path / "new")
    assert made.code == 0
    assert "moli add" in made.out
    toml = tmp_path / "new" / "moli.toml"
    toml.write_text("port = 8000")
    assert moli("init", tmp_path / "new", "--json").json == {"workspace": str(tmp_path / "new")}
    assert tomllib.loads(toml.read_text()) == {"port": 8000}


def test_the_version_is_told(moli: Moli) -> None:
    assert moli("--version").out == f"moli {package.__version__}\n"


@pytest.mark.slow
def test_documents_are_added_listed_searched_and_removed(moli: Moli, home: Path) -> None:
    added = moli("add", "docs", "--json")
    assert (added.code, added.json["counts"]) == (0, {"added": 2})
    assert {Path(each["source"]).name for each in added.json["files"]} == {"guide.md", "手册.txt"}
    assert set(added.json["files"][0]) == {
        "source",
        "outcome",
        "passages",
        "characters",
        "reason",
        "message",
    }

    listed = moli("list", "--json").json["documents"]
    assert {each["title"] for each in listed} == {"Guide", "手册"}
    assert {"id", "source", "format", "language", "pages", "groups", "sha256"} <= set(listed[0])

    hits = moli("search", "which port", "--json").json["hits"]
    assert hits[0]["source"] == str(home / "docs" / "guide.md")
    assert {"score", "lexical", "dense", "text", "start", "end", "page"} <= set(hits[0])

    removed = moli("remove", "docs/guide.md", "--json").json
    assert removed["removed"] == {"documents": 1, "passages": 1, "vectors": 1, "traces": 0}
    assert removed["sources"] == [str(home / "docs" / "guide.md")]
    assert removed["indexes"]["lexical"]["passages"] == 1
    assert removed["purged"] is False
    assert len(moli("list", "--json").json["documents"]) == 1


@pytest.mark.slow
def test_the_same_is_told_in_words(moli: Moli) -> None:
    assert "No documents yet" in moli("list").out
    assert "2 added" in moli("add", "docs").out
    assert "2 unchanged" in moli("add", "docs").out
    assert "Guide" in moli("list").out
    output = moli("search", "port", "-n", 1).out
    assert "Guide" in output
    assert "words" in output
    assert "none is in nobody" in moli("search", "port", "--group", "nobody").out
    assert "documents 1, passages 1, vectors 1" in moli("remove", "docs/../docs/guide.md").out
    assert "documents 1, passages 1, vectors 1" in moli("remove", "docs").out


@pytest.mark.slow
def test_a_file_that_fails_is_told_and_the_rest_are_added(moli: Moli, home: Path) -> None:
    (home / "docs" / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    ran = moli("add", "docs", "absent.txt", "--json")
    assert (ran.code, ran.json["counts"]) == (3, {"added": 2, "failed": 2})
    failed = {Path(f["source"]).name: f for f in ran.json["files"] if f["outcome"] == "failed"}
    assert failed["absent.txt"]["reason"] == "missing"
    assert "broken.pdf" in failed["broken.pdf"]["message"]
    again = moli("add", "docs")
    assert again.code == 3
    assert "failed: " in again.err
    assert "2 unchanged" in again.out


@pytest.mark.slow
def test_groups_and_labels_decide_what_is_found(moli: Moli) -> None:
    moli("add", "docs/guide.md", "--group", "hr", "--label", "team=support")
    assert moli("search", "port", "--json").json["hits"] == []
    seen = moli("search", "port", "--group", "hr", "--where", "team=support", "--json").json
    assert len(seen["hits"]) == 1
    other = moli("search", "port", "--group", "hr", "--where", "team=sales", "--json").json
    assert other["hits"] == []
    assert moli("add", "docs", "--label", "nonsense").code == 2


@pytest.mark.slow
def test_a_question_is_answered_with_its_quote_and_leaves_a_trace(moli: Moli) -> None:
    moli("add", "docs")
    answer = moli("ask", "Which port does the server use?", "--json").json
    assert answer["answered"]
    assert "7860" in answer["text"]
    (citation, *_) = answer["sentences"][0]["citations"]
    assert citation["quote"] in "The server listens on port 7860."
    trace = moli("trace", answer["trace_id"][:8], "--json").json
    assert (trace["id"], trace["question"]) == (answer["trace_id"], answer["question"])
    assert trace["sentences"] == answer["sentences"]
    shown = moli("trace", answer["trace_id"]).out
    assert "Which port does the server use?" in shown
    assert "guide.md" in shown


@pytest.mark.slow
def test_a_model_is_named_on_the_command_line(moli: Moli) -> None:
    moli("add", "docs")
    script = 'scripted:It is 7860. [1: "port 7860"]'
    output = moli("ask", "Which port?", "--model", script).out
    assert "It is 7860. [1]" in output
    assert "guide.md" in output
    script = 'scripted:It is 7860. [1: "port 7860"]\nIt is 80.'
    assert "It is 80.  (unsupported)" in moli("ask", "Which port?", "--model", script).out


@pytest.mark.slow
def test_the_closest_sentence_is_shown_where_there_is_no_answer(moli: Moli, home: Path) -> None:
    moli("add", "docs")
    write_settings(home, confidence=1.0, unsure=0.0)
    ran = moli("ask", "Which port does the server use?")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0] == "Not sure. The closest sentence in your documents:"
    assert lines[1] == "The server listens on port 7860. [1]"
    answer = moli("ask", "端口是多少？", "--model", "scripted:It is 80.", "--json").json
    assert (answer["tier"], answer["answered"], answer["sentences"]) == ("unsure", False, [])
    assert answer["closest"]["citations"][0]["quote"] in answer["text"]
    assert answer["text"].startswith("不确定。文档中最接近的句子：")
    trace = moli("trace", answer["trace_id"]).out
    assert "not sure" in trace
    assert "✗ It is 80." in trace
    assert f"closest: {answer['closest']['text']}" in trace


@pytest.mark.slow
def test_versions_that_disagree_are_shown_with_their_dates(moli: Moli, home: Path) -> None:
    for year, days in ((2023, 30), (2024, 14)):
        (home / "docs" / f"terms-{year}.md").write_text(f"Goods may be returned in {days} days.")
    moli("add", "docs")
    lines = moli("ask", "In how many days may goods be returned?").out.splitlines()
    assert lines[:3] == [
        "Your documents differ on this:",
        "Goods may be returned in 14 days. [1]",
        "Goods may be returned in 30 days. [2]",
    ]
    assert [line.rpartition(", ")[2] for line in lines if line.startswith("[")] == ["2024", "2023"]


@pytest.mark.slow
def test_a_removal_takes_its_words_out_of_the_traces(moli: Moli) -> None:
    moli("add", "docs")
    trace_id = moli("ask", "Which port?", "--json").json["trace_id"]
    assert moli("remove", "docs", "--json").json["removed"]["traces"] == 1
    assert "7860" not in moli("trace", trace_id, "--json").out
    assert "(removed)" in moli("trace", trace_id).out


@pytest.mark.slow
def test_a_purge_leaves_nothing_of_the_words_on_disk(moli: Moli, home: Path) -> None:
    word = "xylographquartz"
    (home / "docs" / "gone.txt").write_text(f"The {word} is secret. " * 200)
    moli("add", "docs")
    moli("ask", f"What is the {word}?")
    moli("search", word)
    (home / "docs" / "gone.txt").unlink()
    # The question repeats the word, and a question is the asker's own.
    assert moli("remove", "--missing", "--purge", "--json").json["purged"]
    assert [path.name for path in bytes_with(home / ".moli", f"{word} is secret")] == []


@pytest.mark.slow
def test_documents_are_named_by_id_path_folder_or_pattern(moli: Moli, home: Path) -> None:
    for target in ("1", "docs/guide.md", str(home / "docs" / "guide.md"), "docs/*.md"):
        moli("add", "docs")
        number = next(
            d["id"] for d in moli("list", "--json").json["documents"] if d["title"] == "Guide"
        )
        ran = moli("remove", number if target == "1" else target, "--json")
        assert [Path(source).name for source in ran.json["sources"]] == ["guide.md"]


@pytest.mark.slow
def test_only_documents_whose_file_is_gone_count_as_missing(moli: Moli, home: Path) -> None:
    moli("add", "docs")
    (home / "docs" / "guide.md").unlink()
    assert moli("status", "--json").json["files_missing"] == 1
    ran = moli("remove", "--missing", "--json").json
    assert [Path(source).name for source in ran["sources"]] == ["guide.md"]


@pytest.mark.slow
def test_the_status_counts_what_is_there(moli: Moli, home: Path) -> None:
    moli("add", "docs")
    moli("ask", "Which port?")
    status = moli("status", "--json").json
    assert status["counts"] == {"documents": 2, "passages": 2, "vectors": 2, "traces": 1}
    assert (status["workspace"], status["encoder"]) == (str(home), ENCODER.name)
    assert status["model"] == "quotes"
    assert status["bytes_on_disk"] > 0
    assert "documents" in moli("status").out


def test_the_status_names_the_file_of_the_database(
    moli: Moli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(home / ".moli" / "moli.db")
    assert moli("status", "--json").json["database"] == file
    monkeypatch.setattr("moli.workspace.may_write", lambda *_: False)
    assert moli("status", "--json").json["database"] == file


@pytest.mark.slow
def test_the_indexes_are_told_of_rebuilt_and_tuned(moli: Moli, home: Path) -> None:
    moli("add", "docs")
    state = moli("index", "status", "--json").json
    assert state["indexes"]["lexical"] == state["indexes"]["dense"] == {"passages": 2, "behind": 0}
    assert state["fusion"] == {"en": None, "zh": None}
    assert moli("index", "rebuild", "--json").json["indexes"] == state["indexes"]
    queries = home / "queries.jsonl"
    queries.write_text(f'{{"query": "which port", "source": "{home / "docs" / "guide.md"}"}}\n')
    (tuning,) = moli("index", "tune", "--queries", queries, "--json").json["tunings"]
    assert (tuning["language"], tuning["queries"]) == ("en", 1)
    assert moli("index", "status", "--json").json["fusion"]["en"] == tuning["fusion"]
    assert "default" in moli("index", "tune", "--queries", queries).out
    assert "2 passages" in moli("index", "status").out


@pytest.mark.slow
def test_a_changed_encoder_is_caught_up_with_by_a_rebuild(moli: Moli, home: Path) -> None:
    moli("add", "docs")
    toml = home / "moli.toml"
    toml.write_text(toml.read_text().replace(ENCODER.name, "scripted:other"))
    assert moli("index", "status", "--json").json["indexes"]["dense"]["passages"] == 0
    rebuilt = moli("index", "rebuild", "--json").json
    assert (rebuilt["encoded"], rebuilt["indexes"]["dense"]["passages"]) == (2, 2)
    assert moli("search", "port", "--json").json["hits"][0]["dense"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["list", "search", "trace"])
def test_titles_and_groups_are_shown_as_they_are(moli: Moli, home: Path, verb: str) -> None:
    """Square brackets are markup to the terminal's library, and documents are full of them."""
    (home / "odd.html").write_text("<title>[/b] [red]odd</title><p>The odd port.</p>")
    moli("add", "odd.html", "--group", "[/hr]", "--group", "everyone")
    trace_id = moli("ask", "odd port", "--group", "[/hr]", "--json").json["trace_id"]
    arguments = {"list": (), "search": ("odd", "--group", "[/hr]"), "trace": (trace_id,)}[verb]
    ran = moli(verb, *arguments)
    assert ran.code == 0
    assert ("[/hr]" if verb == "trace" else "[/b] [red]odd") in ran.out


@pytest.mark.slow
def test_a_document_cannot_work_the_terminal(moli: Moli, home: Path) -> None:
    with Workspace.open(home) as workspace:
        ingest(workspace, {"evil": "The port \x1b]0;owned\x07 is \x1b[31mred\x1b[0m and wide."})
    for ran in (moli("search", "port"), moli("ask", "Which port is wide?")):
        assert "wide" in ran.out
        assert "\x1b" not in ran.out


@pytest.mark.slow
def test_the_command_line_and_a_running_process_share_a_workspace(
    process: Moli, home: Path
) -> None:
    with Workspace.open(home) as workspace:
        retriever = Retriever(workspace, ENCODER)
        assert retriever.search("port") == []
        assert process("add", "docs").code == 0
        assert retriever.search("port")[0].title == "Guide"
        ingest(workspace, {"more": "The other port is 22."})
        assert len(process("search", "port", "--json").json["hits"]) == 3
        assert process("remove", "docs").code == 0
        assert [hit.source for hit in retriever.search("port")] == ["more"]
        assert process("index", "rebuild").code == 0
        assert [hit.source for hit in retriever.search("port")] == ["more"]


@pytest.mark.slow
def test_output_for_programs_is_nothing_but_json(process: Moli) -> None:
    for arguments in (("add", "docs"), ("list",), ("search", "port"), ("ask", "Which port?")):
        ran = process(*arguments, "--json")
        assert isinstance(ran.json, dict)
        assert ran.err == ""


def test_typers_own_runner_runs_a_command(runner: Moli, home: Path) -> None:
    result = runner("add", "docs")
    assert (result.exit_code, "2 added" in result.output) == (0, True)


def test_what_is_said_is_shown_with_its_time(moli: Moli, home: Path) -> None:
    cues = (
        "00:00.000 --> 00:04.000\nWelcome.\n\n03:12.000 --> 03:15.000\nThe pump holds 40 litres.\n"
    )
    (home / "docs" / "talk.vtt").write_text(f"WEBVTT\n\n{cues}")
    moli("add", "docs/talk.vtt")
    asked = moli("ask", "How much does the pump hold?")
    assert f"[1] {home / 'docs' / 'talk.vtt'}, 03:12" in asked.out.replace("\n", "")
    assert "1. talk, 00:00" in moli("search", "pump").out
    (sentence,) = moli("ask", "How much does the pump hold?", "--json").json["sentences"]
    assert [each["time"] for each in sentence["citations"]] == ["03:12"]
    assert [each["time"] for each in moli("search", "pump", "--json").json["hits"]] == ["00:00"]


@pytest.mark.slow
def test_a_recording_is_added(moli: Moli, home: Path, tmp_path: Path) -> None:
    (home / "talk.flac").write_bytes(as_file(beeps(800, 3.0), "FLAC").getvalue())
    failed = moli("add", "talk.flac")
    assert failed.code == 3
    assert 'Run "moli models get whisper-tiny"' in failed.err
    write_settings(home, confidence=0.0, speech=str(tmp_path / "none"))
    wrong = moli("add", "docs")
    assert (wrong.code, "none: no such folder" in wrong.err) == (1, True)
    write_settings(home, confidence=0.0, speech=save_whisper(tmp_path / "whisper"))
    assert moli("add", "talk.flac", "--json").json["counts"] == {"added": 1}
    assert moli("add", ".", "--json").json["counts"]["unchanged"] == 1
