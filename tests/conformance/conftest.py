"""Stores that every test of the store's suite is run on."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from conformance.served import BASE, add_adapter, serving
from openai import OpenAI

from moli.workspace import Workspace
from moli.workspace.database import Database
from moli.workspace.documents import DocumentStore
from moli.workspace.passages import PassageStore
from moli.workspace.traces import TraceStore
from moli.workspace.tunings import TuningStore


def _programs() -> Path | None:
    """The folder that holds PostgreSQL's server programs."""
    initdb = shutil.which("initdb")
    folders = [Path(initdb).resolve().parent] if initdb else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "pg_ctl").exists()), None)


def _unprivileged() -> list[str]:
    """Prefix of a command that must not run as root, since PostgreSQL refuses to."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("PostgreSQL does not run as root, and there is no setpriv to become another")
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    pytest.skip("PostgreSQL does not run as root, and there is no other user to run it")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server of the test's own, on a Unix socket; gives the socket's folder.

    It is a child of the tests and ends with them, also where they are killed.
    """
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'moli[scale]'")
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: no initdb on PATH or in /usr/lib/postgresql")
    other = _unprivileged()
    tied = [*(other or ["setpriv"]), "--pdeathsig=INT"] if shutil.which("setpriv") else other
    # A socket's path must be short, and pytest's folders are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    folder.chmod(0o777)
    data = str(folder / "data")
    initdb = [str(programs / "initdb"), "-D", data, "-U", "moli", "-A", "trust", "-E", "UTF8"]
    made = subprocess.run(
        [*other, *initdb, "--no-sync"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert made.returncode == 0, made.stderr
    options = ("listen_addresses=", "fsync=off", "shared_buffers=16MB")
    command = [str(programs / "postgres"), "-D", data, "-k", str(folder)]
    command += [part for option in options for part in ("-c", option)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([*tied, *command], cwd=folder, stdout=log, stderr=log)
    try:
        _wait_until_ready(server, programs, folder)
        yield str(folder)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(server: subprocess.Popen[bytes], programs: Path, folder: Path) -> None:
    command = [str(programs / "pg_isready"), "-q", "-h", str(folder)]
    deadline = time.monotonic() + 60
    while subprocess.run(command).returncode:
        assert server.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, "PostgreSQL does not get ready"
        time.sleep(0.1)


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


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace with the adapters `bear` and `doll` of a language model."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "moli.toml").write_text(f'encoder = "scripted:hash"\nmodel = "{BASE}"\n')
    with Workspace.init(folder) as made:
        for seed, alias in enumerate(("bear", "doll")):
            add_adapter(made, tmp_path_factory.mktemp(alias), alias, seed)
        yield made


@pytest.fixture(scope="session")
def address(served: Workspace) -> Iterator[str]:
    with serving(served) as address:
        yield address


@pytest.fixture
def client(address: str) -> OpenAI:
    return OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
