from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from serving.conftest import OPEN, Build, client_of

import moli


def test_ask_answers_with_quotes_that_stand_in_the_document(client: TestClient) -> None:
    body = {"question": "Which port does the server use?", "where": {"team": "support"}}
    answer = client.post("/v1/ask", json=body).json()
    assert answer["answered"]
    assert "7860" in answer["text"]
    for sentence in answer["sentences"]:
        for citation in sentence["citations"]:
            document = client.get(f"/v1/documents/{citation['document_id']}").json()
            quoted = document["text"][citation["start"] : citation["end"]]
            assert quoted == citation["quote"]


def test_ask_answers_in_chinese(client: TestClient) -> None:
    answer = client.post("/v1/ask", json={"question": "保修多久？"}).json()
    assert "保修十八个月" in answer["text"]


def test_ask_marks_what_a_model_says_without_proof(build: Build) -> None:
    words = 'It is 7860. [1: "listens on port 7860"]\nThe moon is made of cheese.'
    client = client_of(build(model=f"scripted:{words}"))
    body = {"question": "Which port does the server listen on?", "where": {"team": "support"}}
    answer = client.post("/v1/ask", json=body).json()
    supported = [sentence["supported"] for sentence in answer["sentences"]]
    assert supported == [True, False]
    assert "cheese" not in answer["text"]


@pytest.mark.slow
def test_an_answers_trace_can_be_read_by_its_id(client: TestClient) -> None:
    answer = client.post("/v1/ask", json={"question": "When does the backup run?"}).json()
    trace = client.get(f"/v1/traces/{answer['trace_id']}").json()
    assert trace["question"] == "When does the backup run?"
    assert trace["sentences"] == answer["sentences"]
    assert set(trace["timings_ms"]) == {"search", "evidence", "answer"}


def test_search_returns_at_most_as_many_hits_as_asked_for(client: TestClient) -> None:
    hits = client.post("/v1/search", json={"query": "server port", "limit": 1}).json()["hits"]
    assert len(hits) == 1


def test_search_keeps_to_documents_with_the_attributes(client: TestClient) -> None:
    body = {"query": "server port", "where": {"team": "support"}}
    hits = client.post("/v1/search", json=body).json()["hits"]
    assert {hit["source"] for hit in hits} <= set(OPEN)
    body = {"query": "server port", "where": {"team": "sales"}}
    assert client.post("/v1/search", json=body).json() == {
        "hits": [],
        "reason": "no_match",
    }


def test_a_document_is_given_with_its_whole_text(client: TestClient) -> None:
    documents = {each["source"]: each["id"] for each in client.get("/v1/documents").json()}
    for source, text in OPEN.items():
        response = client.get(f"/v1/documents/{documents[source]}").json()
        assert response["text"] == text
        assert response["document"]["source"] == source


def test_status_says_how_the_server_is_set_up(client: TestClient) -> None:
    status = client.get("/v1/status").json()
    assert status["encoder"] == "scripted:hash"
    assert status["model"] == "quotes"
    assert status["behind"] == {"lexical": 0, "dense": 0}


def test_health_is_told_without_a_look_at_the_documents(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok", "version": moli.__version__}
