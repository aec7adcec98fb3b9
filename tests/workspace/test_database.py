from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from samples import new_document

from moli.workspace import Workspace, schema
from moli.workspace.database import Database


@pytest.fixture
def database(workspace: Workspace) -> Database:
    return workspace.database


def add_change(connection: sa.Connection, number: int) -> None:
    values = {"kind": "add", "document_id": number, "first_passage": 1, "last_passage": 1}
    connection.execute(sa.insert(schema.changes).values(**values))


def logged(database: Database) -> list[int]:
    with database.read() as connection:
        query = sa.select(schema.changes.c.document_id).order_by(schema.changes.c.seq)
        return list(connection.execute(query).scalars())


def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        add_change(connection, 1)
        raise ZeroDivisionError
    assert logged(database) == []


def test_a_reader_sees_the_state_before_a_transaction_until_it_commits(database: Database) -> None:
    with database.write() as connection:
        add_change(connection, 7)
        assert logged(database) == []
    assert logged(database) == [7]


def test_a_reader_sees_one_state_for_as_long_as_it_reads(database: Database) -> None:
    count = sa.select(sa.func.count()).select_from(schema.changes)
    with database.read() as reader:
        before = reader.execute(count).scalar_one()
        with database.write() as writer:
            add_change(writer, 1)
        assert reader.execute(count).scalar_one() == before
    assert logged(database) == [1]


def test_a_writer_waits_for_the_one_before_it(database: Database) -> None:
    order: list[str] = []

    def second() -> None:
        with database.write() as connection:
            add_change(connection, 2)
            order.append("second")

    with database.write() as connection:
        other = threading.Thread(target=second)
        other.start()
        other.join(0.3)
        add_change(connection, 1)
        order.append("first")
    other.join(20)
    assert order == ["first", "second"]
    assert logged(database) == [1, 2]


def test_a_committed_write_is_on_disk_for_another_process_to_read(database: Database) -> None:
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1


def test_a_log_that_is_followed_while_others_write_misses_nothing(workspace: Workspace) -> None:
    seen: list[int] = []
    done = threading.Event()

    def follow() -> None:
        while True:
            finished = done.is_set()
            changes = workspace.passages.changes(seen[-1] if seen else 0)
            seen.extend(change.seq for change in changes)
            if finished and not changes:
                return

    def write(name: str) -> None:
        for n in range(10):
            workspace.documents.put([new_document(f"{name}{n}", "Words.")])

    follower = threading.Thread(target=follow)
    writers = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in (follower, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    follower.join()
    assert seen == list(range(1, 31))
