from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from samples import ENCODER, new_document, run_python

from moli.models.encoders.hashing import HashEncoder
from moli.retrieval import dense as dense_module
from moli.retrieval.dense import DenseIndex
from moli.workspace import Workspace


def vectors_of(count: int, seed: int = 0) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).standard_normal((count, ENCODER.dimensions))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def put(workspace: Workspace, source: str, vectors: NDArray[np.float32]) -> None:
    parts = [f"{source} {n}. " for n in range(len(vectors))]
    workspace.documents.put([new_document(source, *parts, vectors=vectors)])


def catch_up(index: DenseIndex, workspace: Workspace) -> DenseIndex:
    index.apply(workspace.passages.changes(index.applied), workspace.passages)
    return index


def brute_force(
    stored: NDArray[np.float32], query: NDArray[np.float32], numbers: Sequence[int]
) -> dict[int, float]:
    """Cosines by passage number from 1, of vectors in the precision they are stored in."""
    rows = [number - 1 for number in numbers]
    exact = stored.astype(np.float16).astype(np.float64)[rows] @ query.astype(np.float64)
    order = np.argsort(-exact, kind="stable")
    return {numbers[row]: float(exact[row]) for row in order}


@pytest.fixture
def stored() -> NDArray[np.float32]:
    return vectors_of(200)


@pytest.fixture
def index(workspace: Workspace, tmp_path: Path, stored: NDArray[np.float32]) -> DenseIndex:
    put(workspace, "first", stored[:120])
    put(workspace, "second", stored[120:])
    return catch_up(DenseIndex(tmp_path / "dense", ENCODER), workspace)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 10, 200, 1000])
@pytest.mark.parametrize("within", [None, [], [7], [3, 150, 151, 9999], list(range(50, 130))])
def test_the_nearest_are_those_of_an_exhaustive_search(
    index: DenseIndex, stored: NDArray[np.float32], limit: int, within: list[int] | None
) -> None:
    for query in vectors_of(5, seed=1):
        live = range(1, 201) if within is None else [n for n in within if n <= 200]
        expected = brute_force(stored, query, list(live))
        result = index.search(query, limit, within)
        assert len(result) == min(limit, len(expected))
        assert result == pytest.approx({n: expected[n] for n in result}, abs=2e-3)
        floor = min(result.values(), default=0.0)
        # Whatever was left out is no better than what was kept, within half precision.
        assert all(s <= floor + 2e-3 for n, s in expected.items() if n not in result)
        assert list(result.values()) == sorted(result.values(), reverse=True)


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    index = DenseIndex(tmp_path, ENCODER)
    assert index.search(vectors_of(1)[0], 5) == {}
    assert index.search(vectors_of(1)[0], 5, [1]) == {}
    assert (len(index), index.applied) == (0, 0)


def test_what_is_removed_is_found_no_more(
    index: DenseIndex, workspace: Workspace, stored: NDArray[np.float32]
) -> None:
    workspace.documents.remove([workspace.documents.stored_versions()["first"].document_id])
    catch_up(index, workspace)
    assert len(index) == 80
    assert min(index.search(stored[0], 200)) == 121
    assert index.search(stored[0], 10, [1, 2, 121]).keys() == {121}
    workspace.documents.remove([workspace.documents.stored_versions()["second"].document_id])
    catch_up(index, workspace)
    assert index.search(stored[0], 10) == {}


def test_a_replaced_document_is_found_by_its_new_vectors(
    index: DenseIndex, workspace: Workspace
) -> None:
    fresh = vectors_of(30, seed=9)
    put(workspace, "first", fresh)
    catch_up(index, workspace)
    assert len(index) == 110
    for row, vector in enumerate(fresh):
        assert next(iter(index.search(vector, 1))) == 201 + row


def test_changes_applied_twice_do_no_harm(index: DenseIndex, workspace: Workspace) -> None:
    query = vectors_of(1, seed=4)[0]
    before = index.search(query, 20)
    index.apply(workspace.passages.changes(0), workspace.passages)
    assert len(index) == 200
    assert index.search(query, 20) == before


def test_a_saved_index_is_read_back_and_goes_on_from_there(
    index: DenseIndex, workspace: Workspace, tmp_path: Path
) -> None:
    index.save()
    again = DenseIndex(tmp_path / "dense", ENCODER)
    query = vectors_of(1, seed=4)[0]
    assert again.applied == workspace.passages.last_change()
    assert again.search(query, 20) == index.search(query, 20)
    put(workspace, "third", vectors_of(5, seed=5))
    assert len(catch_up(again, workspace)) == 205


