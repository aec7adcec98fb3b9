from __future__ import annotations

import base64
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_settings
from models.speech.small_whisper import RATE, as_file, beeps, save_whisper
from samples import (
    ENCODER,
    clean_environment,
    ingest,
    new_document,
    orphans,
    python,
    run_together,
)

from moli.models.encoders.hashing import HashEncoder
from moli.models.speech.audio import read_audio
from moli.models.speech.whisper import SpeechRecognizer
from moli.parsing import parse_file
from moli.records.errors import ModelError
from moli.records.ingestion import FileReport
from moli.retrieval.chunk import chunk_document
from moli.retrieval.discover import discover
from moli.retrieval.ingest import DocumentLabels, Ingester, encode_missing
from moli.workspace import Workspace
from moli.workspace.filter import Filter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def add(workspace: Workspace, *paths: Path | str, **options: Any) -> list[FileReport]:
    """Reports on everything below `paths`, as `moli add` makes them."""
    labels = options.pop("labels", None)
    has_speech = bool(workspace.settings.speech)
    result, missing = discover([str(path) for path in paths], recordings=has_speech)
    return [*missing, *Ingester(workspace, ENCODER).add_files(result, labels, **options)]


def outcomes(reports: list[FileReport]) -> dict[str, str]:
    return {Path(report.source).name: report.outcome for report in reports}


def text_of(workspace: Workspace, path: Path) -> str:
    return workspace.documents.text(workspace.documents.stored_versions()[str(path)].document_id)


@pytest.mark.slow
def test_a_file_is_stored_as_it_was_parsed_cut_and_encoded(
    workspace: Workspace, folder: Path
) -> None:
    path = folder / "guide.md"
    path.write_text("# Guide\n\n" + "It runs. " * 300 + "\n\n## 附录\n\n" + "充电两小时。" * 200)
    (report,) = add(workspace, path)
    parsed = parse_file(path)
    chunks = chunk_document(parsed)
    assert len(chunks) > 2
    assert (report.outcome, report.passages, report.characters) == (
        "added",
        len(chunks),
        len(parsed.text),
    )
    (document,) = workspace.documents.list()
    assert (document.title, document.format) == ("Guide", "md")
    assert (document.characters, document.headings) == (len(parsed.text), parsed.headings)
    assert workspace.documents.text(document.id) == parsed.text
    passages = workspace.passages.range(1, 99)
    assert [(p.start, p.end, p.heading) for p in passages] == [
        (c.start, c.end, c.heading) for c in chunks
    ]
    _, vectors = workspace.passages.vectors(ENCODER.name, 1, 99)
    expected = ENCODER.encode([each.text_with_context for each in passages])
    assert abs(vectors - expected).max() < 1e-3


def test_a_document_is_titled_by_itself_its_first_heading_or_its_name(
    workspace: Workspace, folder: Path
) -> None:
    (folder / "page.html").write_text("<title>Own title</title><h1>Heading</h1><p>Words.</p>")
    (folder / "notes.md").write_text("Words first.\n\n# The heading\n\nMore.")
    (folder / "plain_text.txt").write_text("Words.")
    (folder / "default.html").write_text("<title>Word Document</title><p>Words.</p>")
    add(workspace, folder)
    titles = {Path(each.source).name: each.title for each in workspace.documents.list()}
    assert titles == {
        "page.html": "Own title",
        "default.html": "default",
        "notes.md": "The heading",
        "plain_text.txt": "plain text",
    }


def test_files_that_have_not_changed_are_left_alone(workspace: Workspace, folder: Path) -> None:
    (folder / "a.txt").write_text("One.")
    add(workspace, folder)
    before = workspace.documents.list()
    assert outcomes(add(workspace, folder)) == {"a.txt": "unchanged"}
    os.utime(folder / "a.txt", (1, 1))
    assert outcomes(add(workspace, folder)) == {"a.txt": "unchanged"}
    assert workspace.documents.list() == before


