from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Make
from fastapi.testclient import TestClient
from serving.conftest import ENCODER, Build, client_of, fill

THREADS = 16


@pytest.mark.slow
def test_sixteen_readers_each_get_the_answer_to_their_own_question(build: Build) -> None:
    workspace = build()
    facts = {f"room-{n}.txt": f"Locker zq{n}zq is in corridor kx{n}kx." for n in range(THREADS)}
    fill(workspace, facts)
    client = client_of(workspace)

    def ask(number: int) -> tuple[str, str]:
        answer = client.post("/v1/ask", json={"question": f"Where is locker zq{number}zq?"}).json()
        trace = client.get(f"/v1/traces/{answer['trace_id']}").json()
        return answer["text"], trace["question"]

    with ThreadPoolExecutor(THREADS) as pool:
        for number, (text, question) in enumerate(pool.map(ask, range(THREADS))):
            assert f"kx{number}kx" in text
            assert f"zq{number}zq" in question


@pytest.mark.slow
def test_searches_are_right_while_documents_are_added_and_removed(build: Build) -> None:
    workspace = build()
    client = client_of(workspace)

    def search(_: int) -> set[str]:
        body = {"query": "server port 7860", "limit": 100}
        hits = client.post("/v1/search", json=body).json()["hits"]
        return {hit["source"] for hit in hits if "7860" in hit["text"]}

    with ThreadPoolExecutor(THREADS) as pool:
        searches = pool.map(search, range(10 * THREADS))
        for round_ in range(5):
            fill(workspace, {f"note-{round_}.txt": "The cat sleeps."})
            added = {each.source: each.id for each in workspace.documents.list()}
            workspace.documents.remove([added[f"note-{round_}.txt"]])
        assert all(sources == {"guide.txt"} for sources in searches)


def test_an_added_document_is_found_by_the_next_request(build: Build, client: TestClient) -> None:
    fill(build(), {"new.txt": "The xylophone stands in the attic."})
    hits = client.post("/v1/search", json={"query": "xylophone", "limit": 1}).json()["hits"]
    assert [hit["source"] for hit in hits] == ["new.txt"]


def test_a_server_without_documents_takes_the_encoder_of_the_first_ones(
    make_workspace: Make,
) -> None:
    workspace = make_workspace(encoder="auto")
    client = client_of(workspace)
    assert client.get("/v1/status").json()["encoder"] != ENCODER
    fill(workspace, {"guide.txt": "The server listens on port 7860."})  # as another process does
    hits = client.post("/v1/search", json={"query": "port of the server"}).json()["hits"]
    assert [hit["source"] for hit in hits if hit["dense"]] == ["guide.txt"]
    assert client.get("/v1/status").json()["encoder"] == ENCODER
    assert client.post("/v1/ask", json={"question": "Which port?"}).status_code == 200
    client.post("/v1/documents", files={"file": ("note.txt", b"The backup runs at 02:30.")})
    assert not workspace.passages.without_vectors(ENCODER, 10)
