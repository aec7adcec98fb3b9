"""Classification of pairs and with several labels: trained, stored, asked, and read by others."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from training.small_models import WORDS, write_model
from training.stored_models import train_and_store

from moli.training.trained.export import export
from moli.training.trained.load import load_trained
from moli.training.trained.predict import evaluate_on, predict, read_text, read_unanswered


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def exported(folder: Path, stored: Any) -> tuple[Any, Any]:
    """The model and the tokenizer as transformers loads them from an exported folder."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    export(stored, folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    return model, AutoTokenizer.from_pretrained(folder)


@pytest.mark.slow
def test_several_labels_from_rows_to_other_programs(tmp_path: Path) -> None:
    draw = random.Random(0)
    named = {"early": WORDS[:5], "late": WORDS[5:10], "never": ()}
    rows = []
    for _ in range(120):
        labels = [name for name in ("early", "late") if draw.random() < 0.5]
        words = [draw.choice(named[name]) for name in labels] + draw.choices(WORDS[10:], k=2)
        rows.append({"text": " ".join(words), "labels": labels})
    data = write(tmp_path / "rows.jsonl", rows)
    stored = train_and_store(
        tmp_path / "home",
        data,
        write_model(tmp_path / "base", "bert"),
        task="multi_label_classification",
        method="full",
        held_out=0.3,
    )
    trained: Any = load_trained(stored, precision="fp32")
    assert trained.task.labels == ["early", "late"]
    assert (
        trained.task.thresholds
        == json.loads((stored.folder / "task.json").read_text())["thresholds"]
    )
    evaluation = evaluate_on(trained, data)
    assert evaluation.metric == "micro_f1"
    assert evaluation.metrics["micro_f1"] > 0.8
    text = f"{WORDS[0]} {WORDS[20]}"
    (answer,) = predict(trained, [read_text(trained, text)])
    model, tokenizer = exported(tmp_path / "exported", stored)
    assert model.config.problem_type == "multi_label_classification"
    with torch.no_grad():
        logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
    expected = dict(zip(["early", "late"], torch.sigmoid(logits).tolist(), strict=True))
    assert answer["probabilities"] == pytest.approx(expected, abs=1e-4)
    thresholds = dict(zip(trained.task.labels, trained.task.thresholds, strict=True))
    assert answer["labels"] == [name for name in expected if expected[name] >= thresholds[name]]


@pytest.mark.slow
def test_pairs_from_rows_to_other_programs(tmp_path: Path) -> None:
    rows = [
        {"premise": f"{first} w30", "hypothesis": f"w31 {second}", "label": int(first == second)}
        for first in WORDS[:8]
        for second in (first, WORDS[10], first, WORDS[11])
    ]
    data = write(tmp_path / "rows.jsonl", rows)
    base = write_model(tmp_path / "base", "bert")
    stored = train_and_store(
        tmp_path / "home", data, base, task="pair_classification", method="full", epochs=2
    )
    trained: Any = load_trained(stored, precision="fp32")
    evaluate_on(trained, data)
    unanswered = write(
        tmp_path / "open.jsonl",
        [{key: row[key] for key in ("premise", "hypothesis")} for row in rows],
    )
    examples = [each.example for each in read_unanswered(trained, unanswered).examples]
    answers = predict(trained, examples)
    model, tokenizer = exported(tmp_path / "exported", stored)
    assert model.config.id2label == {0: "0", 1: "1"}
    with torch.no_grad():
        for row, answer in zip(rows, answers, strict=True):
            inputs = tokenizer(row["premise"], row["hypothesis"], return_tensors="pt")
            probabilities = torch.softmax(model(**inputs).logits[0], -1)
            assert answer["label"] == str(int(probabilities.argmax()))
            assert answer["probability"] == pytest.approx(float(probabilities.max()), abs=1e-4)