def test_only_the_newest_file_is_kept_and_no_partial_one(
    index: DenseIndex, workspace: Workspace, tmp_path: Path
) -> None:
    index.save()
    (next((tmp_path / "dense").iterdir()) / ".1.usearch.99.part").write_bytes(b"left by a crash")
    put(workspace, "third", vectors_of(5, seed=5))
    catch_up(index, workspace).save()
    assert [path.name for path in (tmp_path / "dense").rglob("*.*")] == ["3.usearch"]


def test_another_encoder_has_an_index_of_its_own(
    index: DenseIndex, workspace: Workspace, tmp_path: Path
) -> None:
    index.save()
    other = DenseIndex(tmp_path / "dense", HashEncoder("scripted:other"))
    assert (len(other), other.applied) == (0, 0)
    # The log is applied, though it holds nothing for this encoder.
    assert len(catch_up(other, workspace)) == 0
    assert other.applied == 2


def test_a_file_of_other_dimensions_is_not_taken(index: DenseIndex, tmp_path: Path) -> None:
    index.save()
    assert len(DenseIndex(tmp_path / "dense", HashEncoder(dimensions=32))) == 0


def test_an_index_that_is_cleared_leaves_no_file(
    index: DenseIndex, workspace: Workspace, tmp_path: Path
) -> None:
    index.save()
    index.clear()
    assert list((tmp_path / "dense").rglob("*.usearch")) == []
    assert (len(index), index.applied) == (0, 0)
    assert len(catch_up(index, workspace)) == 200


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_made_again(
    index: DenseIndex, workspace: Workspace, tmp_path: Path, kept: float
) -> None:
    """In a process of its own: a file of this kind can bring down the program that loads it."""
    index.save()
    (path,) = (tmp_path / "dense").rglob("*.usearch")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    code = """
        import sys
        from pathlib import Path
        from moli.models.encoders.load import HashEncoder
        from moli.retrieval.dense import DenseIndex
        from moli.workspace import Workspace
        with Workspace.open(Path(sys.argv[1])) as workspace:
            index = DenseIndex(Path(sys.argv[2]), HashEncoder())
            index.apply(workspace.passages.changes(index.applied), workspace.passages)
            _, vectors = workspace.passages.vectors("scripted:hash", 1, 200)
            hits = [next(iter(index.search(vector, 1))) for vector in vectors]
            print(len(index), hits == list(range(1, 201)))
    """
    assert run_python(code, workspace.root, tmp_path / "dense") == "200 True\n"


def test_noise_in_place_of_a_file_is_made_again(
    index: DenseIndex, workspace: Workspace, tmp_path: Path
) -> None:
    index.save()
    (path,) = (tmp_path / "dense").rglob("*.usearch")
    path.write_bytes(np.random.default_rng(0).bytes(4096))
    again = DenseIndex(tmp_path / "dense", ENCODER)
    assert len(catch_up(again, workspace)) == 200


@pytest.mark.slow
def test_beyond_the_exact_limit_the_graph_finds_nearly_all_of_the_nearest(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense_module, "EXACT_LIMIT", 10)
    stored = vectors_of(3000, seed=2)
    put(workspace, "first", stored)
    index = catch_up(DenseIndex(tmp_path / "dense", ENCODER), workspace)
    shares = []
    for query in vectors_of(40, seed=3):
        expected = list(brute_force(stored, query, range(1, 3001)))[:10]
        shares.append(len(set(index.search(query, 10)) & set(expected)) / 10)
    assert np.mean(shares) > 0.95


@pytest.mark.slow
def test_the_graph_shows_nothing_that_was_removed(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense_module, "EXACT_LIMIT", 10)
    stored = vectors_of(600, seed=2)
    put(workspace, "gone", stored[:300])
    put(workspace, "kept", stored[300:])
    index = catch_up(DenseIndex(tmp_path / "dense", ENCODER), workspace)
    workspace.documents.remove([workspace.documents.stored_versions()["gone"].document_id])
    catch_up(index, workspace)
    for query in stored[:20]:
        result = index.search(query, 50)
        assert len(result) == 50
        assert min(result) > 300
