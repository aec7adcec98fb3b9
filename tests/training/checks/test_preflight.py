from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from training.small_models import WORDS, write_conversations, write_model

from moli.cli.output import print_json
from moli.cli.preflight import print_report
from moli.records.examples import (
    Conversation,
    Example,
    Labelled,
    LocatedExample,
    Pair,
    Preference,
)
from moli.records.messages import Message, Tool, ToolCall
from moli.training.batching.samples import Sample, advise_length
from moli.training.checks.findings import _find_joined_labels
from moli.training.checks.inspection import (
    PairStatistics,
    count_labels,
    find_repetitions,
    measure_lengths,
    measure_pairs,
    normalize_text,
)
from moli.training.checks.masks import MaskedSample, TokenSpan
from moli.training.checks.preflight import preflight
from moli.training.checks.report import Finding, Preflight, RowReport, Supervision
from moli.training.checks.servers import AdapterSummary, check_servers
from moli.training.recipes.recipe import make_recipe


def located(examples: Sequence[Example], name: str = "a") -> list[LocatedExample]:
    return [LocatedExample(f"{name}:{number}", each) for number, each in enumerate(examples, 1)]


@pytest.mark.parametrize(
    ("one", "other"),
    [("A film!", "a  FILM"), ("ﬁlm", "film"), ("Ａ１", "a1"), ("充满电，需要。", "充满电需要"),
     ("Straße", "STRASSE")],
)  # fmt: skip
def test_texts_that_read_alike_are_alike(one: str, other: str) -> None:
    assert normalize_text(one) == normalize_text(other)


def test_texts_of_signs_alone_are_not_all_alike() -> None:
    assert normalize_text("?!") != normalize_text("...")


def test_repetitions_are_found_and_placed() -> None:
    train = [
        Labelled("A film.", "x"),
        Labelled("A film.", "x"),
        Labelled("a FILM", "x"),
        Labelled("A play.", "x"),
        Labelled("a play", "y"),
        Labelled("An opera.", "y"),
    ]
    result = find_repetitions(located(train), located([Labelled("an opera!", "x")], "b"))
    assert result.exact == (("a:1", "a:2"),)
    assert result.near == (("a:1", "a:3"),)
    assert result.contradicting == (("a:4", "a:5"),)
    assert result.leaked == (("a:6", "b:1"),)


def test_an_answer_more_is_no_repetition() -> None:
    question_turn = Message("user", "Say something.")
    talks = [Conversation((question_turn, Message("assistant", each))) for each in ("one", "two")]
    result = find_repetitions(located([*talks, Pair("a", "b"), Pair("a", "c")]), [])
    assert (result.exact, result.near, result.contradicting) == ((), (), ())


def test_calls_and_tools_tell_conversations_apart() -> None:
    def talk(city: str, *tools: Tool) -> Conversation:
        call = ToolCall("c", "look", json.dumps({"city": city}))
        return Conversation((Message("user", "Rain?"), Message("assistant", "", (call,))), tools)

    tool, other = Tool("look"), Tool("look", parameters={"type": "object"})
    train = [talk("Oslo", tool), talk("Turin", tool), talk("Oslo", other), talk("Oslo", tool)]
    held_out = located([talk("Rome", other)], "b")
    result = find_repetitions(located([*train, talk("oslo", tool)]), held_out)
    assert result.exact == (("a:1", "a:4"),)
    assert result.near == (("a:1", "a:5"),)
    assert result.leaked == (("a:3", "b:1"),)


def test_labels_are_counted_the_most_frequent_first() -> None:
    examples = [Labelled("t", each) for each in "abbbcc"]
    assert list(count_labels(located(examples)).items()) == [("b", 3), ("c", 2), ("a", 1)]


