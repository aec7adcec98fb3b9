"""Rewards that are Python functions of a file or a module."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from moli.alignment.rewards.sources import hash_source
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.records.errors import InputError, MoliError

_ADVICE = "Name a function of prompts and answers, as FILE.py:FUNCTION or MODULE:FUNCTION."


@dataclass(frozen=True, slots=True)
class FunctionReward:
    """A user's function as a reward.

    Attributes:
        place: the file or module, and the function's name.
        digest: SHA-256 of the source that it is in; of a file with those beside it that it imports.
    """

    function: Callable[..., Sequence[float]]
    place: str
    digest: str

    def __call__(
        self, prompts: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer], /
    ) -> Sequence[float]:
        try:
            return self.function(prompts, answers)
        except MoliError:
            raise
        except Exception as error:
            raise InputError(
                f"the reward failed: {_described(error)}",
                where=self.place,
                fix="Correct the function; it gets the prompts and the answers, whose text is in "
                "'.text', and returns a number for each.",
            ) from error


def load_function(place: str, name: str) -> FunctionReward:
    """A function of a file, which is loaded as a script is, or of a module.

    Raises:
        InputError: there is no such file, module or function, it fails when it is loaded, or it
            takes other arguments.
    """
    where = f"{place}:{name}"
    try:
        module = _module_of_file(Path(place)) if place.endswith(".py") else _module(place)
    except (Exception, SystemExit) as error:
        if isinstance(error, FileNotFoundError) and error.filename == place:
            raise InputError("no such file", where=place, fix="Check the path.") from error
        what = f"the reward cannot be loaded ({_described(error)})"
        raise InputError(what, where=where, fix=_ADVICE) from error
    function = getattr(module, name, None)
    if function is None:
        functions = [each for each, value in vars(module).items() if inspect.isfunction(value)]
        near = difflib.get_close_matches(name, functions, n=1)
        fix = f"Did you mean '{near[0]}'?" if near else _ADVICE
        raise InputError(f"there is no '{name}' in it", where=place, fix=fix)
    _check_function(function, where)
    if place.endswith(".py"):
        digest = hash_source(Path(place))
    else:
        digest = hashlib.sha256(inspect.getsource(module).encode()).hexdigest()
    return FunctionReward(function, where, digest)


def _module(name: str) -> ModuleType:
    return importlib.import_module(name)


def _module_of_file(path: Path) -> ModuleType:
    """The module in a file, which may import the files beside it.

    It is registered by its path, as dataclasses look up the module of their class.
    """
    name = str(path.resolve())
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader  # noqa: S101 - a file of Python has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _check_function(function: Any, where: str) -> None:
    """Check that it can be called with prompts and answers.

    Raises:
        InputError: it cannot, or it has to be awaited.
    """
    if not callable(function):
        fix = "Name a function of prompts and answers."
        raise InputError("not a function", where=where, fix=fix)
    if inspect.iscoroutinefunction(function):
        fix = "Write 'def' instead of 'async def', and run what has to be awaited in asyncio.run()."
        raise InputError("an async function", where=where, fix=fix)
    try:
        signature = inspect.signature(function)
    except ValueError:  # a function written in C has none
        return
    try:
        signature.bind([], [])
    except TypeError as error:
        raise InputError(
            f"the function's arguments are {signature}, not prompts and answers",
            where=where,
            fix="Write it as def reward(prompts, answers); the text of an answer is in '.text'.",
        ) from error


def _described(error: BaseException) -> str:
    """An error by its kind and words, and the last line of Python that led to it."""
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError):  # which names its line
        return words
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    return f"{words}, in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else words
