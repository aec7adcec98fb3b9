"""Keys, exchanges, feedback and shadows, on each backend."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace

import pytest

from moli.records.errors import InputError, NotFoundError
from moli.records.exchanges import Choice, Exchange, Feedback
from moli.records.messages import Message, Tool, ToolCall
from moli.workspace.database import Database
from moli.workspace.exchanges import ExchangeStore
from moli.workspace.feedback import FeedbackStore
from moli.workspace.keys import KeyStore, hash_secret
from moli.workspace.shadows import Shadow, ShadowStore


def exchange(number: int, **changes: object) -> Exchange:
    call = ToolCall("call_1", "weather", '{"city": "Torino"}')
    made = Exchange(
        id=f"{number:032x}",
        created_at=1000.0 + number,
        kind="chat",
        model="support",
        base="builtin:starter",
        adapter="a" * 64,
        template_sha256="b" * 64,
        prompt_sha256="c" * 64,
        messages=(
            Message("user", "How is it? 天气\0"),
            Message("assistant", "", (call,)),
            Message("tool", "sunny", call_id="call_1"),
        ),
        choices=(Choice("Sunny.", "stop", 3), Choice("", "stop", 9, (call,))),
        prompt_tokens=12,
        cached_tokens=4,
        tools=(Tool("weather", "Tells it.", {"type": "object"}),),
        sampling={"temperature": 0.5},
        timings_ms={"first": 1.5, "last": 9.25},
        tenant="acme",
        key="anna",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.slow
def test_an_exchange_is_kept_as_it_was(database: Database) -> None:
    store = ExchangeStore(database)
    store.add(exchange(1))
    assert store.get(f"{1:032x}") == exchange(1)
    with pytest.raises(NotFoundError, match="no exchange"):
        store.get("1")


def test_exchanges_are_found_by_tenant_and_by_adapter(database: Database) -> None:
    store = ExchangeStore(database)
    store.add(exchange(1))
    store.add(exchange(2, tenant="beta"))
    store.add(exchange(3, adapter="d" * 64))
    store.add(exchange(4, shadow_of=f"{1:032x}", adapter="e" * 64))

    def recent(**which: str) -> list[int]:
        return [int(each.id, 16) for each in store.recent(**which)]  # type: ignore[arg-type]

    assert recent() == [3, 2, 1]
    assert recent(tenant="acme") == [3, 1]
    assert recent(adapter="a" * 64) == [2, 1]
    assert [int(each.id, 16) for each in store.shadows(f"{1:032x}")] == [4]


def test_an_exchange_goes_with_its_shadows_and_feedback(database: Database) -> None:
    store, feedback = ExchangeStore(database), FeedbackStore(database)
    for made in (exchange(1), exchange(2), exchange(3, shadow_of=f"{1:032x}")):
        store.add(made)
        feedback.add(Feedback(made.id, 1.0, rating="up"))
    store.remove(f"{1:032x}")
    assert [each.id for each in store.recent()] == [f"{2:032x}"]
    assert store.shadows(f"{1:032x}") == []
    store.add(exchange(4, shadow_of=f"{1:032x}"))  # one that comes too late
    assert store.shadows(f"{1:032x}") == []
    assert {each.answer_id for each in feedback.list()} == {f"{2:032x}", f"{3:032x}"}


def test_feedback_is_listed_in_the_order_it_came(database: Database) -> None:
    store = FeedbackStore(database)
    stored = [
        store.add(Feedback("a", 1.0, rating="up", tenant="acme", key="anna")),
        store.add(Feedback("b", 2.0, comment="too long\0", tenant="beta")),
        store.add(Feedback("a", 3.0, 1, "down", "no", "yes", "acme")),
    ]
    assert [each.id for each in stored] == sorted({each.id for each in stored})
    assert store.list(tenant="acme") == [stored[0], stored[2]]
    assert store.list(answer_id="b")[0].comment == "too long\N{REPLACEMENT CHARACTER}"
    assert store.list(after=stored[1].id) == [stored[2]]
    assert store.list(limit=1) == [stored[0]]


def test_a_key_is_known_by_its_secret_alone(database: Database) -> None:
    store = KeyStore(database)
    created = store.add("anna", scope="admin", tenant="acme", groups=["acme", "hr"])
    key, secret = created.key, created.secret
    other = store.add("ben").key
    assert store.valid()[hash_secret(secret)] == key
    assert store.list() == [key, other]
    with database.read() as connection:
        rows = str(connection.exec_driver_sql("SELECT * FROM keys").all())
    assert secret not in rows and secret.removeprefix("moli_") not in rows
    for taken in ("anna", "Anna", "", "a b"):
        with pytest.raises(InputError):
            store.add(taken)


def test_a_revoked_key_stays_known_and_opens_nothing(database: Database) -> None:
    store = KeyStore(database)
    secret = store.add("anna").secret
    revoked = store.revoke("anna")
    assert revoked.revoked_at and revoked.revoked_at <= time.time()
    assert hash_secret(secret) not in store.valid()
    assert store.list() == [revoked]
    with pytest.raises(NotFoundError):
        store.revoke("anna")
    with pytest.raises(InputError, match="already taken"):
        store.add("anna")


def test_of_many_who_make_the_same_key_one_does(database: Database) -> None:
    made: list[str] = []

    def make() -> None:
        with contextlib.suppress(InputError):
            made.append(KeyStore(database).add("anna").secret)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_the_newest_shadow_of_an_alias_counts(database: Database) -> None:
    store = ShadowStore(database)
    store.set(Shadow("support", "a" * 64, 0.1))
    store.set(Shadow("sales", "b" * 64, 1))
    store.set(Shadow("support", "c" * 64, 0.5))
    assert store.get("support") == Shadow("support", "c" * 64, 0.5)
    store.end("support")
    assert store.get("support") is None
    assert store.get("sales") == Shadow("sales", "b" * 64, 1)
    for share in (0, -1, 1.5, float("nan")):
        with pytest.raises(InputError):
            store.set(Shadow("support", "a" * 64, share))
