from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from serving.conftest import FORBIDDEN, OPEN, SECRET, Build, client_of

from moli.workspace import Workspace
from moli.workspace.filter import Filter

EVERY_NARROWING = [
    (None, {*OPEN, *SECRET}),
    (["everyone"], set(OPEN)),
    (["hr"], set(SECRET)),
    (["everyone", "board"], set(OPEN)),
    (["board"], set()),
    ([], set()),
    ([""], set()),
]


def ids(workspace: Workspace) -> dict[str, int]:
    return {each.source: each.id for each in workspace.documents.list()}


def query(groups: list[str] | None) -> dict[str, list[str]]:
    # A list without members cannot be written in an address; one empty name means the same.
    return {} if groups is None else {"groups": groups or [""]}


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "seen"), EVERY_NARROWING)
def test_search_shows_only_what_both_server_and_request_may_see(
    client: TestClient, groups: list[str] | None, seen: set[str]
) -> None:
    body = {"query": "server port salary 保修", "limit": 100, "groups": groups}
    hits = client.post("/v1/search", json=body).json()["hits"]
    assert {hit["source"] for hit in hits} == seen


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "seen"), EVERY_NARROWING)
def test_the_list_shows_only_what_both_may_see(
    client: TestClient, groups: list[str] | None, seen: set[str]
) -> None:
    documents = client.get("/v1/documents", params=query(groups)).json()
    assert {each["source"] for each in documents} == seen
    status = client.get("/v1/status", params=query(groups)).json()
    assert (status["documents"], status["passages"]) == (len(seen), len(seen))


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "seen"), EVERY_NARROWING)
def test_a_hidden_document_looks_like_one_that_does_not_exist(
    build: Build, groups: list[str] | None, seen: set[str]
) -> None:
    workspace = build()
    client = client_of(workspace)
    for source, number in ids(workspace).items():
        answer = client.get(f"/v1/documents/{number}", params=query(groups))
        assert answer.status_code == (200 if source in seen else 404)
        if source not in seen:
            missing = client.get("/v1/documents/999", params=query(groups)).text
            assert answer.text == missing.replace("999", str(number))


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "seen"), EVERY_NARROWING)
def test_answers_rest_only_on_what_both_may_see(
    client: TestClient, groups: list[str] | None, seen: set[str]
) -> None:
    body = {"question": "What is the salary and the server port?", "groups": groups}
    answer = client.post("/v1/ask", json=body).json()
    cited = {c["source"] for s in answer["sentences"] for c in s["citations"]}
    assert cited <= seen
    assert answer["answered"] == bool(seen)
    assert "Turin" not in str(answer)


def test_a_trace_is_shown_only_to_who_may_see_all_its_documents(client: TestClient) -> None:
    answer = client.post("/v1/ask", json={"question": "What is the director's salary?"}).json()
    address = f"/v1/traces/{answer['trace_id']}"
    assert client.get(address).status_code == 200
    for groups in (["everyone"], ["hr"], ["board"], [""]):
        hidden = client.get(address, params={"groups": groups})
        missing = client.get(f"/v1/traces/{'0' * 32}", params={"groups": groups})
        assert hidden.status_code == missing.status_code == 404
        assert hidden.text == missing.text.replace("0" * 32, answer["trace_id"])


def test_a_trace_of_a_wider_reader_is_hidden_from_a_narrower_server(build: Build) -> None:
    workspace = build(groups=["everyone", "hr", "board"])
    answer = client_of(workspace).post("/v1/ask", json={"question": "server port salary"}).json()
    narrower = client_of(build(groups=["everyone", "hr"]))
    assert narrower.get(f"/v1/traces/{answer['trace_id']}").status_code == 404


def test_a_trace_that_quotes_nothing_is_shown_only_to_who_sees_as_much(client: TestClient) -> None:
    body = {"question": "Is the merger off?", "where": {"team": "none"}}
    answer = client.post("/v1/ask", json=body).json()
    address = f"/v1/traces/{answer['trace_id']}"
    assert client.get(address).status_code == 200
    assert client.get(address, params={"groups": ["everyone"]}).status_code == 404


def test_a_trace_whose_document_was_replaced_is_no_longer_shown(build: Build) -> None:
    workspace = build()
    client = client_of(workspace)
    answer = client.post("/v1/ask", json={"question": "What is the director's salary?"}).json()
    workspace.documents.remove([ids(workspace)["salaries.txt"]])
    assert client.get(f"/v1/traces/{answer['trace_id']}").status_code == 404


def test_a_part_of_a_traces_id_does_not_find_it(client: TestClient) -> None:
    answer = client.post("/v1/ask", json={"question": "Which port?"}).json()
    for part in (answer["trace_id"][:8], answer["trace_id"][:31]):
        assert client.get(f"/v1/traces/{part}").status_code == 404


def test_names_of_groups_the_reader_is_not_in_are_not_told(build: Build) -> None:
    workspace = build()
    workspace.documents.relabel("guide.txt", ["everyone", "board"], {})
    client = client_of(workspace)
    answer = client.post("/v1/ask", json={"question": "Which port?"}).json()
    number = ids(workspace)["guide.txt"]
    for address in ("documents", f"documents/{number}", f"traces/{answer['trace_id']}"):
        assert '"board"' not in client.get(f"/v1/{address}").text


def test_a_document_taken_from_a_group_disappears_at_once(build: Build) -> None:
    workspace = build()
    client = client_of(workspace)
    number = ids(workspace)["salaries.txt"]
    answer = client.post("/v1/ask", json={"question": "director salary"}).json()
    workspace.documents.relabel("salaries.txt", ["board"], {})
    assert client.get(f"/v1/documents/{number}").status_code == 404
    assert client.get(f"/v1/traces/{answer['trace_id']}").status_code == 404
    hits = client.post("/v1/search", json={"query": "director salary"}).json()["hits"]
    assert {hit["source"] for hit in hits} <= set(OPEN)


def test_what_the_server_may_not_see_is_there_all_the_same(build: Build) -> None:
    shown = build().documents.list(Filter(frozenset({"board"})))
    assert {each.source for each in shown} == set(FORBIDDEN)
