from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training import small_models
from training.stored_models import train_and_store, write_masked_model, write_spans

from moli.metrics.classification import accuracy
from moli.records.errors import InputError, ModelError
from moli.records.examples import Labelled, Span
from moli.training.inference import Progress
from moli.training.trained.load import load_trained
from moli.training.trained.predict import evaluate_on, predict, read_text, read_unanswered
from moli.workspace.content import StoredModel
from moli.workspace.datasets import read_dataset

METHODS = ("full", "lora", "adapter", "prefix")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    small_models.write_labelled(root / "data.jsonl", 60)
    write_masked_model(root / "base")
    return root


@pytest.fixture(scope="module")
def stored(root: Path) -> dict[str, StoredModel]:
    return {
        method: train_and_store(
            root / "home", root / "data.jsonl", str(root / "base"), method=method
        )
        for method in METHODS
    }


def texts(root: Path) -> list[str]:
    return [json.loads(line)["text"] for line in (root / "data.jsonl").read_text().splitlines()]


def by_hand(stored: StoredModel, base: Path, inputs: list[str]) -> list[np.ndarray[Any, Any]]:
    """Probabilities by plain transformers and peft, one text at a time."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    labels = json.loads((stored.folder / "task.json").read_text())["labels"]
    source = stored.folder if stored.manifest.method == "full" else base
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=len(labels))
    if stored.manifest.method != "full":
        model = PeftModel.from_pretrained(model, str(stored.folder))
    tokenizer = AutoTokenizer.from_pretrained(stored.folder)
    model.eval()
    probabilities = []
    with torch.no_grad():
        for text in inputs:
            ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=64)
            logits = model(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"]).logits[
                0
            ]
            probabilities.append(torch.softmax(logits, -1).numpy())
    return probabilities


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora", "prefix"])
def test_a_loaded_model_answers_as_plain_transformers_and_peft_do(
    root: Path, stored: dict[str, StoredModel], method: str
) -> None:
    inputs = texts(root)[:20]
    trained = load_trained(stored[method])
    assert not trained.model.training
    predictions = predict(trained, [Labelled(each, "?") for each in inputs])
    for each, expected in zip(
        predictions, by_hand(stored[method], root / "base", inputs), strict=True
    ):
        assert each["label"] == "ab"[int(expected.argmax())]
        assert each["probability"] == pytest.approx(float(expected.max()), abs=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_loaded_model_is_as_good_as_it_was_when_it_was_stored(
    root: Path, stored: dict[str, StoredModel], method: str
) -> None:
    """On the examples that were held out, with the pooler that the base has no weights for."""
    from moli.training.data import split

    trained = load_trained(stored[method])
    held_out = split(read_dataset(root / "data.jsonl").examples, 0.2, 0)[1]
    rows = [{"text": each.example.text, "label": each.example.label} for each in held_out]  # type: ignore[union-attr]
    path = root / f"held-out-{method}.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    evaluation = evaluate_on(trained, path)
    for name, value in stored[method].manifest.metrics.items():
        assert evaluation.metrics[name] == pytest.approx(value, abs=1e-4), name


@pytest.mark.slow
def test_packed_answers_are_those_of_single_texts(
    root: Path, stored: dict[str, StoredModel]
) -> None:
    examples = [Labelled(each, "?") for each in texts(root)]
    trained = load_trained(stored["lora"])
    alone = [predict(trained, [each])[0] for each in examples]
    assert trained.packed is None
    progress: list[Progress] = []
    together = predict(trained, examples, on_progress=progress.append)
    assert trained.packed
    for one, other in zip(alone, together, strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)
    assert progress[-1].tokens == sum(len(each.text.split()) + 2 for each in examples)
    assert progress[-1].share == 1
    assert progress[-1].rate > 0
    prefixed = load_trained(stored["prefix"])
    predict(prefixed, examples)
    assert not prefixed.packed


@pytest.mark.slow
def test_rows_are_answered_without_labels(root: Path, stored: dict[str, StoredModel]) -> None:
    trained = load_trained(stored["full"])
    inputs = texts(root)[:4]
    expected = [
        each["label"] for each in predict(trained, [Labelled(each, "?") for each in inputs])
    ]
    lines = root / "texts.txt"
    lines.write_text("\n".join([inputs[0], "", *inputs[1:]]) + "\n")
    table = root / "texts.csv"
    table.write_text("id,review,label\n" + "".join(f"{n},{t},\n" for n, t in enumerate(inputs)))
    rows = root / "texts.jsonl"
    values = [{"text": inputs[0]}, {"text": ""}, {"text": inputs[1], "label": None}, {"other": 1}]
    rows.write_text("".join(json.dumps(each) + "\n" for each in values))
    for path in (lines, table):
        read = read_unanswered(trained, path)
        predictions = predict(trained, [each.example for each in read.examples])
        assert [each["label"] for each in predictions] == expected
        assert not read.malformed
    assert [each.where for each in read_unanswered(trained, lines).examples][1] == f"{lines}:3"
    read = read_unanswered(trained, rows)
    assert [each.where for each in read.examples] == [f"{rows}:1", f"{rows}:3"]
    assert [str(each) for each in read.malformed] == [
        f"{rows}:2: 'text' is empty. Fill it in, or remove the row.",
        f"{rows}:4: 'text' is missing. The row has: other.",
    ]
    # In data to train or evaluate on, answers must be there.
    assert len(read_dataset(table, columns={"text": "review"}).malformed) == 4
    with pytest.raises(InputError, match="4 of 4 rows are malformed"):
        evaluate_on(trained, table)
    (root / "none.jsonl").write_text('{"question": "w1"}\n')
    with pytest.raises(InputError, match="It needs text"):
        read_unanswered(trained, root / "none.jsonl")


@pytest.mark.slow
def test_an_evaluation_has_report_confusion_and_an_interval(
    root: Path, stored: dict[str, StoredModel]
) -> None:
    path = root / "other.jsonl"
    rows = [{"text": text, "label": "abc"[n % 3]} for n, text in enumerate(texts(root)[:30])]
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    trained = load_trained(stored["full"])
    evaluation = evaluate_on(trained, path)
    predicted = [
        each["label"] for each in predict(trained, [Labelled(r["text"], "?") for r in rows])
    ]
    expected = [each["label"] for each in rows]
    assert evaluation.metrics["accuracy"] == accuracy(expected, predicted)
    assert evaluation.confusion is not None and evaluation.report is not None
    assert evaluation.confusion.labels == (
        "a",
        "b",
        "c",
    )  # with one that it was not trained on
    pairs = list(zip(expected, predicted, strict=True))
    assert evaluation.confusion.counts == tuple(
        tuple(pairs.count((right, other)) for other in "abc") for right in "abc"
    )
    assert evaluation.report.classes[2].recall == 0
    low, high = evaluation.interval
    assert (evaluation.metric, evaluation.examples) == ("accuracy", 30)
    # Wilson's interval holds the probabilities p for which |share - p| is within 1.96 deviations.
    for edge in (low, high):
        off = abs(evaluation.metrics["accuracy"] - edge)
        assert off == pytest.approx(1.959964 * (edge * (1 - edge) / 30) ** 0.5, rel=1e-5)
    assert low < evaluation.metrics["accuracy"] < high


@pytest.mark.slow
def test_a_model_that_tells_more_than_a_text_takes_rows(root: Path) -> None:
    small_models.write_model(root / "plain", "bert")
    data = write_spans(root / "spans.jsonl")
    kept = train_and_store(
        root / "home", data, str(root / "plain"), task="span", method="lora", epochs=2
    )
    trained = load_trained(kept)
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    bare = root / "bare.jsonl"
    bare.write_text(
        "".join(json.dumps({k: r[k] for k in ("question", "context")}) + "\n" for r in rows)
    )
    read = read_unanswered(trained, bare)
    assert read.format == "span" and len(read.examples) == len(rows)
    predictions = predict(trained, [each.example for each in read.examples])
    assert all(
        each["answer"] in row["context"] for each, row in zip(predictions, rows, strict=True)
    )
    with pytest.raises(InputError, match="more than a text"):
        read_text(trained, "w1")
    one = read_text(trained, json.dumps({"question": "w1", "context": "w1 w2"}))
    assert one == Span("w1", "w1 w2", (), ())
    evaluation = evaluate_on(trained, data)
    assert set(evaluation.metrics) == {"loss", "exact_match", "f1"}
    assert evaluation.interval[0] <= evaluation.metrics["f1"] <= evaluation.interval[1]
    assert evaluation.report is None


@pytest.mark.slow
def test_a_changed_base_is_refused(root: Path, stored: dict[str, StoredModel]) -> None:
    kept, base = stored["lora"], root / "base"
    good = (base / "model.safetensors").read_bytes()
    try:
        (base / "model.safetensors").write_bytes(good[:-4] + b"\0\0\1\0")
        with pytest.raises(ModelError, match="the weights differ") as raised:
            load_trained(kept)
        assert str(base) in str(raised.value)
        assert kept.manifest.base_hash[:12] in raised.value.fix
        load_trained(stored["full"])  # which is its own base
        (base / "model.safetensors").unlink()
        with pytest.raises(ModelError, match="is not on this machine"):
            load_trained(kept)
    finally:
        (base / "model.safetensors").write_bytes(good)
    words = (base / "tokenizer.json").read_text()
    try:
        (base / "tokenizer.json").write_text(words.replace('"w1"', '"x1"'))
        with pytest.raises(ModelError, match="the tokenizer differ"):
            load_trained(kept)
    finally:
        (base / "tokenizer.json").write_text(words)
    assert load_trained(kept).name == kept.name


@pytest.mark.slow
def test_a_model_that_was_changed_itself_is_refused(
    root: Path, stored: dict[str, StoredModel], tmp_path: Path
) -> None:
    copied = shutil.copytree(stored["full"].folder, tmp_path / "copy")
    (copied / "task.json").write_text('{"labels": ["b", "a"]}')
    with pytest.raises(ModelError, match=r"changed since it was stored \(task.json\)"):
        load_trained(replace(stored["full"], folder=copied))
    other = replace(stored["full"].manifest, template_hash="0" * 64)
    with pytest.raises(ModelError, match="chat template is not the one"):
        load_trained(replace(stored["full"], manifest=other))


@pytest.mark.slow
def test_labels_are_compared_whatever_their_type(root: Path) -> None:
    """Trained on true and false in JSON, evaluated on what pandas writes."""
    halves = [(f"w{n % 20} w3", False) for n in range(30)] + [
        (f"w{20 + n % 20} w33", True) for n in range(30)
    ]
    data = root / "truth.jsonl"
    data.write_text("".join(json.dumps({"text": a, "label": b}) + "\n" for a, b in halves))
    stored = train_and_store(root / "home", data, str(root / "base"), method="full")
    trained = load_trained(stored)
    assert trained.task.known_labels == ["false", "true"]
    expected = evaluate_on(trained, data)
    for spellings in (("False", "True"), ("0", "1"), ("0.0", "1.0")):
        table = root / "truth.csv"
        cells = "".join(f"{text},{spellings[label]}\n" for text, label in halves)
        table.write_text(f"text,label\n{cells}")
        evaluation = evaluate_on(trained, table)
        assert evaluation.metrics == pytest.approx(expected.metrics)
        assert not evaluation.unknown_labels
    table.write_text("text,label\nw3,yes\nw5,no\nw6,no\n")
    with pytest.raises(InputError, match="knows no label of these examples: 'no', 'yes'") as caught:
        evaluate_on(trained, table)
    assert caught.value.fix.startswith("It knows 'false', 'true'.")
    table.write_text("text,label\nw3,yes\nw25,1\nw26,no\n")
    evaluation = evaluate_on(trained, table)
    assert evaluation.unknown_labels == {"yes": 1, "no": 1}
    assert evaluation.metrics["accuracy"] <= 1 / 3
    assert evaluation.metrics["loss"] > 0
