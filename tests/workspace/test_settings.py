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
    assert error.where == str(tmp_path / "moli.toml")
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
    assert error.where == str(tmp_path / "moli.toml")


def test_a_bad_value_in_the_environment_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOLI_PASSAGES", "a few")
    assert "'passages' is 'a few'" in refusal(tmp_path).what


@pytest.mark.parametrize("data", [b"port = = 3", b"host = '\xff\xfe'"])
def test_a_file_that_is_not_toml_is_refused_by_its_name(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "moli.toml").write_bytes(data)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path)
    assert caught.value.where == str(tmp_path / "moli.toml")


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