def test_files_are_read_again_when_told_to(workspace: Workspace, folder: Path) -> None:
    (folder / "a.txt").write_text("One.")
    add(workspace, folder)
    assert outcomes(add(workspace, folder, force=True)) == {"a.txt": "updated"}
    assert len(workspace.documents.list()) == 1


@pytest.mark.slow
def test_a_file_that_has_changed_takes_the_place_of_its_older_version(
    workspace: Workspace, folder: Path
) -> None:
    (folder / "a.txt").write_text("Old.")
    (folder / "b.txt").write_text("Stays.")
    add(workspace, folder)
    (folder / "a.txt").write_text("New.")
    assert outcomes(add(workspace, folder)) == {"a.txt": "updated", "b.txt": "unchanged"}
    assert text_of(workspace, folder / "a.txt") == "New."
    assert len(workspace.documents.list()) == 2
    assert not any(orphans(workspace.database).values())


def test_a_change_that_cannot_be_read_leaves_the_older_version(
    workspace: Workspace, folder: Path
) -> None:
    path = folder / "a.txt"
    path.write_text("Old words.")
    add(workspace, folder)
    path.write_bytes(bytes(range(256)) * 40)
    (report,) = add(workspace, folder)
    assert (report.outcome, report.reason) == ("failed", "misnamed")
    assert text_of(workspace, path) == "Old words."
    path.write_text("New words.")
    assert outcomes(add(workspace, folder)) == {"a.txt": "updated"}


def test_files_that_fail_do_not_keep_the_rest_out(workspace: Workspace, folder: Path) -> None:
    (folder / "good.txt").write_text("Good.")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing of the kind")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "lies.docx").write_text("Not a Word document.")
    reports = add(workspace, folder, folder / "absent.txt")
    assert outcomes(reports).pop("good.txt") == "added"
    failed = {Path(r.source).name: r for r in reports if r.outcome == "failed"}
    assert set(failed) == {"broken.pdf", "empty.txt", "lies.docx", "absent.txt"}
    assert all(report.reason and report.message for report in failed.values())
    assert failed["absent.txt"].reason == "missing"


def test_a_file_that_goes_away_before_it_is_read_is_reported(
    workspace: Workspace, folder: Path
) -> None:
    paths = [folder / "here.txt", folder / "gone.txt"]
    paths[0].write_text("Here.")
    reports = list(Ingester(workspace, ENCODER).add_files(paths))
    assert {(Path(r.source).name, r.outcome, r.reason) for r in reports} == {
        ("here.txt", "added", ""),
        ("gone.txt", "failed", "missing"),
    }