def test_lengths_are_those_before_the_cut() -> None:
    # 1 ... 20 tokens, of which 10 have room: numpy's percentile of 1 ... 20.
    samples = [
        Sample((np.zeros(min(each, 10), np.int32),), 0, truncated_tokens=max(0, each - 10))
        for each in range(1, 21)
    ]
    result = measure_lengths(samples, 10, 10)
    assert (result.longest, result.most, result.median) == (20, 10, 10)
    assert result.percentile95 == round(1 + 0.95 * 19)
    assert result.bins == dict.fromkeys(range(2, 21, 2), 2)


def test_lengths_are_counted_up_to_whole_numbers_of_tokens() -> None:
    def bins(*sizes: int, most: int = 0) -> dict[int, int]:
        samples = [Sample((np.zeros(each, np.int32),), 0) for each in sizes]
        return measure_lengths(samples, most, most).bins

    assert bins(3, 3, 1) == {1: 1, 2: 0, 3: 2}
    result = bins(1, 9, 10, 100)
    assert list(result) == [9, 18, 27, 36, 45, 54, 63, 72, 81, 90, 99, 100]
    assert [each for each in result.values() if each] == [2, 1, 1]
    # So that what is over the maximum length is counted apart.
    assert {10: 2, 12: 1}.items() <= bins(10, 10, 12, 24, most=10).items()


def test_labels_that_are_several_are_told() -> None:
    labels = {"refund": 9, "damage": 7, "refund; damage": 3, "late": 5, "AC/DC": 4}
    (finding,) = _find_joined_labels(labels, "classification")
    assert finding.what == "1 label holds ';' between other labels: 'refund; damage'"
    assert "label_separator: ';', with task: multi_label_classification." in finding.fix
    assert not list(_find_joined_labels({"a, b": 3, "c": 4}, "classification"))


def test_advice_on_length_is_within_what_the_base_takes() -> None:
    assert advise_length(512, 512, 1056).startswith("The base takes 512 tokens at most")
    assert "max_length" not in advise_length(512, 512, 1056)
    assert advise_length(128, 512, 300).startswith("Set max_length: 300,")
    assert advise_length(128, 512, 1056).startswith("Set max_length: 512, which is the most")


PLAIN = AdapterSummary("lora", 16, generates=True)


def loads(weights: AdapterSummary) -> list[str]:
    return [each.loads for each in check_servers(weights)]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [  # vLLM, SGLang, llama.cpp, transformers serve
        (PLAIN, ["yes", "yes", "with a setting", "no"]),
        (replace(PLAIN, rank=17), ["with a setting", "yes", "with a setting", "no"]),
        (replace(PLAIN, rank=513), ["no", "yes", "with a setting", "no"]),
        (replace(PLAIN, method="rslora"), ["yes", "no", "no", "no"]),
        (replace(PLAIN, method="dora"), ["no"] * 4),
        (replace(PLAIN, full_layers=("score",)), ["no"] * 4),
        (replace(PLAIN, other_layers=("conv",)), ["no"] * 4),
        (replace(PLAIN, method="adapter"), ["no"] * 4),
        (replace(PLAIN, method="prefix"), ["no"] * 4),
        (replace(PLAIN, generates=False), ["no"] * 4),
        (replace(PLAIN, method="full"), ["yes", "yes", "with a setting", "yes"]),
    ],
)
def test_servers_are_told_apart(weights: AdapterSummary, expected: list[str]) -> None:
    assert loads(weights) == expected


