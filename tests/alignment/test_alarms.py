"""Alarms: each rings at its own sign, only when it stays, and never in a healthy run."""

from __future__ import annotations

import json

import pytest

from moli.alignment.alarms import AlarmLimits, Alarms

HEALTHY = {"kl": 2.0, "kl_error": 0.2, "length": 40.0, "repetition": 0.05, "entropy": 2.0}
SIGNS = {
    "the divergence from the reference is 31": {"kl": 31.0},
    "cannot be negative": {"kl": -1.0},
    "answers grew from 40 to 121 tokens": {"length": 121.0},
    "answers repeat themselves: 60%": {"repetition": 0.6},
    "the entropy fell from 2 to 0.1": {"entropy": 0.1},
}


@pytest.mark.parametrize("message", SIGNS)
def test_a_sign_that_stays_stops_a_run(message: str) -> None:
    alarms = Alarms()
    for _ in range(10):
        assert alarms.on_step(HEALTHY) == ""
    bad = HEALTHY | SIGNS[message]
    assert [bool(alarms.on_step(bad)) for _ in range(2)] == [False, False]
    assert message in alarms.on_step(bad)


@pytest.mark.parametrize("message", SIGNS)
def test_a_sign_that_goes_away_stops_nothing(message: str) -> None:
    alarms = Alarms()
    for number in range(30):
        bad = HEALTHY | (SIGNS[message] if number % 3 else {})
        assert alarms.on_step(bad) == ""


def test_an_alarm_can_be_switched_off() -> None:
    alarms = Alarms(AlarmLimits(length_growth=None))
    for length in (40.0, 4000.0, 4000.0, 4000.0, 4000.0):
        assert alarms.on_step(HEALTHY | {"length": length}) == ""


def test_a_held_out_reward_that_falls_while_training_rises_is_gaming() -> None:
    alarms = Alarms(AlarmLimits(patience=2))
    evaluations = [(1.0, 1.0), (1.5, 2.0), (1.45, 3.0), (1.2, 4.0), (1.1, 5.0)]
    messages = [
        alarms.on_evaluation({"reward": reward, "reward_error": 0.1}, training)
        for reward, training in evaluations
    ]
    assert messages[:4] == [""] * 4
    assert messages[4] == (
        "the held-out reward fell from 1.5 to 1.1 while the training reward rose from 2 to 5"
    )


def test_a_reward_that_falls_on_both_sides_is_no_gaming() -> None:
    alarms = Alarms(AlarmLimits(patience=1))
    assert alarms.on_evaluation({"reward": 1.5, "reward_error": 0.1}, 2.0) == ""
    assert alarms.on_evaluation({"reward": 0.5, "reward_error": 0.1}, 1.0) == ""


def test_observations_survive_a_checkpoint() -> None:
    alarms = Alarms()
    for _ in range(7):
        alarms.on_step(HEALTHY)
    bad = HEALTHY | {"repetition": 0.9}
    alarms.on_step(bad)
    other = Alarms()
    other.load_state_dict(json.loads(json.dumps(alarms.state_dict())))
    assert other.on_step(bad) == "" and "repeat" in other.on_step(bad)
