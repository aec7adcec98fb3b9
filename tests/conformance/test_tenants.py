"""A key never reads what is another tenant's: over every endpoint, in any order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conformance.served import add_adapter
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import ingest

from moli.serving.app import create_app
from moli.workspace import Workspace

TENANTS = ("acme", "beta")
MARKS = {"acme": "acmexyzzy", "beta": "betaplugh"}  # in all that a tenant says or has
MODEL = "bear"
LONG = "Of the sea and of the ships there is much to be told. " * 3


@dataclass
class House:
    """A server of two tenants, and the ids of all that each has."""

    client: TestClient
    secrets: dict[str, str]
    ids: dict[str, dict[str, list[str]]] = field(
        default_factory=lambda: {name: defaultdict(list) for name in TENANTS}
    )

    def send(self, tenant: str, method: str, path: str, body: Any = None) -> Any:
        headers = {"authorization": f"Bearer {self.secrets[tenant]}"}
        return self.client.request(method, path, json=body, headers=headers)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("house")
    toml = 'encoder = "scripted:hash"\nconfidence = 0.0\n'
    (folder / "moli.toml").write_text(toml, encoding="utf-8")
    with Workspace.init(folder) as workspace:
        add_adapter(workspace, folder / "made", MODEL, 0)
        for name in TENANTS:
            texts = {f"{name}.txt": f"The {MARKS[name]} word of the sea is {MARKS[name]}."}
            ingest(workspace, texts, name)
        secrets = {
            name: workspace.keys.add(name, scope="admin", tenant=name, groups=[name]).secret
            for name in TENANTS
        }
        app = create_app(workspace)
        with TestClient(app, base_url="http://127.0.0.1:7860") as client:
            made = House(client, secrets)
            for document in workspace.documents.list():
                made.ids[document.source.removesuffix(".txt")]["document"].append(str(document.id))
            yield made


def talk(tenant: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"{LONG} {MARKS[tenant]}"}]


# What a tenant does of its own accord; each gives the kind and the id of what it made.
MAKE: dict[str, Callable[[str], tuple[str, str, Any]]] = {
    "ask": lambda t: ("POST", "/v1/ask", {"question": f"word of the sea {MARKS[t]}?"}),
    "search": lambda t: ("POST", "/v1/search", {"query": "word of the sea", "groups": [*TENANTS]}),
    "chat": lambda t: (
        "POST", "/v1/chat/completions", {"model": MODEL, "messages": talk(t), "max_tokens": 2}
    ),
    "text": lambda t: (
        "POST", "/v1/completions", {"model": MODEL, "prompt": f"{LONG} {MARKS[t]}", "max_tokens": 2}
    ),
    "respond": lambda t: (
        "POST",
        "/v1/responses",
        {"model": MODEL, "input": f"{LONG} {MARKS[t]}", "max_output_tokens": 2},
    ),
    "documents": lambda t: ("GET", f"/v1/documents?groups={'&groups='.join(TENANTS)}", None),
    "status": lambda t: ("GET", "/v1/status", None),
    "models": lambda t: ("GET", "/v1/models", None),
    "model": lambda t: ("GET", f"/v1/models/{MODEL}", None),
    "said": lambda t: ("GET", "/v1/feedback", None),
    "metrics": lambda t: ("GET", "/metrics", None),
    "embed": lambda t: ("POST", "/v1/embeddings", {"model": "", "input": MARKS[t]}),
    "rerank": lambda t: (
        "POST", "/v1/rerank", {"model": "", "query": "sea", "documents": [MARKS[t]]}
    ),
    "classify": lambda t: ("POST", "/v1/classify", {"model": "none", "input": MARKS[t]}),
}  # fmt: skip

# What it tries with an id, of its own or of the other's.
USE: dict[str, tuple[str, Callable[[str, str], tuple[str, str, Any]]]] = {
    "read": ("document", lambda t, i: ("GET", f"/v1/documents/{i}", None)),
    "account": ("answer", lambda t, i: ("GET", f"/v1/traces/{i}", None)),
    "rate": (
        "answer",
        lambda t, i: ("POST", "/v1/feedback", {"id": i, "rating": "up", "comment": MARKS[t]}),
    ),
    "fetch": ("response", lambda t, i: ("GET", f"/v1/responses/{i}", None)),
    "items": ("response", lambda t, i: ("GET", f"/v1/responses/{i}/input_items", None)),
    "go on": (
        "response",
        lambda t, i: (
            "POST",
            "/v1/responses",
            {
                "model": MODEL,
                "input": MARKS[t],
                "previous_response_id": i,
                "max_output_tokens": 1,
            },
        ),
    ),
    "delete": ("response", lambda t, i: ("DELETE", f"/v1/responses/{i}", None)),
}


def endpoints(client: TestClient) -> set[tuple[str, str]]:
    described = client.app.openapi()["paths"]  # type: ignore[attr-defined]
    return {(method.upper(), path) for path, each in described.items() for method in each}


def test_every_endpoint_is_tried(house: House) -> None:
    """One that is added later has to be added to the two tables above."""
    tried = set()
    for make in MAKE.values():
        method, path, _ = make("acme")
        tried.add((method, path.partition("?")[0].replace(MODEL, "{name}")))
    for kind, use in USE.values():
        method, path, _ = use("acme", "{id}")
        named = {"document": "{document_id}", "answer": "{trace_id}", "response": "{response_id}"}
        tried.add((method, path.replace("{id}", named[kind])))
    keeps_nothing = {("GET", "/health"), ("POST", "/v1/audio/transcriptions")}
    for_all = {("POST", "/v1/documents")}  # groups, not tenants, decide who sees a document
    assert endpoints(house.client) - keeps_nothing - for_all == tried


steps = st.lists(
    st.tuples(st.sampled_from(TENANTS), st.sampled_from([*MAKE, *USE]), st.booleans()),
    min_size=4,
    max_size=14,
)


@pytest.mark.slow
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps)
def test_nothing_of_a_tenant_is_told_to_another(house: House, steps: list[Any]) -> None:
    for tenant, step, stranger in steps:
        other = TENANTS[1 - TENANTS.index(tenant)]
        if step in MAKE:
            answer = house.send(tenant, *MAKE[step](tenant))
            # No classifier is served here: that request only must not tell of others.
            expected = (404,) if step == "classify" else (200, 201)
            assert answer.status_code in expected, answer.text
            remember(house, tenant, {} if step in ("metrics", "documents") else answer.json())
        else:
            kind, use = USE[step]
            known = house.ids[other if stranger else tenant][kind]
            if not known:
                continue
            answer = house.send(tenant, *use(tenant, known[-1]))
            if stranger:
                none = house.send(tenant, *use(tenant, "9" * len(known[-1])))
                assert answer.status_code == none.status_code == 404
            else:
                assert answer.status_code in (200, 201), answer.text
            if step == "delete" and not stranger:
                gone = known.pop()
                house.ids[tenant]["answer"].remove(gone)
        assert MARKS[other] not in answer.text, (tenant, step)


def remember(house: House, tenant: str, response: Any) -> None:
    if "trace_id" in response:
        house.ids[tenant]["answer"].append(response["trace_id"])
    if str(response.get("id", "")).startswith(("chatcmpl-", "cmpl-", "resp_")):
        house.ids[tenant]["answer"].append(response["id"])
    if response.get("object") == "response":
        house.ids[tenant]["response"].append(response["id"])


def test_what_one_has_had_read_is_read_anew_for_another(house: House) -> None:
    """Else a quicker answer would tell that another has asked the same."""
    text = "Beyond the mountains there is a valley that nobody has seen. " * 4
    turn = {"role": "user", "content": text}
    body = {"model": MODEL, "messages": [turn], "max_tokens": 1}

    def cached(tenant: str) -> int:
        response = house.send(tenant, "POST", "/v1/chat/completions", body).json()
        return int(response["usage"]["prompt_tokens_details"]["cached_tokens"])

    first = [cached(tenant) for tenant in TENANTS]
    again = [cached(tenant) for tenant in TENANTS]
    # What they said before has the beginning of the template in common with this, and no more.
    assert max(first) < 20 < 60 < min(again)
