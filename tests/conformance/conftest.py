"""Stores that every test of the store's suite is run on."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from moli.workspace.database import Database
from moli.workspace.documents import DocumentStore
from moli.workspace.passages import PassageStore
from moli.workspace.traces import TraceStore
from moli.workspace.tunings import TuningStore


def _programs() -> Path | None:
    """The folder that holds PostgreSQL's server programs."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "pg_ctl").exists()), None)


def _unprivileged() -> list[str]:
    """What to put before a command so that it does not run as root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("PostgreSQL does not run as root, and there is no setpriv to become another")
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        return ["setpriv", *ids]
    pytest.skip("PostgreSQL does not run as root, and there is no other user to run it")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server of the test's own, on a Unix socket; gives the socket's folder."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'moli[scale]'")
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: no initdb on PATH or in /usr/lib/postgresql")
    prefix = _unprivileged()
    # A socket's path must be short, and pytest's folders are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    folder.chmod(0o777)

    def run(program: str, *arguments: str) -> None:
        command = [*prefix, str(programs / program), *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{program}: {done.stdout}\n{done.stderr}"

    data = str(folder / "data")
    log = str(folder / "log")
    options = f"-k {folder} -c listen_addresses= -c fsync=off -c shared_buffers=16MB"
    run("initdb", "-D", data, "-U", "moli", "-A", "trust", "-E", "UTF8", "--no-sync")
    # The server must not inherit a pipe, or the command above would wait for the pipe to close.
    command = [*prefix, str(programs / "pg_ctl"), "-D", data, "-l", log, "-w", "-o", options]
    started = subprocess.run([*command, "start"], cwd=folder, stdout=subprocess.DEVNULL, timeout=60)
    assert started.returncode == 0, Path(log).read_text()
    yield str(folder)
    run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The address of the server's database, emptied."""
    address = f"postgresql://moli@/postgres?host={postgres_server}"
    engine = sa.create_engine(address.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()
    return address


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A store with its schema, on each backend in turn."""
    database = Database(database_url)
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def documents(database: Database) -> DocumentStore:
    return DocumentStore(database)


@pytest.fixture
def passages(database: Database) -> PassageStore:
    return PassageStore(database)


@pytest.fixture
def traces(database: Database) -> TraceStore:
    return TraceStore(database)


@pytest.fixture
def tunings(database: Database) -> TuningStore:
    return TuningStore(database)
