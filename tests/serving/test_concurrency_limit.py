from __future__ import annotations

import threading

import pytest

from moli.records.errors import BusyError
from moli.serving.concurrency import ConcurrencyLimit


def test_more_than_there_is_room_for_are_told_to_come_back() -> None:
    limit = ConcurrencyLimit(2)
    with limit.slot(), limit.slot():
        with pytest.raises(BusyError) as refused, limit.slot():
            pass
        assert refused.value.seconds > 0
    with limit.slot():  # there is room again
        pass


def test_a_turn_is_given_back_by_what_fails() -> None:
    limit = ConcurrencyLimit(1)
    for _ in range(3):
        with pytest.raises(ValueError), limit.slot():
            raise ValueError


def test_threads_are_spared_for_what_is_quick() -> None:
    limit, begun, end = ConcurrencyLimit(1000), threading.Semaphore(0), threading.Event()

    def work() -> None:
        with limit.slot():
            begun.release()
            end.wait(20)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for _ in threads:
        begun.acquire()
    with pytest.raises(BusyError), limit.slot():
        pass
    end.set()
    for thread in threads:
        thread.join()
