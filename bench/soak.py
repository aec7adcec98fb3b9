"""Kill ingestion at random moments, again and again, and compare with a run left in peace.

Use: make soak    (or: python bench/soak.py --kills 30 --documents FOLDER)

Each round adds the folder to a workspace and sends SIGKILL to the whole process at a random moment.
After the last round the folder is added once more, undisturbed. Then the database must hold exactly
what a workspace holds that was never disturbed: documents, passages, headings, vectors to the last
bit, access and attributes; no row without its parent, no file half written, no process left behind;
and every document that was reported as added before a kill must have been in the store after it.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

FIXTURES = Path(__file__).parents[2] / "shared" / "data" / "documents" / "fixtures.tar.gz"

# The program of a user's process, which prints every report at once.
INGEST = """
import sys
from pathlib import Path
from moli.models.encoders.load import load_encoder
from moli.retrieval.indexes import Indexes
from moli.retrieval.discover import discover
from moli.retrieval.ingest import Ingester
from moli.workspace import Workspace

with Workspace.open(Path(sys.argv[1])) as workspace:
    encoder = load_encoder(workspace.settings.encoder)
    files, _ = discover([sys.argv[2]])
    for report in Ingester(workspace, encoder).add_files(files):
        print(report.outcome, report.source, flush=True)
    indexes = Indexes(workspace, encoder)
    indexes.catch_up(timeout=60)
    indexes.save()
    print("indexed", indexes.status(), flush=True)
"""

CONTENT = {
    "documents": "SELECT source, title, format, language, sha256, bytes, characters, pages, "
    "warnings FROM documents ORDER BY source",
    "passages": 'SELECT d.source, p.start, p."end", p.heading, p.text FROM passages p '
    "JOIN documents d ON d.id = p.document_id ORDER BY d.source, p.start",
    "vectors": "SELECT d.source, p.start, v.encoder, v.vector FROM vectors v "
    "JOIN passages p ON p.id = v.passage_id JOIN documents d ON d.id = p.document_id "
    "ORDER BY d.source, p.start",
    "access": 'SELECT d.source, a."group" FROM access a '
    'JOIN documents d ON d.id = a.document_id ORDER BY d.source, a."group"',
    "attributes": "SELECT d.source, a.key, a.value FROM attributes a "
    "JOIN documents d ON d.id = a.document_id ORDER BY d.source, a.key, a.value",
}
ORPHANS = {
    "passages": "document_id NOT IN (SELECT id FROM documents)",
    "access": "document_id NOT IN (SELECT id FROM documents)",
    "attributes": "document_id NOT IN (SELECT id FROM documents)",
    "vectors": "passage_id NOT IN (SELECT id FROM passages)",
}


def ingest(workspace: Path, documents: Path, kill_after: float | None) -> set[str]:
    """Run an ingestion, killed after so many seconds; returns the sources it reported as added."""
    command = [sys.executable, "-c", INGEST, str(workspace), str(documents)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        output, _ = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        output, _ = process.communicate()
    lines = [line for line in output.splitlines(keepends=True) if line.endswith("\n")]
    stored = (line.split(" ", 1) for line in lines if line.startswith(("added", "updated")))
    return {source.strip() for _, source in stored}


def rows(workspace: Path, query: str) -> list[tuple[object, ...]]:
    """Rows of a query to the workspace's database."""
    with sqlite3.connect(workspace / ".moli" / "moli.db") as connection:
        return connection.execute(query).fetchall()


def problems(disturbed: Path, peaceful: Path) -> list[str]:
    """Differences between the disturbed workspace and the undisturbed one."""
    result = [
        f"{name} differ"
        for name, query in CONTENT.items()
        if rows(disturbed, query) != rows(peaceful, query)
    ]
    for table, condition in ORPHANS.items():
        [(count,)] = rows(disturbed, f"SELECT count(*) FROM {table} WHERE {condition}")
        if count:
            result.append(f"{count} orphans in {table}")
    result += [f"left behind: {path}" for path in disturbed.rglob("*.partial")]
    return result + index_problems(disturbed)


def index_problems(workspace: Path) -> list[str]:
    """Indexes that have fewer or more passages than the store."""
    from moli.models.encoders.load import load_encoder
    from moli.retrieval.indexes import Indexes
    from moli.workspace import Workspace

    with Workspace.open(workspace) as opened:
        status = Indexes(opened, load_encoder(opened.settings.encoder)).status()
        held = opened.documents.counts()["passages"]
    return [
        f"{name} index holds {state['passages']} of {held} passages, {state['behind']} behind"
        for name, state in status.items()
        if state != {"passages": held, "behind": 0}
    ]


def strays() -> int:
    """Parsing processes that outlived their parent."""
    time.sleep(1.0)
    count = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            count += b"moli.parsing.sandbox.worker" in path.read_bytes()
        except OSError:
            continue
    return count


def soak(documents: Path, kills: int, seed: int) -> list[str]:
    """Ingest documents with and without kills, and return all differences."""
    generator = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        peaceful, disturbed = Path(name, "peaceful"), Path(name, "disturbed")
        for workspace in (peaceful, disturbed):
            subprocess.run(["moli", "init", str(workspace)], check=True, env=environment())
        begun = time.monotonic()
        stored = ingest(peaceful, documents, None)
        whole = time.monotonic() - begun
        print(f"undisturbed: {len(stored)} documents in {whole:.1f} s", flush=True)
        result: list[str] = []
        acknowledged: set[str] = set()
        for kill in range(kills):
            # Each run goes on where the last was killed, so short runs meet every part of the work.
            acknowledged |= ingest(disturbed, documents, generator.uniform(0.5, whole / 10))
            held = {source for (source,) in rows(disturbed, "SELECT source FROM documents")}
            result += [f"kill {kill}: lost {source}" for source in acknowledged - held]
            print(f"kill {kill + 1}: {len(held)} documents stored", flush=True)
            if len(held) == len(stored):
                # All is in: begin again, so that later kills meet an ingestion at work as well.
                shutil.rmtree(disturbed / ".moli")
                acknowledged = set()
        ingest(disturbed, documents, None)
        left = strays()
        return (
            result + problems(disturbed, peaceful) + ([f"{left} stray processes"] if left else [])
        )


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--documents", type=Path, help="default: the shared fixtures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        documents = args.documents
        if documents is None:
            documents = Path(name)
            with tarfile.open(FIXTURES) as archive:
                archive.extractall(documents, filter="data")
        result = soak(documents, args.kills, args.seed)
    print("\n".join(result) or f"{args.kills} kills, no difference")
    sys.exit(bool(result))


if __name__ == "__main__":
    main()
