from __future__ import annotations

import json

from moli.records.answers import Fusion
from moli.workspace import Workspace


def test_the_newest_tuning_of_a_language_is_in_force(workspace: Workspace) -> None:
    workspace.tunings.add("en", Fusion("minmax", 0.3), {})
    workspace.tunings.add("zh", Fusion("rrf", 0.5), {})
    workspace.tunings.add("en", Fusion("zscore", 0.7), {})
    assert workspace.tunings.current("en") == Fusion("zscore", 0.7)
    assert workspace.tunings.current("zh") == Fusion("rrf", 0.5)


def test_a_language_that_was_never_tuned_has_none(workspace: Workspace) -> None:
    workspace.tunings.add("en", Fusion("minmax", 0.3), {})
    assert workspace.tunings.current("zh") is None


def test_older_tunings_stay_with_their_evidence(workspace: Workspace) -> None:
    for weight in (0.1, 0.2):
        workspace.tunings.add("en", Fusion("minmax", weight), {"p_value": weight})
    with workspace.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT weight, evidence FROM tunings ORDER BY id").all()
    assert [(row[0], json.loads(row[1])["p_value"]) for row in rows] == [(0.1, 0.1), (0.2, 0.2)]
