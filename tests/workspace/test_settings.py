from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from moli.records.errors import SettingsError
from moli.workspace.settings import Settings, load_settings


def load(folder: Path, text: str = "") -> Settings:
    (folder / "moli.toml").write_text(text, encoding="utf-8")
    return load_settings(folder)


def refusal(folder: Path, text: str = "") -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(folder, text)
    return caught.value


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path).model_dump() == Settings().model_dump()


def test_the_file_overrides_the_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, 'port = 9000\ngroups = ["hr", "it"]\nmodel = "org/name"')
    assert (settings.port, settings.groups, settings.model) == (9000, ("hr", "it"), "org/name")
    assert settings.passages == Settings().passages


def test_the_environment_overrides_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOLI_PORT", "9100")
    monkeypatch.setenv("MOLI_GROUPS", "hr, it")
    settings = load(tmp_path, "port = 9000\nhost = '0.0.0.0'")
    assert (settings.port, settings.groups, settings.host) == (9100, ("hr", "it"), "0.0.0.0")


@pytest.mark.parametrize(
    ("key", "near"), [("pasages", "passages"), ("modell", "model"), ("group", "groups")]
)
def test_an_unknown_key_in_the_file_is_refused_with_the_nearest_one(
    tmp_path: Path, key: str, near: str
) -> None:
    error = refusal(tmp_path, f"{key} = 1")
    assert error.where == f"{tmp_path / 'moli.toml'}:1"
    assert f"'{key}'" in error.what
    assert f"'{near}'" in error.fix


def test_an_unknown_variable_is_refused_with_the_nearest_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOLI_PASAGES", "3")
    error = refusal(tmp_path)
    assert (error.where, "'MOLI_PASAGES'" in error.what) == ("environment", True)
    assert "'MOLI_PASSAGES'" in error.fix


def test_a_key_that_is_like_no_other_is_refused_with_all_there_are(tmp_path: Path) -> None:
    error = refusal(tmp_path, "zzzzqqq = 1")
    assert all(name in error.fix for name in Settings.model_fields)


@pytest.mark.parametrize(
    "line",
    [
        'port = "many"',
        "port = 70000",
        "port = -1",
        "confidence = 1.5",
        "passages = 0",
        "timeout_seconds = 0",
        "max_file_mb = 1.5",
        "groups = [1]",
        "model = 3",
        "[host]\nname = 'x'",
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(tmp_path: Path, line: str) -> None:
    error = refusal(tmp_path, line)
    assert line.split()[0].strip("[]") in error.what
    assert error.where == f"{tmp_path / 'moli.toml'}:1"


def test_a_bad_value_in_the_environment_is_refused_with_the_variable_and_its_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOLI_PASSAGES", "a few")
    error = refusal(tmp_path, "passages = 3")
    assert "'passages' is 'a few'" in error.what
    assert error.where == "MOLI_PASSAGES in the environment"
    assert error.fix == "Give a whole number from 1 to 100: Passages an answer is based on."


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("confidence = 2", "a number from 0 to 1"),
        ("timeout_seconds = 0", "a number above 0"),
        ('backend = "ollama"', 'one of "", vllm, sglang'),
        ("groups = 3", "a list of texts"),
        ("host = 3", "a text"),
        ('log_texts = "perhaps"', "true or false"),
        ("queue = 0", "a whole number from 1"),
    ],
)
def test_a_bad_value_is_told_with_its_line_and_the_values_that_are_right(
    tmp_path: Path, line: str, values: str
) -> None:
    error = refusal(tmp_path, f"# host = 1\n\nport = 80\n{line}\n")
    assert error.where == f"{tmp_path / 'moli.toml'}:4"
    assert error.fix.startswith(f"Give {values}: ")


@pytest.mark.parametrize("confidence", ["", "confidence = 0.3\n"])
def test_being_sure_takes_more_than_being_unsure(tmp_path: Path, confidence: str) -> None:
    error = refusal(tmp_path, f"{confidence}unsure = 0.6")
    assert error.what == "'unsure' is 0.6"
    assert f"up to that of 'confidence', {0.3 if confidence else 0.5}" in error.fix
    assert load(tmp_path, "confidence = 0.05").confidence == 0.05


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"port = = 3", 1),
        (b"port = 1\nhost = '\xff\xfe'", 2),
        (b"port = 1\nhost = localhost\n", 2),
        (b"port = 1\n\ngroups = [", 3),
    ],
)
def test_a_file_that_is_not_toml_is_refused_by_its_name_and_line(
    tmp_path: Path, data: bytes, line: int
) -> None:
    (tmp_path / "moli.toml").write_bytes(data)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path)
    assert caught.value.where == f"{tmp_path / 'moli.toml'}:{line}"


def test_the_template_sets_nothing() -> None:
    assert tomllib.loads(Settings.template()) == {}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_line_of_the_template_uncommented_gives_its_default(tmp_path: Path, name: str) -> None:
    lines = Settings.template().splitlines()
    (line,) = (line for line in lines if line.startswith(f"# {name} = "))
    assert list(tomllib.loads(line[2:])) == [name]
    assert load(tmp_path, line[2:]).model_dump() == Settings().model_dump()


def test_the_template_says_what_each_setting_is_for() -> None:
    lines = Settings.template().splitlines()
    for name, field in Settings.model_fields.items():
        (index,) = (i for i, line in enumerate(lines) if line.startswith(f"# {name} = "))
        assert lines[index - 1] == f"# {field.description}"


def test_settings_cannot_be_changed_once_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path).port = 1


def test_the_key_of_a_backend_is_no_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "moli.toml").write_text("", encoding="utf-8")
    monkeypatch.setenv("MOLI_BACKEND_KEY", "sesame")
    assert "sesame" not in repr(load_settings(tmp_path))
    (tmp_path / "moli.toml").write_text('backend_key = "sesame"\n', encoding="utf-8")
    with pytest.raises(SettingsError, match="unknown setting 'backend_key'"):
        load_settings(tmp_path)
