"""Samples for tests: small documents, traces, and Python run in another process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from moli.models.encoders.hashing import HashEncoder
from moli.models.protocols.encoder import Encoder
from moli.records.answers import Citation, Fusion, Hit, Sentence, Trace
from moli.records.documents import Chunk, ParsedDocument
from moli.records.ingestion import FileReport
from moli.workspace import Workspace
from moli.workspace.database import Database
from moli.workspace.documents import NewDocument
from moli.workspace.filter import Filter

ENCODER = HashEncoder()
EVERYTHING = Filter(everything=True)
ROOT = Path(__file__).resolve().parents[1]


def ingest(
    workspace: Workspace, texts: Mapping[str, str], *groups: str, **attributes: str
) -> list[FileReport]:
    """Add texts by source name, open to `groups` (default: everyone), with `attributes`."""
    return ingest_with(ENCODER, workspace, texts, *groups, **attributes)


def ingest_with(
    encoder: Encoder,
    workspace: Workspace,
    texts: Mapping[str, str],
    *groups: str,
    **attributes: str,
) -> list[FileReport]:
    """The same with an encoder that is given."""
    from moli.retrieval.ingest import DocumentLabels, Ingester, source_from_text

    labels = DocumentLabels(groups or ("everyone",), attributes)
    sources = (source_from_text(*item) for item in texts.items())
    return list(Ingester(workspace, encoder).add_documents(sources, labels))


def new_document(source: str, *parts: str, **fields: Any) -> NewDocument:
    """A document of one passage for each of `parts`, ready to be stored."""
    text = "".join(parts)
    ends = np.cumsum([len(part) for part in parts], dtype=int)
    chunks = [
        Chunk(int(end) - len(part), int(end), "") for part, end in zip(parts, ends, strict=True)
    ]
    own = {name: fields.pop(name) for name in ("title", "pages", "times") if name in fields}
    parsed = ParsedDocument(text, **own)
    defaults: dict[str, Any] = {
        "format": "txt",
        "language": "en",
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "bytes": len(text.encode()),
        "encoder": ENCODER.name,
        "vectors": ENCODER.encode(parts),
    }
    return NewDocument(source=source, parsed=parsed, chunks=chunks, **defaults | fields)


def hit_of(
    text: str, source: str = "a", *, document_id: int = 1, passage_id: int = 1, **fields: Any
) -> Hit:
    """A hit with this text, by default at the start of its document."""
    defaults: dict[str, Any] = {
        "title": "",
        "heading": "",
        "page": None,
        "start": 0,
        "score": 1.0,
        "lexical": 2.5,
        "dense": 0.25,
    }
    values = defaults | fields
    return Hit(
        passage_id=passage_id,
        document_id=document_id,
        source=source,
        end=values["start"] + len(text),
        text=text,
        **values,
    )


def trace_of(trace_id: str, *hits: Hit, **fields: Any) -> Trace:
    """A trace that quotes each hit whole, in a sentence of its own."""
    sentences = tuple(
        Sentence(
            hit.text,
            True,
            (
                Citation(
                    hit.document_id,
                    hit.source,
                    hit.title,
                    hit.heading,
                    hit.page,
                    hit.start,
                    hit.end,
                    hit.text,
                ),
            ),
        )
        for hit in hits
    )
    defaults: dict[str, Any] = {
        "created_at": 1.5,
        "question": "What is it?",
        "language": "en",
        "groups": ("everyone",),
        "encoder": ENCODER.name,
        "fusion": Fusion("minmax", 0.5),
        "model": "quotes",
        "prompt_sha256": "",
        "passages": hits,
        "answered": bool(hits),
        "confidence": 0.75,
        "sentences": sentences,
        "timings_ms": {"search": 1.25},
    }
    return Trace(id=trace_id, **defaults | fields)


def row_counts(database: Database) -> dict[str, int]:
    """Rows of every table that is in the database, by raw SQL."""
    with database.read() as connection:
        names = [n for n in sa.inspect(connection).get_table_names() if n != "alembic_version"]
        return {
            name: connection.exec_driver_sql(f'SELECT COUNT(*) FROM "{name}"').scalar_one()
            for name in names
        }


def orphans(database: Database) -> dict[str, int]:
    """Rows that refer to a document, passage or trace that is not there, by table."""
    references = {
        "access": ("document_id", "documents"),
        "attributes": ("document_id", "documents"),
        "passages": ("document_id", "documents"),
        "vectors": ("passage_id", "passages"),
        "trace_sources": ("trace_id", "traces"),
    }
    with database.read() as connection:
        return {
            table: connection.exec_driver_sql(
                f'SELECT COUNT(*) FROM "{table}" WHERE {column} NOT IN (SELECT id FROM {parent})'
            ).scalar_one()
            for table, (column, parent) in references.items()
        }


def bytes_with(folder: Path, words: str) -> list[Path]:
    """Files below `folder` whose raw bytes contain `words`, in whatever case."""
    expected = words.lower().encode()
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in files if expected in path.read_bytes().lower()]


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without settings of Moli, with `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MOLI_")}
    path = os.pathsep.join(filter(None, (str(ROOT / "tests"), kept.get("PYTHONPATH"))))
    return kept | {"PYTHONPATH": path, **extra}


def python(code: str, *arguments: object) -> list[str]:
    """A command that runs `code`; `sys.argv[1:]` are the arguments."""
    return [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]


def run_python(code: str, *arguments: object, **environment: str) -> str:
    """The output of `code` in a process of its own; the test fails if the process does."""
    done = subprocess.run(
        python(code, *arguments),
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"exit {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_together(code: str, argument_lists: Sequence[Sequence[object]]) -> list[str]:
    """The outputs of `code` in processes that run at once, one for each list of arguments."""
    processes = [
        subprocess.Popen(
            python(code, *arguments),
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments in argument_lists
    ]
    results = [process.communicate(timeout=120) for process in processes]
    for process, (out, err) in zip(processes, results, strict=True):
        assert process.returncode == 0, f"exit {process.returncode}:\n{out}\n{err}"
    return [out for out, _ in results]
