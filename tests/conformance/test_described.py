"""Whatever the API's own description allows, and much that it does not, is answered in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from conformance.served import add_adapter, serving
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from samples import ingest
from schemathesis import GenerationMode

from moli.workspace import Workspace

LIMITS = {
    "/v1/chat/completions": {"max_tokens": 2, "max_completion_tokens": 2, "n": 1},
    "/v1/completions": {"max_tokens": 2, "n": 1},
    "/v1/responses": {"max_output_tokens": 2},
}
NO_HTTP = "Invalid HTTP request received."
OFTEN = settings(
    max_examples=15, deadline=None, suppress_health_check=[*HealthCheck], derandomize=True
)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("described")
    (folder / "moli.toml").write_text('encoder = "scripted:hash"\n', encoding="utf-8")
    with Workspace.init(folder) as workspace, serving(workspace) as address:
        add_adapter(workspace, folder / "made", "bear", 0)
        ingest(workspace, {"a.txt": "The sea is calm.", "乙.txt": "海很平静。"})
        yield schemathesis.openapi.from_url(f"{address}/v1/openapi.json")


@pytest.mark.slow
@pytest.mark.parametrize("mode", [*GenerationMode])
def test_no_request_makes_the_server_fail(described: Any, mode: GenerationMode) -> None:
    operations = [each.ok() for each in described.get_all_operations()]
    assert len(operations) > 15
    for operation in operations:
        try:
            OFTEN(given(case=operation.as_strategy(generation_mode=mode))(send))()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE  # there is nothing to get wrong


def send(case: Any) -> None:
    if isinstance(case.body, dict) and case.path in LIMITS and case.method == "POST":
        case.body |= LIMITS[case.path]  # answers of any length would take long
        if len(str(case.body)) % 2:  # else few would name a model that there is
            case.body["model"] = "bear"
    response = case.call()
    assert response.status_code < 500, response.text
    if response.text == NO_HTTP:  # which is below the API
        return
    if response.status_code >= 400:
        error = response.json()["error"]
        assert {"message", "type", "param", "code"} == set(error)
        assert error["message"] and error["type"]