NAMES = [
    "two words.txt",
    "手册（一）.txt",
    "line\nbreak.txt",
    "-rf.txt",
    "%s?#*.txt",
    "'q\".txt",
    "é.txt",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_added_whatever_it_is_called(
    workspace: Workspace, folder: Path, name: str
) -> None:
    (folder / name).write_text("Words.")
    assert outcomes(add(workspace, folder)) == {name: "added"}
    assert outcomes(add(workspace, folder / name)) == {name: "unchanged"}


def test_a_name_that_is_not_utf8_does_not_end_the_run(workspace: Workspace, folder: Path) -> None:
    (folder / "good.txt").write_text("Good.")
    with open(os.fsencode(folder) + b"/caf\xe9.txt", "w") as file:  # noqa: PTH123
        file.write("Words.")
    reports = add(workspace, folder)
    assert "added" in {report.outcome for report in reports}
    assert len(reports) == 2


def test_a_file_named_twice_is_added_once(workspace: Workspace, folder: Path) -> None:
    path = folder / "a.txt"
    path.write_text("Words.")
    assert outcomes(add(workspace, path, folder, f"{folder}/*.txt", path)) == {"a.txt": "added"}


def test_a_file_is_known_however_its_path_is_spelt(workspace: Workspace, folder: Path) -> None:
    (folder / "a.txt").write_text("Words.")
    (folder / "inner").mkdir()
    add(workspace, folder / "a.txt", folder / "inner" / ".." / "a.txt")
    assert len(workspace.documents.list()) == 1


def test_equal_files_of_two_names_are_two_documents(workspace: Workspace, folder: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text("Same words.")
    assert outcomes(add(workspace, folder)) == {"a.txt": "added", "b.txt": "added"}


def test_labels_and_groups_go_with_every_document(workspace: Workspace, folder: Path) -> None:
    (folder / "a.txt").write_text("Words.")
    add(workspace, folder, labels=DocumentLabels(("hr", "it"), {"team": "support"}))
    assert workspace.documents.list(Filter()) == []
    result = workspace.documents.list(Filter(frozenset({"it"}), {"team": "support"}))
    assert result[0].groups == ("hr", "it")
    assert workspace.documents.list(Filter(frozenset({"it"}), {"team": "other"})) == []


def test_an_unchanged_file_is_given_its_new_groups(workspace: Workspace, folder: Path) -> None:
    (folder / "a.txt").write_text("Words.")
    add(workspace, folder)
    changes = workspace.passages.last_change()
    assert outcomes(add(workspace, folder, labels=DocumentLabels(("hr",)))) == {
        "a.txt": "unchanged"
    }
    assert workspace.documents.list()[0].groups == ("hr",)
    assert workspace.passages.last_change() == changes


def test_an_unchanged_file_is_given_its_new_labels(workspace: Workspace, folder: Path) -> None:
    (folder / "a.txt").write_text("Words.")
    add(workspace, folder)
    add(workspace, folder, labels=DocumentLabels(attributes={"team": "support"}))
    assert len(workspace.documents.list(Filter(where={"team": "support"}))) == 1


@pytest.mark.slow
def test_a_changed_file_keeps_the_labels_it_was_given(workspace: Workspace, folder: Path) -> None:
    (folder / "a.txt").write_text("Words.")
    add(workspace, folder, labels=DocumentLabels(attributes={"team": "support"}))
    (folder / "a.txt").write_text("Other words.")
    add(workspace, folder)
    assert len(workspace.documents.list(Filter(where={"team": "support"}))) == 1


@pytest.mark.parametrize("text", ["Words.", "Other words."])
def test_adding_a_folder_again_opens_nothing_that_was_closed(
    workspace: Workspace, folder: Path, text: str
) -> None:
    (folder / "a.txt").write_text("Words.")
    add(workspace, folder, labels=DocumentLabels(("hr",)))
    (folder / "a.txt").write_text(text)
    add(workspace, folder)
    assert workspace.documents.list(Filter()) == []


def test_a_text_of_white_space_is_a_document_without_passages(workspace: Workspace) -> None:
    (report,) = ingest(workspace, {"blank": " \n\t\n "})
    assert (report.outcome, report.passages) == ("added", 0)
    assert workspace.documents.counts()["passages"] == 0
    ingest(workspace, {"blank": "Words now."})
    assert workspace.documents.counts() == {
        "documents": 1,
        "passages": 1,
        "vectors": 1,
        "traces": 0,
    }


def test_a_folder_gives_its_files_of_known_kinds_but_not_the_hidden_ones(folder: Path) -> None:
    for name in ("b.txt", "a.md", "c.exe", ".hidden.txt", "UPPER.TXT"):
        (folder / name).touch()
    for inner in ("sub", ".git"):
        (folder / inner).mkdir()
        (folder / inner / "d.txt").touch()
    (folder / "dangling.txt").symlink_to(folder / "nowhere")
    result, missing = discover([str(folder)])
    assert [str(path.relative_to(folder)) for path in result] == [
        "UPPER.TXT",
        "a.md",
        "b.txt",
        "sub/d.txt",
    ]
    # What is of no known kind is told of, not passed over in silence.
    assert [(Path(r.source).name, r.outcome) for r in missing] == [
        ("c.exe", "skipped"),
        ("dangling.txt", "skipped"),
    ]
    advice = "Name the file itself to have its content read as text."
    assert missing[0].message.endswith(f": .exe files are not read from a folder. {advice}")


def test_linked_folders_are_read_once(folder: Path) -> None:
    (folder / "top" / "inner").mkdir(parents=True)
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "far.txt").touch()
    (folder / "top" / "inner" / "near.txt").touch()
    (folder / "top" / "a link").symlink_to(folder / "elsewhere")
    (folder / "top" / "again").symlink_to(folder / "elsewhere")
    (folder / "top" / "inner" / "loop").symlink_to(folder / "top")
    (folder / "top" / "around").symlink_to(folder)
    result, others = discover([str(folder / "top")])
    names = [str(path.relative_to(folder / "top")) for path in result]
    assert names == ["inner/near.txt", "a link/far.txt"]
    left_out = {(Path(each.source).name, each.outcome) for each in others}
    assert left_out == {("again", "skipped"), ("loop", "skipped"), ("around", "skipped")}


def test_notes_name_their_file(workspace: Workspace, folder: Path) -> None:
    message = "Subject: Plan\nFrom: a@x.org\nTo: b@x.org\nMIME-Version: 1.0\n"
    kind = "Content-Type: application/ms-tnef; name=winmail.dat\n"
    content = base64.b64encode(b'x\x9f>"' + bytes(9)).decode()
    data = f"{message}{kind}Content-Transfer-Encoding: base64\n\n{content}\n"
    (folder / "plan.eml").write_text(data)
    (report,) = add(workspace, folder)
    assert report.message.startswith("plan.eml: the attachment winmail.dat was left out: ")


def test_a_pattern_gives_what_it_matches_and_a_file_that_is_called_so(folder: Path) -> None:
    (folder / "deep" / "er").mkdir(parents=True)
    for name in ("a.txt", "deep/b.txt", "deep/er/c.txt", "report[1].txt"):
        (folder / name).touch()
    result, _ = discover([f"{folder}/**/*.txt"])
    assert {path.name for path in result} == {"a.txt", "b.txt", "c.txt", "report[1].txt"}
    assert [path.name for path in discover([f"{folder}/report[1].txt"])[0]] == ["report[1].txt"]
    result, missing = discover([f"{folder}/*.pdf"])
    assert (result, [report.reason for report in missing]) == ([], ["missing"])


@pytest.mark.parametrize("path", ["~nobody-by-that-name/x.txt", "a" * 300])
def test_a_path_that_cannot_be_is_reported_like_a_missing_one(path: str) -> None:
    result, missing = discover([path])
    assert (result, [report.reason for report in missing]) == ([], ["missing"])


def test_a_pipe_is_reported_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.txt")
    result, others = discover([str(folder / "pipe.txt"), str(folder)])
    assert (result, [report.reason for report in others]) == ([], ["unsupported"])


def test_passages_of_a_new_encoder_are_encoded_once(workspace: Workspace) -> None:
    ingest(workspace, {f"d{n}": f"Words {n}." for n in range(7)})
    other = HashEncoder("scripted:other", 16)
    assert encode_missing(workspace, other, batch=3) == 7
    assert encode_missing(workspace, other, batch=3) == 0
    ids, vectors = workspace.passages.vectors(other.name, 1, 7)
    expected = other.encode([each.text_with_context for each in workspace.passages.range(1, 7)])
    assert ids.tolist() == list(range(1, 8))
    assert abs(vectors - expected).max() < 1e-3


def test_a_report_is_given_only_once_the_document_is_stored(
    workspace: Workspace, folder: Path
) -> None:
    for n in range(6):
        (folder / f"{n}.txt").write_text(f"Number {n}.\n\n" * 700)
    for report in Ingester(workspace, ENCODER).add_files(sorted(folder.iterdir())):
        assert report.source in workspace.documents.stored_versions()


def test_an_ingestion_that_is_left_early_leaves_whole_documents(
    workspace: Workspace, folder: Path
) -> None:
    for n in range(8):
        (folder / f"{n}.txt").write_text(f"Number {n}.\n\n" * 700)
    reports = Ingester(workspace, ENCODER).add_files(sorted(folder.iterdir()))
    next(reports)
    reports.close()  # type: ignore[attr-defined]
    for document in workspace.documents.list():
        assert len(workspace.documents.text(document.id)) == document.characters
    assert not any(orphans(workspace.database).values())


# What may be killed at any moment

ADD = """
    import sys
    from pathlib import Path
    from samples import ENCODER
    from moli.retrieval import discover, ingest
    from moli.workspace import Workspace
    ingest._BATCH_PASSAGES = 3
    with Workspace.open(Path(sys.argv[1])) as workspace:
        found, _ = discover.discover([sys.argv[2]])
        for report in ingest.Ingester(workspace, ENCODER).add_files(found):
            print(report.outcome, report.source, flush=True)
"""


def write_library(folder: Path, count: int = 30) -> None:
    """Small files of several kinds, the same every time."""
    generator = random.Random(11)
    for n in range(count):
        words = " ".join(generator.choice(("pump", "valve", "水泵。")) for _ in range(60))
        body = {
            "txt": f"Number {n}. {words}\n\n" * 20,
            "md": f"# Title {n}\n\n{words}\n\n## Part\n\n{words}\n" * 8,
            "html": f"<title>T{n}</title><h1>H{n}</h1><p>{words}</p>" + f"<p>{words}" * 15,
        }
        kind = ("txt", "md", "html")[n % 3]
        (folder / f"{n:02}.{kind}").write_text(body[kind], encoding="utf-8")


def content(workspace: Workspace) -> dict[str, Any]:
    """All that the store holds of each document, without the numbers that it was given."""
    with workspace.database.read() as connection:

        def rows(query: str) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

        return {
            "documents": rows(
                "SELECT source, title, format, language, sha256, bytes, characters, pages, "
                "warnings FROM documents ORDER BY source"
            ),
            "passages": rows(
                'SELECT source, start, "end", heading, text, encoder, vector FROM documents d '
                "JOIN passages p ON p.document_id = d.id JOIN vectors v ON v.passage_id = p.id "
                "ORDER BY source, start"
            ),
            "access": rows(
                'SELECT source, "group" FROM documents d JOIN access a ON a.document_id = d.id '
                "ORDER BY 1, 2"
            ),
            "attributes": rows(
                "SELECT source, key, value FROM documents d "
                "JOIN attributes a ON a.document_id = d.id ORDER BY 1, 2, 3"
            ),
        }


def children_of(pid: int) -> list[int]:
    """Processes that name `pid` as the one they work for."""
    result = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"moli.parsing.sandbox.worker" in words and str(pid).encode() in words:
            result.append(int(path.parent.name))
    return result


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="children are looked for in /proc")
def test_an_ingestion_that_is_killed_again_and_again_ends_as_one_that_was_not(
    workspace: Workspace, make_workspace: Any, folder: Path
) -> None:
    write_library(folder)
    undisturbed = make_workspace("undisturbed")
    subprocess.run(
        python(ADD, undisturbed.root, folder), env=clean_environment(), check=True, timeout=120
    )

    generator = random.Random(7)
    acknowledged: set[str] = set()
    for _ in range(8):
        process = subprocess.Popen(
            python(ADD, workspace.root, folder),
            env=clean_environment(),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        # A little after it has acknowledged a few files more than all before it: in their midst.
        enough = len(acknowledged) + generator.randint(0, 3)
        lines = [process.stdout.readline() for _ in range(enough)]
        time.sleep(generator.uniform(0.0, 0.05) if enough else 0.9)
        os.kill(process.pid, signal.SIGKILL)
        # A line that was cut off is no acknowledgement.
        lines += [line for line in process.stdout if line.endswith("\n")]
        assert process.wait() == -signal.SIGKILL
        acknowledged |= {line.split(" ", 1)[1].rstrip("\n") for line in lines}
        assert acknowledged <= set(workspace.documents.stored_versions())
        assert not any(orphans(workspace.database).values())
        for document in workspace.documents.list():
            assert len(workspace.documents.text(document.id)) == document.characters
        deadline = time.monotonic() + 20
        while children_of(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert children_of(process.pid) == []

    done = subprocess.run(
        python(ADD, workspace.root, folder),
        env=clean_environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert len(done.stdout.splitlines()) == 30
    assert content(workspace) == content(undisturbed)
    assert not any(orphans(workspace.database).values())
    left = [path for path in workspace.folder.rglob("*") if path.name.endswith(".part")]
    assert left == []


@pytest.mark.slow
def test_two_processes_that_add_the_same_files_leave_one_of_each(
    workspace: Workspace, make_workspace: Any, folder: Path
) -> None:
    write_library(folder, 12)
    outputs = run_together(ADD, [[workspace.root, folder]] * 2)
    assert all(len(out.splitlines()) == 12 for out in outputs)
    alone = make_workspace("alone")
    add(alone, folder)
    assert content(workspace) == content(alone)
    assert not any(orphans(workspace.database).values())


def test_a_store_that_refuses_leaves_the_group_out_and_says_so(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(type(workspace.documents), "put", refuse)
    with pytest.raises(OSError, match="disk full"):
        ingest(workspace, {"a": "Words."})
    monkeypatch.undo()
    assert workspace.documents.list() == []
    workspace.documents.put([new_document("a", "Words.")])
    assert len(workspace.documents.list()) == 1


# Recordings


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture
def hearing(tmp_path: Path, whisper: str) -> Iterator[Workspace]:
    """A workspace with a speech model."""
    write_settings(tmp_path / "hearing", speech=whisper)
    with Workspace.init(tmp_path / "hearing") as workspace:
        yield workspace


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_recording_is_what_the_model_hears_in_it(
    hearing: Workspace, folder: Path, whisper: str, kind: str
) -> None:
    path = folder / f"talk.{kind.lower()}"
    path.write_bytes(as_file(beeps(800, 7.3), kind).getvalue())
    (report,) = add(hearing, folder)
    samples = read_audio(io.BytesIO(path.read_bytes()), RATE)
    heard = SpeechRecognizer(whisper).transcribe(samples).segments
    assert (report.outcome, report.passages > 0) == ("added", True), report.message
    (document,) = hearing.documents.list()
    assert (document.format, document.title) == ("audio", "talk")
    text = hearing.documents.text(document.id)
    assert "".join(text.split()) == "".join("".join(each.text for each in heard).split())
    assert len(document.times) == len(heard) >= 3
    for part, stamp in zip(heard, document.times, strict=True):
        assert text[stamp.offset :].startswith(part.text.split()[0])
        assert part.start <= stamp.seconds < part.end
    # The model hears two seconds at once; later windows count on.
    assert document.times[-1].seconds > 4
    (passage, *_) = hearing.passages.range(1, 9)
    assert passage.time == f"00:0{int(document.times[0].seconds)}"
    assert [each.outcome for each in add(hearing, folder)] == ["unchanged"]


def test_without_a_speech_model_recordings_are_left_out(workspace: Workspace, folder: Path) -> None:
    (folder / "talk.mp3").write_bytes(as_file(beeps(800, 1.0), "MP3").getvalue())
    (folder / "a.txt").write_text("Words.")
    reports = add(workspace, folder)
    assert outcomes(reports) == {"a.txt": "added", "talk.mp3": "skipped"}
    (named,) = add(workspace, folder / "talk.mp3")
    assert (named.outcome, named.reason) == ("failed", "missing_tool")
    for report in (reports[0], named):
        assert 'moli models get whisper-tiny" for English, then set speech =' in report.message


def test_a_wrong_speech_model_is_told_before_anything_is_added(
    tmp_path: Path, folder: Path
) -> None:
    write_settings(tmp_path / "wrong", speech=str(folder))
    with (
        Workspace.init(tmp_path / "wrong") as workspace,
        pytest.raises(ModelError, match=r"no config\.json"),
    ):
        Ingester(workspace, ENCODER)


def test_what_cannot_be_heard_fails_alone(hearing: Workspace, folder: Path) -> None:
    (folder / "a.txt").write_text("Words.")
    (folder / "b.wav").write_bytes(b"%PDF-1.7")
    (folder / "c.wav").write_bytes(as_file(np.zeros(0)).getvalue())
    reasons = {Path(each.source).name: each.reason for each in add(hearing, folder)}
    assert reasons == {"a.txt": "", "b.wav": "misnamed", "c.wav": "empty"}
