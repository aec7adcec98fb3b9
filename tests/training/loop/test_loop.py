"""What the loop promises: sums that do not depend on how steps are divided, exact resumption."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from training.small_models import (
    WORDS,
    write_conversations,
    write_encoder,
    write_labelled,
    write_model,
)
from training.stored_models import write_spans

from moli.records.errors import InputError, ModelError, WorkspaceError
from moli.records.examples import Labelled
from moli.records.training import Evaluated, Event, StepTaken
from moli.training.batching.samples import plan_epoch
from moli.training.loop import checkpoint
from moli.training.loop.checkpoint import TrainingProgress
from moli.training.loop.loop import EvaluationResult, RunSchedule, StepSamples
from moli.training.recipes.recipe import make_recipe
from moli.training.run import tune
from moli.training.setup.prepared import PreparedRun, prepare
from moli.workspace import Workspace


def recipe(folder: Path, task: str = "classification", **values: Any) -> Any:
    base = folder / "base"
    if not base.exists() and "base" not in values:
        write_model(base, "llama" if task == "instruction" else "bert")
    data = folder / "data.jsonl"
    write = {
        "classification": write_labelled,
        "instruction": write_conversations,
        "span": write_spans,
        "embedding": write_matches,
        "reranking": write_matches,
    }[task]
    return make_recipe(
        {
            "task": task,
            "base": str(base),
            "data": write(data),
            "batch": 4,
            "precision": "fp32",
            "held_out": 0.2,
            "epochs": 2,
            **values,
        }
    )


def write_matches(path: Path, count: int = 30) -> Path:
    """Words, each with the next one and one that is not."""
    rows = [
        {"query": WORDS[n], "positive": WORDS[n + 1], "negatives": [WORDS[n - 1]]}
        for n in range(1, count + 1)
    ]
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return path


class Killed(Exception):  # noqa: N818
    """In the place of a lost process: nothing is put in order on the way out."""


def weights_of(prepared: PreparedRun) -> dict[str, torch.Tensor]:
    return {name: each.clone() for name, each in prepared.loop.weights.state_dict().items()}


def run(
    requested: Any, folder: Path, kill_at: int = 0
) -> tuple[dict[str, torch.Tensor], list[Event]]:
    folder.mkdir(exist_ok=True)
    events: list[Event] = []

    def on_event(event: Event) -> None:
        events.append(event)
        if kill_at and isinstance(event, StepTaken) and event.step == kill_at:
            raise Killed

    prepared = prepare(requested, folder, on_event)
    prepared.loop.schedule = type(prepared.loop.schedule)(
        prepared.loop.schedule.steps,
        prepared.loop.schedule.evaluate_every,
        requested.patience or 0,
        save_every=3,
    )
    prepared.loop.run()
    return weights_of(prepared), events


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "values"),
    [
        ("classification", {"method": "full", "dropout": 0.1}),
        ("classification", {"method": "lora", "precision": "bf16"}),
        ("instruction", {"method": "lora"}),
        ("instruction", {"method": "full", "optimizer": "muon"}),
        ("span", {"method": "full", "dropout": 0.1}),
        ("embedding", {"method": "lora"}),
        ("reranking", {"method": "full"}),
    ],
    ids=["full with dropout", "lora in bf16", "instructions", "muon", "span", "pairs", "ranks"],
)
def test_a_killed_run_resumes_to_the_same_weights_to_the_last_bit(
    task: str, values: dict[str, Any], tmp_path: Path
) -> None:
    requested = recipe(tmp_path, task, **values)
    whole, _ = run(requested, tmp_path / "whole")
    for kill_at in (1, 4, 9):
        folder = tmp_path / f"killed{kill_at}"
        with pytest.raises(Killed):
            run(requested, folder, kill_at)
        resumed, events = run(requested, folder)
        assert events[0].step <= kill_at + 1  # from the last checkpoint, not beyond it
        assert resumed.keys() == whole.keys()
        for name in whole:
            assert torch.equal(resumed[name], whole[name]), (kill_at, name)


@pytest.mark.slow
def test_an_algorithm_may_make_the_samples_of_each_step_as_it_goes(tmp_path: Path) -> None:
    requested = recipe(tmp_path, method="full")
    whole, _ = run(requested, tmp_path / "whole")
    (tmp_path / "own").mkdir()
    prepared = prepare(requested, tmp_path / "own", lambda _: None)
    loop, seen = prepared.loop, []
    sizes = [sample.size for sample in loop.samples]

    def make_steps() -> Iterator[StepSamples]:
        for epoch in range(2):
            for step in plan_epoch(sizes, loop.batching, loop.seed, epoch):
                seen.append(loop.progress.step)  # the weights are those of the steps before
                yield loop.samples_of(step)

    assert loop.run(make_steps()) == "finished"
    assert seen == list(range(loop.schedule.steps))
    trained = weights_of(prepared)
    assert all(torch.equal(trained[name], whole[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "instruction"])
def test_how_a_step_is_divided_changes_nothing(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers differ in length, so an average of averages would give another loss."""
    requested = recipe(tmp_path, task, method="full", held_out=0.0)
    losses = {}
    for max_tokens in (1, 60, 100_000):
        monkeypatch.setattr(
            "moli.training.setup.resolved._max_tokens", lambda *_, most=max_tokens: most
        )
        _, events = run(requested, tmp_path / str(max_tokens))
        losses[max_tokens] = [each.loss for each in events if isinstance(each, StepTaken)]
    assert len(losses[1]) == 16
    assert losses[1] == pytest.approx(losses[100_000], rel=1e-5)
    assert losses[60] == pytest.approx(losses[100_000], rel=1e-5)


