"""A run on a Ray cluster, which starts its processes and restarts them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from moli.records.errors import InputError, MoliError
from moli.training.recipes.recipe import Recipe
from moli.training.run import RunResult, begin, resume
from moli.workspace import Workspace

_RESTARTS = 3  # if a machine is lost; each one continues from the last checkpoint


def tune_on_ray(
    recipe: Recipe, root: Path, address: str, workers: int = 0, *, force: bool = False
) -> RunResult:
    """Train a recipe in several processes of a Ray cluster.

    Args:
        root: the workspace's folder. Every machine must see it, the data and the base.
        address: the cluster's address, e.g. `10.0.0.1:6379`; "local" starts one for the run.
        workers: processes, each with a GPU if the cluster has enough of them; by default, one
            for each GPU, or for each machine if there is none.
        force: the same as in `tune`.

    Raises:
        InputError: Ray is missing, the cluster does not answer or is too small.
        MoliError: the run itself failed.
    """
    _import_ray()
    import ray

    starts_ray = not ray.is_initialized()
    if starts_ray:
        _connect(address)
    try:
        workers = workers or _default_workers()
        use_gpu = _has_gpu_for_each(workers)
        with Workspace.open(root) as workspace:
            folder = begin(recipe, workspace)
        config = {"root": str(root.absolute()), "run": folder.name, "force": force}
        return _fit(config, folder, workers, use_gpu=use_gpu)
    finally:
        if starts_ray:
            ray.shutdown()


def _import_ray() -> None:
    """Import Ray, without its usage statistics; raise an InputError if it is not installed."""
    # Both are read when Ray is imported, and by the processes that it starts.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    try:
        import ray.train.torch  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"Ray is not installed ({error})", where="--ray", fix="pip install 'moli[scale]'"
        ) from error


def _connect(address: str) -> None:
    """Connect to a Ray cluster, or start one; raise an InputError if it does not answer."""
    import ray

    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"no Ray cluster responds ({str(error).splitlines()[0]})",
            where=address,
            fix="Start one with 'ray start --head', and give its address as HOST:6379.",
        ) from error


def _default_workers() -> int:
    """One worker for each GPU of the cluster, or for each machine if there is none."""
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("GPU", 0)) or len(ray.nodes())  # type: ignore[no-untyped-call]


def _has_gpu_for_each(workers: int) -> bool:
    """Whether there is a GPU for each process.

    Raises:
        InputError: there is not even a CPU for each.
    """
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    if resources.get("GPU", 0) >= workers:
        return True
    if resources.get("CPU", 0) < workers:
        raise InputError(
            f"{workers} workers need as many CPUs, but the cluster has {resources.get('CPU', 0):g}",
            where="Ray",
            fix="Ask for fewer, or add machines with 'ray start --address'.",
        )
    return False


def _fit(config: dict[str, Any], folder: Path, workers: int, *, use_gpu: bool) -> RunResult:
    """Run the workers until the run in the folder has ended.

    Raises:
        InputError: the run failed for a reason of the cluster.
        MoliError: the run failed for a reason of its own.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

    worker: Any = _resume_in_worker
    trainer = TorchTrainer(
        worker,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu),
        run_config=RunConfig(
            name="ray",
            storage_path=str(folder.absolute()),
            failure_config=FailureConfig(max_failures=_RESTARTS),
        ),
    )
    try:
        finished: Any = trainer.fit()
    except TrainingFailedError as error:
        failures = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
        for failure in failures:
            if isinstance(failure, MoliError):
                raise failure from error
        raise InputError(
            f"the run failed on the cluster ({str(error).splitlines()[-1]})",
            where=folder.name,
            fix="The cluster's logs say more; the run can be resumed from its last checkpoint.",
        ) from error
    result: RunResult = finished.return_value
    return result


def _resume_in_worker(config: dict[str, Any]) -> RunResult:
    """Resume the run in one of its processes; a new run is simply resumed from step 0."""
    with Workspace.open(Path(config["root"])) as workspace:
        return resume(config["run"], workspace, force=config["force"])
