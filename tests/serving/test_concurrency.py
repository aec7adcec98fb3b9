from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from moli.records.errors import BusyError
from moli.serving.concurrency import Steps, WorkQueue


class Client:
    """A request whose client stays until it is told to leave."""

    def __init__(self) -> None:
        self.left = False

    async def is_disconnected(self) -> bool:
        return self.left


STAYING: Any = Client()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine; not in this thread, where a browser's loop may be running."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, test()).result()


def steps_of(log: list[str], name: str, count: int) -> Steps[str]:
    for _ in range(count):
        log.append(name)
        yield
    return name


async def blocked(queue: WorkQueue) -> tuple[threading.Event, asyncio.Task[bool]]:
    """A call that holds a thread of the queue until the event is set."""
    begun, end = threading.Event(), threading.Event()

    def wait() -> bool:
        begun.set()
        return end.wait(20)

    task = asyncio.create_task(queue.run(STAYING, wait))
    await asyncio.to_thread(begun.wait, 20)
    return end, task


def test_more_than_may_wait_are_told_to_come_back() -> None:
    async def test() -> None:
        queue = WorkQueue(1, 2, retry_seconds=7)
        end, first = await blocked(queue)
        waiting = [asyncio.create_task(queue.run(STAYING, lambda: 5)) for _ in range(2)]
        await asyncio.sleep(0)
        assert queue.waiting == 2
        with pytest.raises(BusyError, match="2 requests are already waiting") as refused:
            await queue.run(STAYING, lambda: 5)
        assert refused.value.seconds == 7
        end.set()
        assert await first
        assert await asyncio.gather(*waiting) == [5, 5]
        assert await queue.run(STAYING, lambda: 6) == 6  # there is room again

    run(test)


def test_steps_take_turns() -> None:
    async def test() -> None:
        log: list[str] = []
        queue = WorkQueue(1, 3)
        names = await asyncio.gather(
            *(queue.run_steps(STAYING, steps_of(log, name, 3)) for name in "abc")
        )
        assert names == ["a", "b", "c"]
        assert "".join(log) == "abc" * 3

    run(test)


def test_work_stops_between_two_steps_when_the_client_leaves() -> None:
    async def test() -> None:
        log: list[str] = []
        client: Any = Client()

        def leaving() -> Steps[None]:
            for number in range(9):
                log.append(str(number))
                client.left = number == 2
                yield

        queue = WorkQueue(1, 1)
        with pytest.raises(ClientDisconnect):
            await queue.run_steps(client, leaving())
        assert log == ["0", "1", "2"]
        assert queue.waiting == 0

    run(test)


def test_who_has_left_waits_no_longer() -> None:
    async def test() -> None:
        queue = WorkQueue(1, 8)
        end, first = await blocked(queue)
        client: Any = Client()
        called: list[int] = []
        gone = [asyncio.create_task(queue.run(client, lambda: called.append(1))) for _ in range(8)]
        await asyncio.sleep(0)
        client.left = True
        outcomes = await asyncio.gather(*gone, return_exceptions=True)
        assert [type(each) for each in outcomes] == [ClientDisconnect] * 8
        assert queue.waiting == 0
        end.set()
        assert await first
        assert called == []

    run(test)


def test_a_turn_is_given_back_by_what_fails() -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    async def test() -> None:
        queue = WorkQueue(1, 0)
        for _ in range(3):
            with pytest.raises(ValueError, match="on purpose"):
                await queue.run(STAYING, fail)

    run(test)
