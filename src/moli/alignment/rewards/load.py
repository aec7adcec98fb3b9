"""Rewards by what a recipe says of them.

- `safety`: a reward model of the workspace, or `{model: safety, calibrated: false}` for one whose
  calibration speaks against it;
- `{safety: ..., helpfulness: ...}`: two rewards behind the gate, `threshold` beside them;
- `rewards.py:function` or `package.module:function`: a function of prompts and answers;
- `{check: exact_match}`, `{check: number}`, `{regex: PATTERN}`, `{json: SCHEMA}`: checks;
- `{rubric: TEXT, model: NAME}`: points of a chat model; `https://...`: a model elsewhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moli.alignment.rewards.checks import (
    exact_match_reward,
    json_reward,
    number_reward,
    regex_reward,
)
from moli.alignment.rewards.functions import load_function
from moli.alignment.rewards.gate import SAFETY_THRESHOLD, GatedReward
from moli.alignment.rewards.protocol import Reward
from moli.alignment.rewards.remote import RemoteReward
from moli.alignment.rewards.rubric import RubricReward
from moli.alignment.rewards.trained import TrainedReward
from moli.records.errors import InputError
from moli.training.trained.names import check_named_chat, find_stored, load_named_chat
from moli.training.trained.reward_model import check_reward_model, load_reward_model
from moli.workspace import Workspace
from moli.workspace.content import StoredModel

RewardSpec = str | dict[str, Any]
# Checks the name of a reward model; the flag is whether it is refused if its calibration is bad.
NameCheck = Callable[[str, bool], None]
# Loads a stored reward model; the flag is whether it is refused if its calibration is against it.
ModelLoader = Callable[[StoredModel, bool], Reward]

PARTS = ("safety", "helpfulness")  # keys of a reward whose values are rewards, too

_CHECKS = {"exact_match": exact_match_reward, "number": number_reward}
# The keys of each kind of reward that is a mapping: needed ones, then others.
_KINDS: tuple[tuple[set[str], set[str]], ...] = (
    ({"safety", "helpfulness"}, {"threshold"}),
    ({"check"}, set()),
    ({"regex"}, set()),
    ({"json"}, set()),
    ({"rubric", "model"}, set()),
    ({"model"}, {"calibrated"}),
)


@dataclass(frozen=True, slots=True)
class LoadedReward:
    """A reward, and the hashes of what it was loaded from.

    Attributes:
        hashes: hashes by name of models and of files with functions.
    """

    reward: Reward
    hashes: Mapping[str, str]


def check_reward_spec(spec: RewardSpec, where: str) -> None:
    """Check what a recipe says of a reward, without loading it.

    Raises:
        InputError: it is no reward.
    """
    if isinstance(spec, str):
        if not spec.strip():
            raise InputError("the reward is empty", where=where, fix=_kinds_advice())
        if spec.endswith(".py"):
            fix = f"Write {spec}:FUNCTION, with the function's name."
            raise InputError(f"'{spec}' names no function of the file", where=where, fix=fix)
        return
    if not isinstance(spec, Mapping) or not any(
        needed <= spec.keys() <= needed | others for needed, others in _KINDS
    ):
        keys = ", ".join(map(str, spec)) if isinstance(spec, Mapping) else repr(spec)
        raise InputError(
            f"a reward with {keys or 'no keys'} is of no known kind",
            where=where,
            fix=_kind_advice(spec) if isinstance(spec, Mapping) else _kinds_advice(),
        )
    threshold = spec.get("threshold", SAFETY_THRESHOLD)
    if not isinstance(threshold, int | float) or not 0 < threshold < 1:
        raise InputError(
            f"'threshold' is {threshold!r}, not a probability between 0 and 1",
            where=where,
            fix=f"Leave it out for {SAFETY_THRESHOLD}.",
        )
    if (check := spec.get("check")) is not None and check not in _CHECKS:
        raise InputError(
            f"there is no check '{check}'", where=where, fix=f"There are: {', '.join(_CHECKS)}."
        )
    for part in PARTS:
        if part in spec:
            check_reward_spec(spec[part], where)


def _kind_advice(spec: Mapping[str, Any]) -> str:
    """The key that was meant, or the one that is missing."""
    known = {key for needed, others in _KINDS for key in needed | others}
    if unknown := [str(key) for key in spec if key not in known]:
        near = difflib.get_close_matches(unknown[0], sorted(known), n=1)
        return f"Did you mean '{near[0]}'?" if near else _kinds_advice()
    missing = {key for needed, _ in _KINDS if needed & spec.keys() for key in needed - spec.keys()}
    return f"Add '{missing.pop()}'." if len(missing) == 1 else _kinds_advice()


def _kinds_advice() -> str:
    kinds = ", ".join("{" + ", ".join(sorted(needed)) + "}" for needed, _ in _KINDS)
    return f"Give a reward model, FILE.py:FUNCTION, MODULE:FUNCTION, a URL, or one of {kinds}."


def check_reward(
    spec: RewardSpec, workspace: Workspace, check_name: NameCheck | None = None
) -> None:
    """Check that what a reward names is there and can be used, without loading a model.

    Args:
        check_name: checks names of reward models in another way, such as those of stages.

    Raises:
        NotFoundError: there is no such model; similar names are suggested.
        InputError: there is no such function, an expression or a schema is malformed, or a reward
            model should not be used as a reward.
        ModelError: a chat model has no files on this machine.
    """

    def check_stored(name: str, is_strict: bool) -> None:
        check_reward_model(find_stored(workspace.models, name), must_be_calibrated=is_strict)

    if isinstance(spec, str) and ":" not in spec:
        (check_name or check_stored)(spec, True)
    elif isinstance(spec, str) or {"check", "regex", "json"} & spec.keys():
        load_reward(spec, workspace)
    elif "rubric" in spec:
        check_named_chat(str(spec["model"]), workspace)
    elif "model" in spec:
        (check_name or check_stored)(str(spec["model"]), bool(spec.get("calibrated", True)))
    for part in PARTS:
        if not isinstance(spec, str) and part in spec:
            check_reward(spec[part], workspace, check_name)


def load_reward(
    spec: RewardSpec, workspace: Workspace, load_model: ModelLoader | None = None
) -> LoadedReward:
    """The reward that a recipe names.

    Args:
        load_model: loads reward models in another way, such as on a base that is there already.

    Raises:
        NotFoundError: there is no such model.
        InputError: there is no such function, or a reward model should not be used as a reward.
        ModelError: a model cannot be loaded.
    """
    if isinstance(spec, str):
        return _named_reward(spec, workspace, load_model)
    if "helpfulness" in spec:
        safety = load_reward(spec["safety"], workspace, load_model)
        helpfulness = load_reward(spec["helpfulness"], workspace, load_model)
        threshold = spec.get("threshold", SAFETY_THRESHOLD)
        gated = GatedReward(safety.reward, helpfulness.reward, threshold)
        return LoadedReward(gated, {**safety.hashes, **helpfulness.hashes})
    if "rubric" in spec:
        chat = load_named_chat(spec["model"], workspace)
        return LoadedReward(RubricReward(chat, str(spec["rubric"])), {chat.name: ""})
    if "model" in spec:
        is_strict = bool(spec.get("calibrated", True))
        return _trained_reward(str(spec["model"]), workspace, load_model, is_strict=is_strict)
    if "check" in spec:
        return LoadedReward(_CHECKS[spec["check"]](), {})
    if "regex" in spec:
        return LoadedReward(regex_reward(str(spec["regex"])), {})
    return LoadedReward(json_reward(spec["json"]), {})


def _named_reward(spec: str, workspace: Workspace, load_model: ModelLoader | None) -> LoadedReward:
    """The reward behind a URL, a function's place or a model's name."""
    if spec.startswith(("http://", "https://")):
        return LoadedReward(RemoteReward(spec), {spec: ""})
    place, _, function = spec.rpartition(":")
    if not place:
        return _trained_reward(spec, workspace, load_model)
    reward = load_function(place, function)
    return LoadedReward(reward, {f"{Path(place).name}:{function}": reward.digest})


def _trained_reward(
    name: str, workspace: Workspace, load_model: ModelLoader | None, *, is_strict: bool = True
) -> LoadedReward:
    """A reward model of the workspace."""
    stored = find_stored(workspace.models, name)
    if load_model:
        reward = load_model(stored, is_strict)
    else:
        reward = TrainedReward(load_reward_model(stored, workspace), is_strict)
    return LoadedReward(reward, {stored.name: stored.hash})
