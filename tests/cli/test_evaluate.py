from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training import small_models
from training.stored_models import train_and_store

Moli = Callable[..., Any]
pytestmark = pytest.mark.slow


def test_a_model_is_judged_and_exported(moli: Moli, home: Path) -> None:
    """One test, as each would train a model of its own."""
    base = small_models.write_model(home / "bert", "bert")
    data = small_models.write_labelled(home / "data.jsonl", 40)
    train_and_store(home, data, base, name="sorter", method="lora", epochs=2)

    evaluation = moli("evaluate", "sorter", data, "--json").json
    answers = moli("predict", "sorter", data, "--json").json["answers"]
    labels = [json.loads(line)["label"] for line in data.read_text().splitlines()]
    right = sum(each["label"] == label for each, label in zip(answers, labels, strict=True))
    assert evaluation["metrics"]["accuracy"] == pytest.approx(right / 40)
    low, high = evaluation["interval"]
    assert low < right / 40 <= high
    assert evaluation["confusion"]["labels"] == ["a", "b"]
    assert sum(map(sum, evaluation["confusion"]["counts"])) == 40

    ran = moli("evaluate", "sorter", data)
    assert f"accuracy         {right / 40:.4f}  (95 %: {low:.4f} to {high:.4f})" in ran.out
    for part in ("on 40 examples", "precision", "weighted avg", "true \\ predicted", "macro_f1"):
        assert part in ran.out
    assert "tokens/s" in ran.err

    (home / "bare.jsonl").write_text('{"text": "w1"}\n')
    ran = moli("evaluate", "sorter", "bare.jsonl")
    assert ran.code == 1 and "the rows are plain texts" in ran.err

    rows = [json.loads(line) for line in data.read_text().splitlines()]
    table = ["text,label", *(f"{each['text']},{each['label']}" for each in rows)]
    table.insert(3, '"w1 w2,a')
    (home / "quote.csv").write_text("\n".join(table) + "\n")
    ran = moli("evaluate", "sorter", "quote.csv")
    assert ran.code == 3 and "41 rows = 40 evaluated + 1 unread" in ran.out
    assert "quote.csv:4: not CSV" in ran.err
    ran = moli("evaluate", "sorter", "quote.csv", "--json")
    assert ran.code == 3 and ran.json["rows"]["unread"] == 1
    ran = moli("predict", "sorter", "quote.csv")
    assert ran.code == 3 and "41 rows = 40 answered + 1 unread" in ran.err
    data_set = ("--set", "task=classification", "--set", f"base={base}", "--set", "data=quote.csv")
    ran = moli("tune", *data_set, "--set", "held_out=8.5")
    assert ran.code == 1 and "a share from 0 to below 1, a whole number of rows" in ran.err
    for amount in ("8", "20%"):
        ran = moli("tune", *data_set, "--set", f"held_out={amount}")
        assert ran.code == 3 and "41 rows = 32 learnt + 8 held out + 1 unread" in ran.out

    ran = moli("models", "export", "sorter", "merged", "--merge", "--json")
    assert ran.json["parity"]["exact"] < 1e-5
    assert (home / "merged" / "model.safetensors").is_file()
    ran = moli("models", "export", "sorter", "merged")
    assert ran.code == 1 and "it already exists" in ran.err
    ran = moli("models", "export", "sorter", "again", "--merge")
    assert f"Written: {home / 'again'}" in ran.out and "the same at 100.00% of positions" in ran.out

    # Another base in the same place.
    (home / "bert" / "model.safetensors").write_bytes(b"other")
    ran = moli("evaluate", "sorter", data, "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "model")
    assert "trained on a different" in ran.json["error"]["what"]