@pytest.mark.slow
def test_the_loss_is_the_mean_over_supervised_tokens_as_transformers_computes_it(
    tmp_path: Path,
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    requested = recipe(tmp_path, "instruction", method="full", held_out=0.0, batch=30, epochs=1)
    (first,) = [e for e in run(requested, tmp_path / "run")[1] if isinstance(e, StepTaken)]
    model = AutoModelForCausalLM.from_pretrained(requested.base).eval()
    tokenizer = AutoTokenizer.from_pretrained(requested.base)
    nats = tokens = 0.0

    for line in (tmp_path / "data.jsonl").read_text().splitlines():
        turns = json.loads(line)["messages"]
        prompt_text = tokenizer.apply_chat_template(
            turns[:-1], tokenize=False, add_generation_prompt=True
        )
        prompt = tokenizer(prompt_text, add_special_tokens=False)["input_ids"]
        answer = tokenizer(turns[-1]["content"], add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*prompt, *answer, tokenizer.eos_token_id]])
        labels = ids.clone()
        labels[0, : len(prompt)] = -100
        with torch.no_grad():
            nats += float(model(input_ids=ids, labels=labels).loss) * (len(answer) + 1)
        tokens += len(answer) + 1
    assert first.supervised == tokens
    assert first.loss == pytest.approx(nats / tokens, rel=1e-5)


