"""The store of models, on SQLite and on PostgreSQL."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest
from adapters import manifest_of, write_adapter
from alembic import command
from alembic.config import Config
from samples import run_together

import moli.workspace.migrations
from moli.records.errors import InputError, NotFoundError
from moli.workspace.database import REVISION, Database
from moli.workspace.models import ModelStore


@pytest.fixture
def models(database: Database, tmp_path: Path) -> ModelStore:
    return ModelStore(database, tmp_path / "adapters")


def test_an_alias_moves_on_and_back(models: ModelStore, tmp_path: Path) -> None:
    one = models.add(write_adapter(tmp_path / "1", "one"), manifest_of(), "support")
    two = models.add(write_adapter(tmp_path / "2", "two"), manifest_of(), "support")
    assert models.get("support").hash == two.hash
    with pytest.raises(InputError, match="in use as support"):
        models.remove(two.hash)
    models.point("support", f"support@{one.hash[:8]}")
    assert models.get("support") == one
    history = models.history("support")
    assert [each.hash for each in history] == [one.hash, two.hash, one.hash]
    assert abs(history[0].set_at - time.time()) < 60
    assert models.remove(two.hash) == two.hash
    models.retire("support")
    assert models.remove(one.hash) == one.hash
    with pytest.raises(NotFoundError):
        models.get("support")


def test_a_database_of_the_version_before_is_brought_up_and_keeps_its_rows(
    database: Database, models: ModelStore, tmp_path: Path
) -> None:
    config = Config()
    config.set_main_option("script_location", moli.workspace.migrations.__path__[0])
    with database.engine.connect() as connection:
        connection.execution_options(write=True)
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
    with database.write() as connection:
        connection.exec_driver_sql("INSERT INTO traces VALUES ('x', 1.0, '{}')")
    database.migrate()
    with database.read() as connection:
        rows = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
        assert list(rows) == [REVISION]
        assert connection.exec_driver_sql("SELECT id FROM traces").scalars().all() == ["x"]
    added = models.add(write_adapter(tmp_path / "1"), manifest_of(), "support")
    assert models.get("support") == added


@pytest.mark.slow
def test_an_alias_that_processes_move_at_once_ends_where_its_history_says(
    database_url: str, models: ModelStore, tmp_path: Path
) -> None:
    for name in ("0", "1", "2"):
        models.add(write_adapter(tmp_path / name, name), manifest_of(), f"m{name}")
    code = """
        import sys
        from pathlib import Path
        from moli.workspace.database import Database
        from moli.workspace.models import ModelStore
        store = ModelStore(Database(sys.argv[1]), Path(sys.argv[2]))
        for n in range(10):
            store.point("support", f"m{(n + int(sys.argv[3])) % 3}")
    """
    run_together(code, [[database_url, tmp_path / "adapters", p] for p in range(3)])
    history = models.history("support")
    assert models.get("support").hash == history[0].hash
    moves = list(pairwise(history))
    assert all(later.hash != earlier.hash for later, earlier in moves)
    assert all(later.set_at >= earlier.set_at for later, earlier in moves)


@pytest.mark.slow
def test_no_alias_is_left_pointing_at_what_another_process_removed(
    database_url: str, models: ModelStore, tmp_path: Path
) -> None:
    hashes = [
        models.add(write_adapter(tmp_path / str(n), str(n)), manifest_of()).hash for n in range(20)
    ]
    code = """
        import sys
        from pathlib import Path
        from moli.records.errors import MoliError
        from moli.workspace.database import Database
        from moli.workspace.models import ModelStore
        store = ModelStore(Database(sys.argv[1]), Path(sys.argv[2]))
        for each in sys.argv[4:]:
            try:
                store.point("m" + each[:8], each) if sys.argv[3] == "point" else store.remove(each)
            except MoliError:
                print(each)
    """
    folder = tmp_path / "adapters"
    lost = run_together(code, [[database_url, folder, way, *hashes] for way in ("point", "remove")])
    # Of each model one of the two went through and the other was refused.
    assert sorted("".join(lost).split()) == sorted(hashes)
    left = {each.hash for each in models.list()}
    assert left == set(lost[1].split())
    assert all(each.aliases for each in models.list())