@pytest.mark.parametrize(("rank", "room"), [(17, 32), (33, 64), (200, 256), (300, 320), (400, 512)])
def test_the_rank_to_ask_vllm_for_is_the_next_that_it_knows(rank: int, room: int) -> None:
    assert f"--max-lora-rank {room} " in check_servers(replace(PLAIN, rank=rank))[0].reason


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def labelled(count: int) -> list[dict[str, str]]:
    """Texts that are alike in no way, of two labels in turn."""
    return [
        {"text": f"{WORDS[n % 40]} {WORDS[n // 40]} {WORDS[(n * 7) % 40]}", "label": "ab"[n % 2]}
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Preflight]:
    """The report on 120 good rows, to which faults of each kind were added."""
    folder = tmp_path_factory.mktemp("classified")
    rows = labelled(120)
    rows.append(rows[0])  # line 121: equal
    rows.append({"text": rows[1]["text"].upper() + "!", "label": rows[1]["label"]})  # 122: nearly
    rows.append({"text": rows[2]["text"], "label": "b"})  # 123: contradicting
    rows.append({"text": "w1 " * 40, "label": "b"})  # 124: 42 tokens with the marks
    held_out = [rows[10], {"text": rows[11]["text"] + " .", "label": "b"}, rows[5] | {"label": "c"}]
    rows.append({"text": "", "label": "a"})  # 125: malformed
    recipe = make_recipe(
        {
            "task": "classification",
            "base": write_model(folder / "model", "bert"),
            "data": write(folder / "rows.jsonl", rows),
            "held_out": write(folder / "judged.jsonl", held_out),
            "max_length": 12,
            "method": "lora",
        }
    )
    return folder, preflight(recipe)


@pytest.mark.slow
def test_every_row_is_accounted_for(classified: tuple[Path, Preflight]) -> None:
    folder, result = classified
    path, held_out_path = folder / "rows.jsonl", folder / "judged.jsonl"
    rows = result.rows
    assert result.ok
    assert rows.kept + len(rows.malformed) + len(rows.dropped) == 125
    assert [each.where for each in rows.malformed] == [f"{path}:125"]
    assert [(each.where, each.tokens) for each in rows.cut] == [(f"{path}:124", 30)]
    assert [each.where for each in rows.dropped] == [f"{path}:11 = {held_out_path}:1"]
    assert rows.dropped[0].what == "also held out"
    repeated = result.repetitions
    assert repeated.exact == ((f"{path}:1", f"{path}:121"),)
    assert repeated.near == ((f"{path}:2", f"{path}:122"),)
    assert repeated.contradicting == ((f"{path}:3", f"{path}:123"),)
    assert set(repeated.leaked) == {
        (f"{path}:12", f"{held_out_path}:2"),
        (f"{path}:6", f"{held_out_path}:3"),
    }


@pytest.mark.slow
def test_what_is_found_is_said(classified: tuple[Path, Preflight]) -> None:
    _, result = classified
    severities = {each.what: each.severity for each in result.findings}
    for part in (
        "1 row is malformed: 'text' is empty",
        "1 example is too long: 30 tokens are cut off",
        "1 example is dropped: also held out",
        "texts with conflicting answers: 1",
        "2 examples are also held out, apart from case, spaces and punctuation",
        "held-out examples have labels that are not in the training data: 'c'",
    ):
        assert any(part in each and severities[each] == "warning" for each in severities), part
    assert severities["1 example is duplicated"] == "note"
    assert result.labels == {"a": 60, "b": 63}
    assert result.packing is not None
    assert result.packing.holds
    assert result.estimate is not None
    assert result.estimate.seconds > 0
    assert result.estimate.memory_mb > 50
    assert result.masks == ()


