"""Every row of a data set is accounted for, whatever becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from training.small_models import write_model

from moli.models.hardware.probe import Machine
from moli.training.checks.preflight import preflight
from moli.training.checks.report import Preflight
from moli.training.recipes.recipe import make_recipe
from moli.training.setup.prepared import prepare


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine("cpu", 1, {"fp32": 1.0, "bf16": 1.0}, 8 << 30)
    monkeypatch.setattr("moli.training.setup.prepared.probe", lambda: machine)


def chat(question: str, answer: str) -> str:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns})


def check(folder: Path, lines: list[str], **values: object) -> Preflight:
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    base = write_model(folder / "base", "llama")
    recipe = {"task": "instruction", "data": folder / "rows.jsonl", "base": base} | values
    return preflight(make_recipe(recipe))


def test_rows_are_counted_by_what_becomes_of_them(tmp_path: Path) -> None:
    short = [chat(f"w{n}", "w1 w2") for n in range(130)]
    long = [chat(" ".join(["w3"] * 20), f"w{n}") for n in range(3)]
    report = check(tmp_path, [*short, *short[:1], *long, "{}"], max_length=16, held_out=0.1)
    counts = dict(report.rows.counts)
    assert counts["total"] == 130 + 1 + 3 + 1
    assert counts["malformed"] == 1
    assert counts["total"] == sum(counts.values()) - counts["total"]
    # Long ones are dropped on both sides, and so is a training row that is also held out.
    assert counts["dropped"] in (3, 4)
    dropped = {row.where.rpartition(":")[2] for row in report.rows.dropped}
    assert {"132", "133", "134"} <= dropped


def test_a_prompt_that_fills_the_length_is_told_with_a_length_that_works(tmp_path: Path) -> None:
    rows = [chat("w1", f"w{n}") for n in range(10)] + [chat(" ".join(["w3"] * 20), "w4 w5")]
    report = check(tmp_path, rows, max_length=16, held_out=0)
    [finding] = [each for each in report.findings if "dropped" in each.what]
    assert "the prompt alone is longer than max_length 16" in finding.what
    # user, 20 words, the end; assistant, 2 words, the end.
    assert report.lengths
    assert report.lengths.longest == 26
    assert finding.fix.startswith("Set max_length: 26,")
    assert check(tmp_path, rows, max_length=26, held_out=0).rows.counts["dropped"] == 0


def test_no_length_beyond_what_the_base_takes_is_advised(tmp_path: Path) -> None:
    rows = [chat("w1", f"w{n}") for n in range(10)] + [chat(" ".join(["w3"] * 90), "w4")]
    report = check(tmp_path, rows, max_length=100, held_out=0)
    whats = {each.what: each.fix for each in report.findings}
    [dropped] = [what for what in whats if "dropped" in what]
    assert whats[dropped].startswith("The base takes 64 tokens at most")
    [demanded] = [what for what in whats if what.startswith("max_length is 100, but")]
    assert demanded.endswith("takes 64 tokens at most")


def test_data_of_prompts_that_are_all_too_long_are_refused(tmp_path: Path) -> None:
    report = check(tmp_path, [chat(" ".join(["w3"] * 20), "w4")] * 3, max_length=16, held_out=0)
    [refusal] = [each for each in report.findings if each.severity == "error"]
    assert "the prompt alone is longer than max_length 16" in refusal.what
    assert refusal.fix.startswith("Set max_length: 25,")


def test_answers_that_are_all_out_of_the_loss_are_told(tmp_path: Path) -> None:
    unread = json.loads(chat("w1", "w2"))
    unread["messages"][1]["weight"] = 0
    rows = [chat("w1", f"w{n}") for n in range(10)] + [json.dumps(unread)]
    report = check(tmp_path, rows, held_out=0)
    [finding] = [each for each in report.findings if "dropped" in each.what]
    assert finding.what.endswith("all turns of the assistant are left out of the loss")
    report = check(tmp_path, rows[-1:] * 2, held_out=0)
    assert "all turns of the assistant are left out" in report.findings[0].what
    assert report.findings[0].fix == "Let one of them count, or remove the row."


def test_rows_that_were_rendered_before_are_told_by_the_check_and_the_run(tmp_path: Path) -> None:
    rows = [
        *(chat(f"w{n}", "w1 w2") for n in range(8)),
        chat("<|im_start|>user\nw1<|im_end|>", "w2"),
        chat("[INST] w2 [/INST]", "w2 </s>"),
        chat("w3 </s> w4 [1] <b>", "### Response:\nw2"),
        chat("<|im_end|>", "w4"),
    ]
    report = check(tmp_path, rows, held_out=0)
    [finding] = [each for each in report.findings if "control tokens" in each.what]
    assert finding.severity == "warning"
    assert finding.what == (
        "rows with control tokens of a chat template in a text: 4 (<|im_end|> (2), "
        "<|im_start|> (1), </s> (1), [/INST] (1), [INST] (1), ...)"
    )
    assert {where.rpartition(":")[2] for where in finding.locations} == {"9", "10", "11", "12"}
    assert "role and content" in finding.fix
    recipe = report.recipe | {"data": tmp_path / "rows.jsonl"}
    prepared = prepare(make_recipe(recipe), tmp_path)
    assert f"{finding.what}. {finding.fix}" in prepared.facts()["row_notes"]
    clean = check(tmp_path, rows[:8], held_out=0)
    assert not [each for each in clean.findings if "tokens" in each.what]
