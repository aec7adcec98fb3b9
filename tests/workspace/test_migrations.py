from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from samples import ENCODER, ingest

import moli.workspace.migrations
from moli.records.answers import Fusion
from moli.records.errors import WorkspaceError
from moli.workspace import Workspace, schema
from moli.workspace.database import REVISION, Database
from moli.workspace.filter import Filter


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.db'}"


def differences(database: Database) -> list[object]:
    """Differences between the migrated schema and the one in `schema`."""
    with database.read() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, schema.metadata))


def test_the_migrated_schema_is_the_one_that_is_declared(url: str) -> None:
    database = Database(url)
    database.migrate()
    assert differences(database) == []


def test_the_revision_the_code_expects_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", moli.workspace.migrations.__path__[0])
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_what_the_first_version_stored_is_kept(workspace: Workspace) -> None:
    ingest(workspace, {"a": "Words."}, team="support")
    with workspace.database.write() as connection:
        for table in ("aliases", "exchanges", "feedback", "keys", "shadows"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.exec_driver_sql("ALTER TABLE traces DROP COLUMN tenant")
        connection.exec_driver_sql("ALTER TABLE attributes DROP COLUMN given")
        connection.exec_driver_sql("ALTER TABLE documents DROP COLUMN times")
        for column in ("encoder", "passage_language"):
            connection.exec_driver_sql(f"ALTER TABLE tunings DROP COLUMN {column}")
        connection.exec_driver_sql(
            "INSERT INTO tunings (language, method, weight, evidence, created_at) "
            "VALUES ('en', 'rrf', 0.5, '{}', 0)"
        )
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    again = Workspace.open(workspace.root)
    assert len(again.documents.list(Filter(where={"team": "support"}))) == 1
    # A tuning holds for the encoder of the passages, and within its language.
    assert again.tunings.current(ENCODER.name, "en", "en") == Fusion("rrf", 0.5)
    assert again.tunings.current(ENCODER.name, "en", "zh") is None
    assert differences(again.database) == []


def test_a_schema_of_a_newer_version_is_refused(workspace: Workspace) -> None:
    with workspace.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(WorkspaceError, match=r"9999.*Upgrade Moli"):
        Workspace.open(workspace.root).documents.counts()


def test_migrating_what_is_migrated_leaves_the_rows(workspace: Workspace) -> None:
    with workspace.database.write() as connection:
        connection.exec_driver_sql("INSERT INTO traces VALUES ('x', 1.0, '{}', '')")
    workspace.database.migrate()
    assert workspace.documents.counts()["traces"] == 1


def test_a_migration_that_is_cut_short_leaves_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import command

    def interrupted(config: Config, revision: str) -> None:
        connection = config.attributes["connection"]
        connection.exec_driver_sql("CREATE TABLE documents (id INTEGER)")
        raise KeyboardInterrupt

    database = Database(url)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(command, "upgrade", interrupted)
        database.migrate()
    raw = sqlite3.connect(tmp_path / "store.db")
    assert raw.execute("SELECT name FROM sqlite_master").fetchall() == []
    raw.close()
    database.migrate()
    assert differences(database) == []


def test_a_file_that_is_no_database_is_refused_by_its_name(workspace: Workspace) -> None:
    workspace.close()
    path = workspace.folder / "moli.db"
    path.write_bytes(b"not a database " * 1000)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with pytest.raises(WorkspaceError, match=r"moli\.db"):
        Workspace.open(workspace.root).documents.counts()


@pytest.mark.parametrize("bad", ["nonsense", "mysql://localhost/x", "postgresql+nodriver://x/y"])
def test_an_address_that_no_driver_takes_is_refused(bad: str) -> None:
    with pytest.raises(WorkspaceError):
        Database(bad).migrate()


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(WorkspaceError) as caught:
        Database("postgresql://me:sesame@127.0.0.1:1/x?connect_timeout=2").migrate()
    assert "127.0.0.1:1" in str(caught.value)
    assert "sesame" not in str(caught.value)