@pytest.mark.slow
def test_it_is_shown_and_told_to_programs(
    classified: tuple[Path, Preflight], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, result = classified
    shown = StringIO()
    print_report(result, Console(file=shown, width=200, markup=False, highlight=False))
    report = shown.getvalue() + capsys.readouterr().out  # long lines are wrapped by the terminal
    for part in ("123 training examples, 3 held out", "median 5 tokens", "over max_length",
                 "packing is verified", "vLLM", "nothing was trained."):  # fmt: skip
        assert part in report
    print_json(result)
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"]["cut"] == [{"where": f"{folder / 'rows.jsonl'}:124", "tokens": 30}]


def test_programs_read_the_names_that_they_know(capsys: pytest.CaptureFixture[str]) -> None:
    sample = MaskedSample("a:1", ((TokenSpan("x", True, False),),))
    finding = Finding("note", "what", "fix", ("a:1",))
    supervision = Supervision("tokens", 1, 2)
    print_json(Preflight({}, (finding,), RowReport(evaluated=3), supervision, masks=(sample,)))
    printed = json.loads(capsys.readouterr().out)
    assert printed["findings"][0]["places"] == ["a:1"]
    assert printed["rows"]["judged"] == 3
    assert printed["supervision"]["learnt"] == 1
    assert printed["masks"][0]["parts"][0][0] == {"text": "x", "learnt": True, "special": False}


@pytest.fixture(scope="module")
def conversed(tmp_path_factory: pytest.TempPathFactory) -> Preflight:
    folder = tmp_path_factory.mktemp("conversed")
    recipe = {
        "task": "instruction",
        "base": write_model(folder / "model", "llama"),
        "data": write_conversations(folder / "rows.jsonl", 40),
        "max_length": 24,
    }
    return preflight(make_recipe(recipe))


@pytest.mark.slow
def test_the_answer_and_its_end_are_learnt(conversed: Preflight) -> None:
    seen = conversed.supervision
    assert seen is not None
    assert 0 < seen.share < 0.5
    # What is cut has lost its end; nothing else has.
    assert seen.unended == tuple(each.where for each in conversed.rows.cut)
    assert len(conversed.masks) == 2
    for sample in conversed.masks:
        *context, answer, end = sample.parts[0]
        assert not any(each.supervised for each in context)
        # Answers repeat the last words of their questions.
        question = next(each.text for each in context if not each.special)
        assert answer.supervised
        assert question.endswith(answer.text.strip())
        assert (end.text.strip(), end.supervised, end.special) == ("[SEP]", True, True)


@pytest.mark.slow
def test_masks_are_seen_with_colour_and_without(conversed: Preflight) -> None:
    plain, coloured = StringIO(), StringIO()
    print_report(conversed, Console(file=plain, width=200))
    print_report(
        conversed, Console(file=coloured, width=200, force_terminal=True, color_system="standard")
    )
    answer = conversed.masks[0].parts[0][-2].text
    assert f"[[{answer}[SEP]]]" in plain.getvalue()
    assert f"\x1b[32m{answer}\x1b[0m" in coloured.getvalue()
    assert "[[w" not in coloured.getvalue()


@pytest.mark.slow
def test_four_bits_without_a_gpu_are_refused_and_the_data_still_looked_at(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    recipe = {
        "task": "instruction",
        "base": write_model(tmp_path / "model", "llama"),
        "data": write_conversations(tmp_path / "rows.jsonl", 20),
        "method": "qlora",
    }
    result = preflight(make_recipe(recipe))
    assert not result.ok
    assert result.findings[0].severity == "error"
    assert "qlora needs a CUDA GPU" in result.findings[0].what
    assert result.rows.kept == 19
    assert result.estimate is None


@pytest.mark.slow
def test_a_share_that_holds_nothing_out_is_told(tmp_path: Path) -> None:
    rows = [{"text": f"问题{number}", "label": f"类{number}"} for number in range(6)]
    data = write(tmp_path / "rows.jsonl", rows)
    recipe = make_recipe({"task": "classification", "data": data, "held_out": 0.5})
    assert any(each.what.startswith("nothing is held out") for each in preflight(recipe).findings)
    recipe = make_recipe({"task": "classification", "data": data, "held_out": 0})
    assert not any("held out" in each.what for each in preflight(recipe).findings)


@pytest.mark.slow
def test_pairs_of_one_prompt_are_said_to_stay_together(tmp_path: Path) -> None:
    rows = [
        {"prompt": "w1", "chosen": f"w2 w{number}", "rejected": f"w3 w{number}"}
        for number in range(4, 18)
    ]
    data, base = write(tmp_path / "pairs.jsonl", rows), write_model(tmp_path / "base", "llama")
    values = {"task": "dpo", "base": str(base), "data": data, "held_out": 0.05, "rank": 2}
    findings = preflight(make_recipe(values)).findings
    [told] = [each.what for each in findings if each.what.startswith("nothing is held out")]
    assert "all examples are about one prompt" in told and "less than one" not in told


@pytest.mark.slow
def test_a_base_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    recipe = {
        "task": "classification",
        "base": str(tmp_path / "nothing"),
        "data": write(tmp_path / "rows.jsonl", labelled(10)),
    }
    result = preflight(make_recipe(recipe))
    assert [each.severity for each in result.findings if each.severity == "error"] == ["error"]
    assert result.rows.kept > 0


@pytest.mark.slow
@pytest.mark.parametrize(("word", "notes"), [("房间很脏", 1), ("It came broken", 0)])
def test_an_encoder_that_reads_the_language_is_named(
    word: str, notes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": f"{word} {n}", "label": "ab"[n % 2]} for n in range(30)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    values = {"task": "classification", "data": data, "base": "builtin:ngrams"}
    report = preflight(make_recipe(values))
    fixes = [each.fix for each in report.findings if "moli models get e5" in each.fix]
    assert len(fixes) == notes
    monkeypatch.setenv("MOLI_MODELS", str(tmp_path))
    (tmp_path / "e5").mkdir()
    (tmp_path / "e5" / "origin.json").write_text("{}")
    assert not any("models get" in each.fix for each in preflight(make_recipe(values)).findings)


def _answers(*texts: str) -> list[tuple[Message, ...]]:
    return [(Message("assistant", text),) for text in texts]


def test_pairs_are_measured() -> None:
    prompt, (long, short) = (Message("user", "Hi"),), _answers("Hello there", "What?")
    pairs = [
        Preference(prompt, long, short, 2.0, True, False),
        Preference(prompt, short, long, chosen_is_safe=True, rejected_is_safe=True),
        Preference((Message("user", "Ho"),), long, short, prompt_is_unsafe=True),
    ]
    report = measure_pairs(located(pairs))
    assert report == PairStatistics(
        pairs=3, prompts=2, chosen_length=11, rejected_length=5, longer=2, shorter=1,
        with_margin=1, tags={"safe over unsafe": 1, "both safe": 1, "unsafe prompt": 1},
    )  # fmt: skip
    assert measure_pairs(located([Labelled("a", "x")])) is None
    assert find_repetitions(located(pairs), []).contradicting == (("a:1", "a:2"),)


@pytest.mark.slow
def test_answers_that_are_all_rated_alike_are_warned_of(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "llama")
    data = tmp_path / "rated.jsonl"
    rows = [{"prompt": f"w{n} w1", "completion": f"w{n} w2", "label": False} for n in range(20)]
    data.write_text("\n".join(map(json.dumps, rows)))
    report = preflight(make_recipe({"task": "kto", "base": base, "data": str(data)}))
    assert "every answer is rated as bad" in {each.what for each in report.findings}
    assert report.ok


@pytest.mark.slow
def test_a_check_of_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write_model(tmp_path / "base", "bert")
    row = {"prompt": "w1", "chosen": "w2 w3 w4", "rejected": "w5"}
    rows = [row | {"prompt": f"w{n % 30}", "chosen": f"w2 w{n % 7} w{n}"} for n in range(200)]
    rows += [{"prompt": "w9", "chosen": "w5", "rejected": rows[9]["chosen"]}, row | {"chosen": ""}]
    data = tmp_path / "pairs.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    report = preflight(make_recipe({"task": "reward", "base": base, "data": str(data)}))
    found = {finding.what: finding for finding in report.findings}
    assert found["1 row is malformed: 'chosen' is empty"].locations == (f"{data}:202",)
    contradicting = found["pairs of answers of which each is preferred once: 1"]
    assert contradicting.locations == (f"{data}:10 = {data}:201",)
    assert any("the chosen answer is the longer one in" in what for what in found)
    assert report.ok
    assert report.pairs
    print_report(report, Console(file=StringIO(), width=200))
    shown = f"{report.pairs.pairs} pairs of answers to {report.pairs.prompts} prompts, 0 with"
    assert shown in capsys.readouterr().out
    print_json(report)
