from __future__ import annotations

import json

import pytest

from moli.records.answers import Fusion
from moli.workspace import Workspace


def test_the_newest_tuning_of_a_language_is_in_force(workspace: Workspace) -> None:
    workspace.tunings.add("e5", "en", "en", Fusion("minmax", 0.3), {})
    workspace.tunings.add("e5", "zh", "zh", Fusion("rrf", 0.5), {})
    workspace.tunings.add("e5", "en", "en", Fusion("zscore", 0.7), {})
    assert workspace.tunings.current("e5", "en", "en") == Fusion("zscore", 0.7)
    assert workspace.tunings.current("e5", "zh", "zh") == Fusion("rrf", 0.5)


@pytest.mark.parametrize(
    "never", [("e5", "zh", "zh"), ("e5", "en", "zh"), ("e5", "zh", "en"), ("other", "en", "en")]
)
def test_what_was_never_tuned_has_none(workspace: Workspace, never: tuple[str, str, str]) -> None:
    workspace.tunings.add("e5", "en", "en", Fusion("minmax", 0.3), {})
    assert workspace.tunings.current(*never) is None


def test_older_tunings_stay_with_their_evidence(workspace: Workspace) -> None:
    for weight in (0.1, 0.2):
        workspace.tunings.add("e5", "en", "en", Fusion("minmax", weight), {"p_value": weight})
    with workspace.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT weight, evidence FROM tunings ORDER BY id").all()
    assert [(row[0], json.loads(row[1])["p_value"]) for row in rows] == [(0.1, 0.1), (0.2, 0.2)]
