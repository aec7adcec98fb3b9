from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moli.training.batching.samples import Batching, Sample, plan_epoch, steps_in_epoch

sizes = st.lists(st.integers(1, 600), min_size=1, max_size=200)
batchings = st.builds(Batching, st.integers(1, 40), st.integers(64, 2000), st.booleans())


@given(sizes, batchings, st.integers(0, 5), st.integers(0, 5))
def test_every_sample_is_in_one_step_of_an_epoch(
    sizes: list[int], batching: Batching, seed: int, epoch: int
) -> None:
    steps = plan_epoch(sizes, batching, seed, epoch)
    rows = [row for step in steps for micro in step for row in micro]
    assert sorted(rows) == list(range(len(sizes)))
    assert len(steps) == steps_in_epoch(len(sizes), batching.batch)
    full = [sum(map(len, step)) for step in steps[:-1]]
    assert full == [batching.batch] * (len(steps) - 1)


@pytest.mark.slow
@given(sizes, batchings)
def test_no_part_is_over_the_limit_but_for_a_sample_that_is(
    sizes: list[int], batching: Batching
) -> None:
    for step in plan_epoch(sizes, batching, 0, 0):
        for micro in step:
            of_each = [sizes[row] for row in micro]
            cost = sum(of_each) if batching.packed else max(of_each) * len(of_each)
            assert batching.max_tokens is not None
            assert cost <= batching.max_tokens or len(micro) == 1


@pytest.mark.slow
@given(sizes, st.booleans())
def test_a_step_that_cannot_be_divided_is_one_part(sizes: list[int], packed: bool) -> None:
    steps = plan_epoch(sizes, Batching(16, None, packed), 0, 0)
    assert all(len(step) == 1 for step in steps)
    assert sorted(row for step in steps for micro in step for row in micro) == [*range(len(sizes))]


def test_order_depends_on_seed_and_epoch_and_on_nothing_else() -> None:
    batching = Batching(4, 1000, packed=True)
    plan = plan_epoch([9] * 50, batching, 1, 2)
    assert plan == plan_epoch([9] * 50, batching, 1, 2)
    assert plan != plan_epoch([9] * 50, batching, 1, 3)
    assert plan != plan_epoch([9] * 50, batching, 2, 2)


def test_padded_samples_of_a_step_are_of_like_size() -> None:
    sizes = np.random.default_rng(0).integers(10, 500, 1600).tolist()
    padded = waste(sizes, packed=False)
    # In random order, the longest of 16 is nearly twice the mean.
    assert padded < 0.1 < waste(sizes, packed=True)


def waste(sizes: list[int], *, packed: bool) -> float:
    """The share of padding, if what is in one step were padded to its longest."""
    steps = plan_epoch(sizes, Batching(16, 1 << 30, packed), 0, 0)
    rows = [[sizes[row] for micro in step for row in micro] for step in steps]
    return 1 - sum(sizes) / sum(max(each) * len(each) for each in rows)


def test_parts_of_a_step_are_few_and_of_equal_size() -> None:
    sizes = [60, 50, 40, 30, 20]
    (step,) = plan_epoch(sizes, Batching(5, 120, packed=True), 0, 0)
    assert sorted(sum(sizes[row] for row in micro) for micro in step) == [90, 110]


def test_there_is_one_part_more_where_equal_ones_do_not_fit() -> None:
    sizes = [50, 50, 40, 30, 30]  # 200, but 50 + 50 and 40 + 30 + 30 come to 100 only by luck
    (step,) = plan_epoch(sizes, Batching(5, 100, packed=True), 0, 0)
    assert len(step) == 3


def test_a_sample_over_the_limit_is_alone_and_the_rest_is_divided() -> None:
    sizes = [300, 40, 40, 10]
    (step,) = plan_epoch(sizes, Batching(4, 50, packed=True), 0, 0)
    of_each = sorted([sizes[row] for row in micro] for micro in step)
    assert of_each == [[40], [40, 10], [300]]


@pytest.mark.parametrize(("parts", "pixels", "size"), [((3, 4), 0, 7), ((), 9, 9)])
def test_a_samples_size_is_what_it_costs(parts: tuple[int, ...], pixels: int, size: int) -> None:
    tokens = tuple(np.zeros(each, np.int32) for each in parts)
    assert Sample(tokens, None, image_patches=pixels).size == size


@pytest.mark.parametrize("packed", [False, True])
def test_without_samples_there_are_no_steps(packed: bool) -> None:
    assert plan_epoch([], Batching(16, 1000, packed), 0, 0) == []


@given(st.lists(st.integers(1, 60), min_size=1, max_size=60), st.integers(1, 40), st.booleans())
def test_groups_stay_whole_in_as_many_steps(sizes: list[int], batch: int, packed: bool) -> None:
    groups = [group for group, size in enumerate(sizes) for _ in range(size)]
    batching = Batching(batch, None, packed)
    steps = [
        [row for micro in step for row in micro]
        for step in plan_epoch([1] * len(groups), batching, 0, 3, groups)
    ]
    assert len(steps) == steps_in_epoch(len(groups), batch)
    assert all(steps)
    assert sorted(row for step in steps for row in step) == list(range(len(groups)))
    most = len(groups) // len(steps)
    for group, size in enumerate(sizes):
        touched = [step for step in steps if any(groups[row] == group for row in step)]
        assert len(touched) == 1 or size > most  # only one that is larger than a step is split


def test_samples_without_groups_are_planned_as_ever() -> None:
    batching = Batching(4, 1000, packed=True)
    assert plan_epoch([9] * 50, batching, 1, 2, [None] * 50) == plan_epoch([9] * 50, batching, 1, 2)
