"""Every chat model keeps the same promises: scripted, behind a server, and run here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from moli.models.chat.load import load_chat
from moli.models.chat.scripted import ScriptedChat
from moli.models.protocols.chat import ChatModel
from moli.records.errors import ModelError
from moli.records.messages import Message

TALK = (Message("system", "Be brief."), Message("user", "Say hello."))
Reply = Callable[[dict[str, Any]], tuple[int, bytes]]


@pytest.fixture
def server() -> Iterator[Callable[[Reply], str]]:
    """Starts servers that answer chat requests as told; gives their address."""
    running: list[ThreadingHTTPServer] = []

    def start(reply: Reply) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                status, body = reply(json.loads(self.rfile.read(size)) | {"path": self.path})
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        running.append(http)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{http.server_port}/v1"

    yield start
    for each in running:
        each.shutdown()
        each.server_close()


def completion(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


def tokenizer(folder: Path, template: str | None) -> int:
    """Train a small tokenizer into `folder`; returns its size."""
    raw = Tokenizer(models.WordLevel(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<unk>", "<pad>", "</s>"]
    raw.train_from_iterator(
        ["Say hello . Be brief . user system assistant :"],
        trainers.WordLevelTrainer(special_tokens=special),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", pad_token="<pad>", eos_token="</s>"
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
    return int(raw.get_vocab_size())


def llama(folder: Path, template: str | None) -> str:
    torch.manual_seed(0)
    size = tokenizer(folder, template)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def t5(folder: Path) -> str:
    torch.manual_seed(0)
    size = tokenizer(folder, None)
    config = T5Config(
        vocab_size=size, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
        decoder_start_token_id=1, pad_token_id=1, eos_token_id=2,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


TEMPLATE = "{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}assistant :"


@pytest.fixture(params=["scripted", "remote", "llama", "llama with a template", "t5"])
def chat(
    request: pytest.FixtureRequest, tmp_path: Path, server: Callable[[Reply], str]
) -> ChatModel:
    make: dict[str, Callable[[], str]] = {
        "scripted": lambda: "scripted:Hello.",
        "remote": lambda: f"openai:m@{server(lambda _: (200, completion('Hello.')))}",
        "llama": lambda: llama(tmp_path, None),
        "llama with a template": lambda: llama(tmp_path, TEMPLATE),
        "t5": lambda: t5(tmp_path),
    }
    return load_chat(make[request.param]())


@pytest.mark.slow
def test_a_model_answers_with_text_and_the_same_text_again(chat: ChatModel) -> None:
    first = chat.complete(TALK, max_tokens=8)
    assert isinstance(first, str)
    assert chat.complete(TALK, max_tokens=8) == first
    assert chat.name


@pytest.mark.slow
def test_pieces_of_the_answer_make_the_answer(chat: ChatModel) -> None:
    pieces: list[str] = []
    answer = chat.complete(TALK, max_tokens=8, on_text=pieces.append)
    assert answer == chat.complete(TALK, max_tokens=8)
    assert "".join(pieces).strip() == answer


class StoppedError(Exception):
    pass


@pytest.mark.slow
def test_an_exception_of_the_callback_stops_the_model(chat: ChatModel) -> None:
    calls: list[str] = []

    def stop(text: str) -> None:
        calls.append(text)
        raise StoppedError

    with pytest.raises(StoppedError):
        chat.complete(TALK, max_tokens=8, on_text=stop)
    assert len(calls) == 1
    assert chat.complete(TALK, max_tokens=8) == chat.complete(TALK, max_tokens=8)


@pytest.mark.slow
def test_a_model_that_runs_here_does_not_repeat_the_prompt(tmp_path: Path) -> None:
    chat = load_chat(llama(tmp_path, TEMPLATE))
    assert len(chat.complete(TALK, max_tokens=4).split()) <= 4


@pytest.mark.slow
def test_greedy_decoding_is_that_of_the_model_itself(tmp_path: Path) -> None:
    folder = llama(tmp_path, TEMPLATE)
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    fast = PreTrainedTokenizerFast.from_pretrained(folder)
    ids = fast("system : Be brief. user : Say hello. assistant :")["input_ids"]
    expected: list[int] = []
    for _ in range(5):
        logits = model(torch.tensor([ids + expected])).logits[0, -1]
        expected.append(int(logits.argmax()))
        if expected[-1] == 2:
            break
    answer = load_chat(folder).complete(TALK, max_tokens=5)
    assert answer == fast.decode(expected, skip_special_tokens=True).strip()


@pytest.mark.slow
def test_a_server_gets_the_conversation_and_the_key(
    server: Callable[[Reply], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def reply(body: dict[str, Any]) -> tuple[int, bytes]:
        seen.append(body)
        return 200, completion("ok")

    load_chat(f"openai:some/model@{server(reply)}").complete(TALK, max_tokens=7)
    assert seen[0]["path"] == "/v1/chat/completions"
    assert (seen[0]["model"], seen[0]["max_tokens"], seen[0]["temperature"]) == ("some/model", 7, 0)
    assert seen[0]["messages"][1] == {"role": "user", "content": "Say hello."}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, b"no", "OPENAI_API_KEY"),
        (500, b"boom", "answered 500: boom"),
        (200, b"<html>", "not a chat completion"),
        (200, b'{"choices": []}', "not a chat completion"),
        (200, b"[]", "not a chat completion"),
    ],
)
def test_a_server_that_fails_is_told_of(
    server: Callable[[Reply], str], status: int, body: bytes, told: str
) -> None:
    chat = load_chat(f"openai:m@{server(lambda _: (status, body))}")
    with pytest.raises(ModelError, match=told):
        chat.complete(TALK)


def test_a_server_that_is_not_there_is_told_of() -> None:
    with pytest.raises(ModelError, match="cannot be reached"):
        load_chat("openai:m@http://127.0.0.1:9/v1").complete(TALK)


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up(server: Callable[[Reply], str]) -> None:
    patience = threading.Event()

    def reply(_: dict[str, Any]) -> tuple[int, bytes]:
        patience.wait(5)
        return 200, completion("late")

    with pytest.raises(ModelError, match="cannot be reached"):
        load_chat(f"openai:m@{server(reply)}", timeout=0.2).complete(TALK)
    patience.set()


def test_a_folder_without_a_model_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_chat(str(tmp_path))


def test_a_script_may_be_a_function_of_the_conversation() -> None:
    assert ScriptedChat(lambda talk: talk[-1].content.upper()).complete(TALK) == "SAY HELLO."
