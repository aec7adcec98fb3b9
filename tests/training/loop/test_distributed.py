"""Two processes learn what one learns."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from training.processes import Runner, Story, assert_same, weights_of

from moli.training.loop.distributed import split_micro_batches
from moli.workspace import Workspace

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is an extra: moli[scale]"
)


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    with Runner(tmp_path_factory.mktemp("several")) as runner:
        yield runner


def test_micro_batches_are_split_until_each_process_has_as_many() -> None:
    rows = [(9, 8, 7, 6, 5), (4, 3), (2,)]
    assert split_micro_batches(tuple(rows), 1) == rows
    assert split_micro_batches(tuple(rows), 2) == [(9, 7, 5), (8, 6), (4, 3), (2,)]
    # No row is lost or taken twice, whatever the number, and no more parts are made than rows.
    for parts in range(1, 12):
        split = split_micro_batches(tuple(rows), parts)
        assert sorted(sum(split, ())) == [2, 3, 4, 5, 6, 7, 8, 9]
        assert len(split) % parts == 0 or len(split) == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        {"method": "full"},
        {"method": "lora"},
        {"method": "dora"},
        {"method": "prefix"},  # is padded
        {"method": "full", "batch": 3},  # the last step has one sample, and one process none
        {"task": "instruction", "method": "full"},
        {"task": "instruction", "method": "lora"},
    ],
    ids=lambda values: "-".join(map(str, values.values())),
)
def test_two_processes_learn_what_one_learns(train: Runner, values: Story) -> None:
    recipe = train.recipe(**values)
    assert_same(train(1, recipe), train(2, recipe))


@pytest.mark.slow
def test_two_processes_keep_the_mean_weights_that_one_keeps(train: Runner) -> None:
    recipe = train.recipe(base=train.encoder, learning_rate=1e-3)
    assert_same(train(1, recipe), train(2, recipe))
    begun = train(2, recipe, stop_after=3)
    ended = train(1, run=begun["run"])
    assert_same(
        train(1, recipe), ended | {n: begun[n] + ended[n] for n in ("losses", "norms", "scores")}
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "within"),
    [({"precision": "bf16", "learning_rate": 1e-3}, 2e-2), ({"optimizer": "muon"}, 1e-3)],
    ids=["computing", "muon"],  # which orthogonalises in bfloat16 whatever the precision
)
def test_in_bfloat16_two_processes_keep_to_the_losses_of_one(
    train: Runner, values: Story, within: float
) -> None:
    recipe = train.recipe(**values)
    one, two = train(1, recipe), train(2, recipe)
    assert two["losses"] == pytest.approx(one["losses"], rel=within)
    kinds = {name: each.dtype for name, each in weights_of(one).items()}
    assert kinds == {name: each.dtype for name, each in weights_of(two).items()}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_checkpoint_is_gone_on_from_by_another_number_of_processes(
    train: Runner, method: str, before: int, after: int
) -> None:
    recipe = train.recipe(method=method)
    whole = train(1, recipe)
    # Only the first process is sent the signal; all have to stop at the same step.
    begun = train(before, recipe, stop_after=3)
    assert (begun["status"], len(begun["losses"])) == ("interrupted", 3)
    ended = train(after, run=begun["run"])
    assert ended["status"] == "finished"
    joined = {name: begun[name] + ended[name] for name in ("losses", "norms", "scores")} | {
        "model": ended["model"]
    }
    assert_same(whole, joined)


@pytest.mark.slow
def test_dropout_is_repeated_after_an_interruption(train: Runner) -> None:
    recipe = train.recipe(dropout=0.3)
    whole = train(2, recipe)
    begun = train(2, recipe, stop_after=3)
    ended = train(2, run=begun["run"], anew=True)
    assert begun["losses"] + ended["losses"] == whole["losses"]
    without = train(2, train.recipe())
    assert whole["losses"] != without["losses"]


@pytest.mark.slow
def test_each_process_draws_other_numbers_and_always_the_same() -> None:
    program = (
        "import torch; from moli.training.loop.distributed import join_processes;"
        "world = join_processes();"
        "world.reseed(1, 5); drawn = float(torch.rand(())); world.reseed(1, 5);"
        "assert drawn == float(torch.rand(()));"
        "world.reseed(1, 6); assert drawn != float(torch.rand(()));"
        "other = world.on_rank_zero(lambda: drawn); assert (drawn == other) == (world.rank == 0);"
        "assert world.sum(world.rank + 1) == 3"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    subprocess.run(
        [*command, "--nproc_per_node=2", "--no-python", sys.executable, "-c", program],
        check=True,
        timeout=120,
    )


@pytest.mark.slow
def test_the_command_runs_under_torchrun(train: Runner) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    sets = [f"--set={key}={value}" for key, value in train.recipe().items()]
    command = [*launcher, "-m", "moli", "tune", *sets, "-w", str(train.folder), "--json"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads(done.stdout)["result"]  # one document, by the first process
    assert result["status"] == "finished" and result["model"]


@pytest.mark.slow
@needs_ray
def test_on_a_ray_cluster_the_same_is_learnt(train: Runner) -> None:
    recipe = train.recipe()
    one = train(1, recipe)
    out = train.folder / "ray.json"
    program = (
        "import json, sys; from pathlib import Path;"
        "import os; os.environ['RAY_USAGE_STATS_ENABLED'] = '0';"
        "from ray.cluster_utils import Cluster;"
        "head = {'num_cpus': 2, 'include_dashboard': False};"
        "cluster = Cluster(initialize_head=True, head_node_args=head);"
        "from moli.training.launch import tune_on_ray;"
        "from moli.training.recipes.recipe import make_recipe;"
        "root, recipe, out = sys.argv[1:];"
        "result = tune_on_ray(make_recipe(json.loads(recipe)), Path(root), cluster.address, 2);"
        "Path(out).write_text(json.dumps([result.status, result.model, result.facts['metrics']]));"
        "cluster.shutdown()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(train.folder), json.dumps(recipe), str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    status, name, metrics = json.loads(out.read_text(encoding="utf-8"))
    assert status == "finished"
    assert metrics == pytest.approx(one["facts"]["metrics"], abs=1e-5)
    with Workspace.open(train.folder) as workspace:
        model = {"model": str(workspace.models.get(name).folder)}
    mine, others = weights_of(one), weights_of(model)
    for weight in mine:
        assert (mine[weight] - others[weight]).abs().max() <= 1e-5


@pytest.mark.slow
def test_without_ray_one_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moli.records.errors import InputError
    from moli.training.launch import tune_on_ray
    from moli.training.recipes.recipe import make_recipe

    for name in ("ray", "ray.train", "ray.train.torch"):
        monkeypatch.setitem(sys.modules, name, None)
    recipe = make_recipe({"task": "classification", "data": "x.jsonl"})
    with pytest.raises(InputError, match=r"pip install 'moli\[scale\]'"):
        tune_on_ray(recipe, tmp_path, "local", 2)
