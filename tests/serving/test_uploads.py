"""Documents that are added over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving.conftest import Build, client_of

from moli.records.errors import ModelError
from moli.retrieval.ingest import Ingester
from moli.workspace import Workspace

PATH = "/v1/documents"
TEXT = "The spare key hangs behind the blue door."


@pytest.fixture
def workspace(build: Build) -> Workspace:
    return build(max_file_mb=1)


@pytest.fixture
def client(workspace: Workspace) -> TestClient:
    return client_of(workspace)


def upload(client: TestClient, name: str, content: bytes | str, **options: Any) -> Any:
    return client.post(PATH, files={"file": (name, content)}, **options)


def sources(client: TestClient) -> list[str]:
    return [Path(each["source"]).name for each in client.get(PATH).json()]


@pytest.mark.slow
def test_an_uploaded_file_answers_at_once_and_is_kept(
    client: TestClient, workspace: Workspace
) -> None:
    response = upload(client, "钥匙 keys.md", TEXT)
    assert response.status_code == 201, response.text
    assert (response.json()["outcome"], response.json()["passages"]) == ("added", 1)
    answer = client.post("/v1/ask", json={"question": "Where does the spare key hang?"}).json()
    assert answer["text"] == TEXT
    assert (workspace.root / "uploads" / "钥匙 keys.md").read_text(encoding="utf-8") == TEXT


@pytest.mark.slow
def test_a_file_with_the_same_name_is_a_new_version(
    client: TestClient, workspace: Workspace
) -> None:
    before = len(sources(client))
    outcomes = [
        upload(client, "keys.txt", text).json()["outcome"]
        for text in (TEXT, TEXT, "The spare key is lost.")
    ]
    assert outcomes == ["added", "unchanged", "updated"]
    assert len(sources(client)) == before + 1
    uploads = workspace.root / "uploads"
    assert [each.name for each in uploads.iterdir()] == ["keys.txt"]
    assert (uploads / "keys.txt").read_text(encoding="utf-8") == "The spare key is lost."


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_refused_and_the_older_version_stays(
    client: TestClient, workspace: Workspace
) -> None:
    upload(client, "keys.pdf", b"%PDF-1.4 broken")
    assert not (workspace.root / "uploads" / "keys.pdf").exists()
    assert upload(client, "keys.txt", TEXT).status_code == 201
    response = upload(client, "keys.txt", b"\x7fELF" + bytes(range(256)) * 8)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["message"].startswith("keys.txt: ")
    assert str(workspace.root) not in error["message"]
    assert (workspace.root / "uploads" / "keys.txt").read_text(encoding="utf-8") == TEXT
    answer = client.post("/v1/ask", json={"question": "Where does the spare key hang?"}).json()
    assert answer["text"] == TEXT


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../../evil.txt", "/etc/evil.txt", "C:\\notes\\evil.txt"])
def test_folders_in_a_name_are_left_out(
    client: TestClient, workspace: Workspace, name: str
) -> None:
    assert upload(client, name, TEXT).status_code == 201
    assert [each.name for each in (workspace.root / "uploads").iterdir()] == ["evil.txt"]


@pytest.mark.parametrize("name", [".hidden.txt", "..", "a\u202eb.txt", "x" * 300 + ".txt"])
def test_a_name_that_cannot_be_a_files_is_refused(client: TestClient, name: str) -> None:
    response = upload(client, name, TEXT)
    assert response.status_code == 400
    assert "name" in response.json()["error"]["message"]


@pytest.mark.slow
def test_a_file_may_be_for_some_groups_only(client: TestClient) -> None:
    assert upload(client, "b.txt", TEXT, data={"groups": ["board"]}).status_code == 201
    assert upload(client, "h.txt", TEXT, data={"groups": ["board", "hr"]}).status_code == 201
    assert "h.txt" in sources(client)
    assert "b.txt" not in sources(client)


def test_a_file_larger_than_the_setting_is_refused(client: TestClient) -> None:
    response = upload(client, "large.txt", b"x" * (2 << 20 | 1))
    assert response.status_code == 413
    response = upload(client, "large.txt", b"x " * (600 << 10))
    assert response.status_code == 400
    assert "1,048,576" in response.json()["error"]["message"]


def test_only_admins_may_add_documents(client: TestClient, workspace: Workspace) -> None:
    secret = workspace.keys.add("reader").secret
    response = upload(client, "a.txt", TEXT, headers={"Authorization": f"Bearer {secret}"})
    assert response.status_code == 403
    assert not (workspace.root / "uploads").exists()


def test_a_request_without_a_file_names_the_field(client: TestClient) -> None:
    response = client.post(PATH, data={"groups": ["hr"]})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "file"


def test_the_older_version_stays_whatever_fails(
    client: TestClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ModelError("the encoder is gone")

    assert upload(client, "keys.txt", TEXT).status_code == 201
    monkeypatch.setattr(Ingester, "add_files", fail)
    assert upload(client, "keys.txt", "Other words.").status_code == 502
    assert upload(client, "new.txt", "Other words.").status_code == 502
    [kept] = (workspace.root / "uploads").iterdir()
    assert (kept.name, kept.read_text(encoding="utf-8")) == ("keys.txt", TEXT)


def test_a_second_file_is_refused_and_none_is_lost_without_a_word(client: TestClient) -> None:
    before = sources(client)
    files = [("file", ("one.txt", TEXT)), ("file", ("two.txt", TEXT))]
    problem = client.post(PATH, files=files).json()["error"]
    assert (problem["param"], problem["message"]) == (
        "file",
        "file: is there 2 times. Send one in each request.",
    )
    assert sources(client) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"json": {"file": "a"}}, "declared as application/json, not as multipart/form-data"),
        ({"data": {"file": "a"}}, "file: must be a file. Send it with a filename."),
        ({"data": {"file": "a"}, "files": {"other": ("a", "b")}}, "file: must be a file."),
        ({"files": {"other": ("a", "b")}}, "file: is missing"),
        (
            {"files": {"file": ("a.txt", TEXT)}, "data": {"groups": [""]}},
            "groups: must not be empty",
        ),
    ],
)
def test_what_is_no_form_with_a_file_is_refused(
    client: TestClient, options: Any, message: str
) -> None:
    response = client.post(PATH, **options)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


def test_a_refusal_is_in_the_language_of_the_request(client: TestClient) -> None:
    for language, words in (
        ("zh-CN,en;q=0.5", "它没有内容"),
        ("en, zh;q=0.5", "it has no content"),
    ):
        response = upload(client, "a.txt", "", headers={"Accept-Language": language})
        assert response.status_code == 400
        assert words in response.json()["error"]["message"]
