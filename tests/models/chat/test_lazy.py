from __future__ import annotations

import threading

import pytest

from moli.models.chat.lazy import LazyChat
from moli.models.chat.scripted import ScriptedChat
from moli.models.protocols.chat import ChatModel
from moli.records.errors import ModelError
from moli.records.messages import Message

TALK = [Message("user", "Hello.")]


def test_it_is_loaded_once_by_whoever_comes_first() -> None:
    loads, go = [], threading.Event()

    def load() -> ChatModel:
        loads.append(1)
        go.wait(20)
        return ScriptedChat("Good day.")

    chat = LazyChat("scripted", load)
    assert (chat.name, loads) == ("scripted", [])
    chat.start_loading()
    said: list[str] = []
    threads = [threading.Thread(target=lambda: said.append(chat.complete(TALK))) for _ in range(4)]
    for each in threads:
        each.start()
    go.set()
    for each in threads:
        each.join()
    assert (said, loads) == (["Good day."] * 4, [1])


def test_one_that_could_not_be_loaded_is_tried_again() -> None:
    tries = []

    def load() -> ChatModel:
        tries.append(1)
        if len(tries) < 3:
            raise ModelError("the server cannot be reached", fix="Is it running?")
        return ScriptedChat("Good day.")

    chat = LazyChat("scripted", load)
    for _ in range(2):
        with pytest.raises(ModelError, match="cannot be reached"):
            chat.complete(TALK)
    assert chat.complete(TALK) == "Good day."
    assert chat.template_sha256 == ""
    assert len(tries) == 3