@pytest.mark.slow
def test_patience_ends_a_run_and_the_best_weights_are_kept(tmp_path: Path) -> None:
    requested = recipe(
        tmp_path, "classification", method="full", epochs=50, learning_rate=0.05, patience=2
    )
    (tmp_path / "run").mkdir()
    events: list[Event] = []
    prepared = prepare(requested, tmp_path / "run", events.append)
    status = prepared.loop.run()
    evaluations = [each for each in events if isinstance(each, Evaluated)]
    assert status == "stopped_early"
    assert [each.best for each in evaluations[-2:]] == [False, False]
    best = [each for each in evaluations if each.best][-1]
    assert prepared.loop.evaluate is not None
    assert prepared.loop.evaluate().metrics == pytest.approx(best.metrics, rel=1e-6)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_mean_weights(tmp_path: Path) -> None:
    requested = recipe(tmp_path, base=write_encoder(tmp_path / "encoder"))
    whole, events = run(requested, tmp_path / "whole")
    assert [each.step for each in events if isinstance(each, Evaluated) and each.best][-1] > 0
    with pytest.raises(Killed):
        run(requested, tmp_path / "killed", kill_at=7)
    resumed, _ = run(requested, tmp_path / "killed")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.8, 0.9, 0.86, 0.86], [True, True, True, True]),  # all within 1.96 errors of .025
        ([0.8, 0.9, 0.84, 0.86], [True, True, False, True]),
        ([0.9, 0.84, 0.83, 0.82], [True, False, False, False]),
    ],
)
def test_mean_weights_are_kept_unless_they_are_clearly_worse(
    scores: list[float], kept: list[bool], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    events: list[Event] = []
    requested = recipe(tmp_path, base=write_encoder(tmp_path / "encoder"))
    loop = prepare(requested, tmp_path / "run", events.append).loop
    answers = iter(scores)
    loop.evaluate = lambda: EvaluationResult({"loss": 1.0}, next(answers), standard_error=0.025)
    loop.schedule = RunSchedule(steps=6, evaluate_every=2, patience=0)
    loop.run()
    assert [each.best for each in events if isinstance(each, Evaluated)] == kept
    assert loop.progress.best == max(scores)


@pytest.mark.slow
@pytest.mark.parametrize("held_out", [0.2, 0.0])
def test_the_weights_that_a_run_keeps_are_their_mean_over_the_steps(
    held_out: float, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    taken: list[dict[str, torch.Tensor]] = []
    requested = recipe(tmp_path, base=write_encoder(tmp_path / "encoder"), held_out=held_out)
    prepared = prepare(
        requested,
        tmp_path / "run",
        lambda event: taken.append(weights_of(prepared)) if isinstance(event, StepTaken) else None,
    )
    if held_out:
        prepared.loop.evaluate = lambda: EvaluationResult({"loss": 1.0}, 0.9, standard_error=0.1)
    prepared.loop.run()
    shares = [2 * step / (len(taken) * (len(taken) + 1)) for step in range(1, len(taken) + 1)]
    for name, mean in weights_of(prepared).items():
        expected = sum(
            share * each[name].double() for share, each in zip(shares, taken, strict=True)
        )
        assert isinstance(expected, torch.Tensor)
        torch.testing.assert_close(mean.double(), expected, rtol=1e-5, atol=1e-6)


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    (tmp_path / checkpoint.CHECKPOINT).write_bytes(b"not tensors")
    with pytest.raises(Exception, match="the checkpoint cannot be read") as told:
        checkpoint.load_checkpoint(tmp_path)
    assert "start again" in str(told.value)


def test_a_checkpoint_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"w": torch.ones(3)}
    checkpoint.save_checkpoint(tmp_path, checkpoint.TrainingProgress(step=1), one, {}, {})

    def torn(tensors: Any, path: Path, *_: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("it is full")

    monkeypatch.setattr(checkpoint, "save_file", torn)
    with pytest.raises(WorkspaceError, match="it is full"):
        checkpoint.save_checkpoint(
            tmp_path, TrainingProgress(step=2), {"w": torch.zeros(3)}, {}, {}
        )
    found = checkpoint.load_checkpoint(tmp_path)
    assert found is not None
    assert found.progress.step == 1
    assert torch.equal(found.weights["w"], one["w"])
    assert len(list(tmp_path.iterdir())) == 1  # the half was removed


@pytest.mark.slow
def test_a_finished_run_keeps_its_report_and_no_weights(tmp_path: Path) -> None:
    requested = recipe(tmp_path)
    with Workspace.init(tmp_path / "home") as workspace:
        result = tune(requested, workspace)
        assert not list(result.folder.glob("*.safetensors"))
        assert (result.folder / "events.jsonl").is_file()
        assert workspace.models.get(result.model).manifest.metrics == result.facts["metrics"]


def test_the_best_weights_of_a_checkpoint_outlive_better_ones_that_are_lost(tmp_path: Path) -> None:
    best = [checkpoint.best_weights_path(tmp_path, step) for step in (10, 20, 30)]
    state = {"w": torch.ones(1)}
    for path in best[:2]:
        checkpoint.write_tensors(path, state, {})
    checkpoint.save_checkpoint(tmp_path, TrainingProgress(step=25, best_step=20), state, {}, {})
    checkpoint.write_tensors(best[2], state, {})
    assert [path.exists() for path in best] == [False, True, True]
    found = checkpoint.load_checkpoint(tmp_path)
    assert found and checkpoint.best_weights_path(tmp_path, found.progress.best_step) == best[1]
    checkpoint.remove_checkpoints(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_that_diverges_is_stopped_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    prepared = prepare(recipe(tmp_path), folder, lambda _: None)
    with torch.no_grad():
        prepared.loop.weights.masters[0][:] = float("nan")
    prepared.loop.weights.copy_to_model()
    with pytest.raises(ModelError, match=r"gradient of step 1 is not a number.*learning_rate"):
        prepared.loop.run()


@pytest.mark.slow
def test_of_many_held_out_examples_some_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are often sorted by class, and the first of them would be of one."""
    data = write_labelled(tmp_path / "held.jsonl", 200)
    rows = sorted(data.read_text().splitlines()[30:], key=lambda row: json.loads(row)["label"])
    data.write_text("".join(f"{each}\n" for each in rows))
    requested = recipe(tmp_path, held_out=data)
    monkeypatch.setattr("moli.training.setup.evaluation._MAX_TOKENS", 500)
    (tmp_path / "run").mkdir()
    prepared = prepare(requested, tmp_path / "run", lambda _: None)
    drawn = [
        each.example
        for each in prepared.data.evaluation_examples
        if isinstance(each.example, Labelled)
    ]
    assert len(drawn) == prepared.facts()["judged"]
    assert 15 < len(drawn) < 60
    assert 0.2 < sum(each.label == "a" for each in drawn) / len(drawn) < 0.8
    read = sum(sample.size for each in prepared.data.evaluation_examples for sample in each.samples)
    assert 400 < read <= 500
    metrics = prepared.loop.evaluate().metrics if prepared.loop.evaluate else {}
    assert metrics["accuracy"] >= 0


@pytest.mark.slow
def test_examples_of_which_nothing_is_learnt_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    asking, answer = ({"role": each, "content": " ".join(WORDS)} for each in ("user", "assistant"))
    rows = [{"messages": [asking, answer]}] * 3
    data = tmp_path / "data.jsonl"
    requested = recipe(tmp_path, "instruction", max_length=8)
    data.write_text("".join(json.dumps(each) + "\n" for each in rows))
    with pytest.raises(InputError, match=r"nothing in the examples can be learnt.*max_length"):
        prepare(requested, tmp_path / "run", lambda _: None)


@pytest.mark.slow
def test_too_few_scored_pairs_to_judge_by_are_told_before_training(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    requested = recipe(tmp_path, "embedding", held_out=0.05)
    rows = [{"text1": WORDS[n], "text2": WORDS[n + 1], "score": n % 3} for n in range(20)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    with pytest.raises(InputError, match="1 held-out example is too few for spearman"):
        prepare(requested, tmp_path / "run", lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize("changed", ["data", "base", "template"])
def test_a_run_whose_ground_has_changed_is_not_resumed(tmp_path: Path, changed: str) -> None:
    template = tmp_path / "template.jinja"
    template.write_text(
        "{% for m in messages %}{{ m.role }} {{ m.content }} {{ eos_token }} {% endfor %}"
        "{% if add_generation_prompt %}assistant {% endif %}"
    )
    requested = recipe(tmp_path, "instruction", method="lora", template=template)
    with pytest.raises(Killed):
        run(requested, tmp_path / "run", kill_at=4)
    if changed == "data":
        write_conversations(tmp_path / "data.jsonl", 31)
    elif changed == "template":
        template.write_text(template.read_text().replace("assistant ", "assistant w1 "))
    else:
        file = tmp_path / "base" / "model.safetensors"
        tensors = load_file(file)
        save_file({name: each * 2 for name, each in tensors.items()}, file, {"format": "pt"})
    with pytest.raises(InputError, match=f"changed since the run started: {changed}"):
        run(requested, tmp_path / "run")
