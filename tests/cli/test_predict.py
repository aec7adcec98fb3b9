from __future__ import annotations

import csv
import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training import small_models
from training.stored_models import train_and_store

from moli.training.trained import predict as predicting

Moli = Callable[..., Any]
pytestmark = pytest.mark.slow


@pytest.fixture
def texts(home: Path) -> list[str]:
    """Texts of which `sorter`, a model that was trained here, knows the class."""
    base = small_models.write_model(home / "bert", "bert")
    data = small_models.write_labelled(home / "data.jsonl", 40)
    train_and_store(home, data, base, name="sorter", epochs=2)
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    return [each["text"] for each in rows[:5]]


def no_space(value: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_rows_are_answered_in_order(
    moli: Moli, home: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test, as each would train a model of its own."""
    path = home / "new.txt"
    path.write_text("\n".join(texts) + "\n")
    ran = moli("predict", "sorter", path, "--json")
    assert ran.code == 0
    answers = ran.json["answers"]
    assert [each["text"] for each in answers] == texts
    assert [each["where"] for each in answers] == [f"{path}:{n}" for n in range(1, 6)]
    assert {each["label"] for each in answers} <= {"a", "b"}
    assert all(0.5 <= each["probability"] <= 1 for each in answers)
    assert ran.json["model"].startswith("sorter@") and ran.json["tokens_per_second"] > 0

    # For people: an answer a line, and on standard error how long it took.
    ran = moli("predict", "sorter", path)
    lines = ran.out.splitlines()
    assert [line.split()[0] for line in lines] == [each["label"] for each in answers]
    assert texts[0][:60] in lines[0]
    assert "5 answers in" in ran.err and "tokens/s" in ran.err

    # Into files.
    assert moli("predict", "sorter", path, "--out", "out.jsonl").out == ""
    written = [json.loads(line) for line in (home / "out.jsonl").read_text().splitlines()]
    assert written == answers
    moli("predict", "sorter", path, "--out", "out.csv")
    with (home / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    written_labels = [(each["text"], each["label"]) for each in rows]
    assert written_labels == [(each["text"], each["label"]) for each in answers]

    # Other columns stay, and a label that was given is not mistaken for the model's.
    (home / "new.csv").write_text(f"id,text,label\n7,{texts[0]},b\n")
    [row] = moli("predict", "sorter", "new.csv", "--json").json["answers"]
    assert (row["id"], row["text"], row["given_label"]) == ("7", texts[0], "b")
    assert row["label"] == answers[0]["label"]

    # One text.
    one = moli("predict", "sorter", "--text", texts[0], "--json").json
    assert one["label"] == answers[0]["label"]
    assert one["probability"] == pytest.approx(answers[0]["probability"], abs=1e-5)
    assert moli("predict", "sorter", "--text", texts[0]).out.split()[0] == one["label"]

    # A row that is none is reported, and the rest go on.
    (home / "some.jsonl").write_text(json.dumps({"text": texts[0]}) + "\n{'no'}\n")
    ran = moli("predict", "sorter", "some.jsonl")
    assert ran.code == 3
    assert len(ran.out.splitlines()) == 1 and "some.jsonl:2: not JSON" in ran.err

    # Answered in blocks the answers are the same, and Ctrl-C keeps those that there are.
    monkeypatch.setattr("moli.cli.predict._GENERATION_BLOCK", 2)
    monkeypatch.setattr("moli.cli.predict._BLOCK", 2)
    assert moli("predict", "sorter", path, "--json").json["answers"] == answers
    answer, calls = predicting.predict, []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        if calls:
            raise KeyboardInterrupt
        calls.append(arguments)
        return answer(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(predicting, "predict", interrupted)
        ran = moli("predict", "sorter", path, "--out", "some.jsonl")
    assert ran.code == 130 and "3 rows are not answered" in ran.err
    written = [json.loads(line) for line in (home / "some.jsonl").read_text().splitlines()]
    assert written == answers[:2]

    # What cannot be done is told.
    assert moli("predict", "sorter").code == 2
    assert moli("predict", "sorter", path, "--out", "out.xlsx").code == 2
    ran = moli("predict", "sorter", "missing.txt", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "input")
    ran = moli("predict", "sorted", path)
    assert ran.code == 1 and "Did you mean sorter" in ran.err
    ran = moli("predict", "sorter", path, "--out", "none/out.csv")
    assert ran.code == 1 and "cannot be written" in ran.err
    kept = (home / "new.csv").read_text()
    (home / "链 接.csv").symlink_to("new.csv")
    for out in ("new.csv", "./docs/../new.csv", "链 接.csv"):
        ran = moli("predict", "sorter", "new.csv", "--out", out)
        assert ran.code == 1 and "would be written over the input new.csv" in ran.err
    assert (home / "new.csv").read_text() == kept

    # A file that cannot be written whole is left as it was.
    monkeypatch.setattr("moli.cli.predict._to_csv_cell", no_space)
    before = (home / "out.csv").read_bytes()
    ran = moli("predict", "sorter", path, "--out", "out.csv")
    assert ran.code == 1 and "out.csv: cannot be written (No space left on device)" in ran.err
    assert (home / "out.csv").read_bytes() == before
    assert not list(home.glob(".*.part"))
