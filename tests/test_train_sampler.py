"""The plan of steps: every sample once, modalities apart, the same on any number of devices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from trainers.engine.sampler import Batches, Plan
from trainers.engine.samples import Index
from trainers.recipe import Recipe

many = settings(max_examples=60, deadline=None)


def index(lengths, pictured):
    numbers = np.asarray(lengths, dtype=np.int64)
    return Index(np.arange(len(numbers)), numbers, numbers // 2, np.asarray(pictured, dtype=bool))


def plan(found, world=1, **changes):
    recipe = {"name": "r", "max_length": 64, **changes}
    return Plan(Recipe.model_validate(recipe), found, world)


@st.composite
def indexes(draw):
    size = draw(st.integers(1, 60))
    seed = draw(st.integers(0, 2**20))
    numbers = np.random.default_rng(seed)
    share = draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))
    return index(numbers.integers(2, 65, size), numbers.random(size) < share)


@many
@given(indexes(), st.integers(1, 9), st.integers(1, 5), st.integers(1, 3),
       st.sampled_from(["random", "modality", "sequential"]), st.booleans())  # fmt: skip
def test_every_sample_is_in_one_step_and_one_micro_batch(found, batch, micro, world, kind, packing):
    made = plan(found, world, batch_size=batch, micro_batch=micro, sampler=kind, packing=packing)
    steps = made.epoch(0)
    assert sorted(at for step in steps for at in step) == list(range(len(found.kept)))
    for step in steps:
        assert 0 < len(step) <= batch
        parts = made.split(0, step)
        assert len(parts) == made.micro_batches and len(parts) % world == 0
        live = [at for part in parts for row in part for _, at, on in row if on]
        assert sorted(live) == sorted(step)
        assert all(part and all(row for row in part) for part in parts)
        for part in parts:
            if packing:
                assert sum(found.lengths[at] for row in part for _, at, _ in row) <= made.capacity
            else:
                assert len(part) <= micro


@many
@given(indexes(), st.integers(1, 9))
def test_at_most_one_step_mixes_modalities_and_it_is_at_the_end(found, batch):
    steps = plan(found, batch_size=batch, micro_batch=2, sampler="modality").epoch(3)
    mixed = [
        i for i, step in enumerate(steps) if len({bool(found.pictured[at]) for at in step}) > 1
    ]
    assert len(mixed) <= 1 and all(i >= len(steps) - 2 for i in mixed)


@many
@given(indexes(), st.sampled_from(["random", "modality"]))
def test_the_order_depends_on_seed_and_epoch_alone(found, kind):
    def order(epoch, seed=1, world=1):
        return plan(found, world, batch_size=4, micro_batch=2, sampler=kind, seed=seed).epoch(epoch)

    state = np.random.get_state()[1].copy()
    assert order(0) == order(0) == order(0, world=2)
    assert (np.random.get_state()[1] == state).all()
    if len(found.kept) > 20:
        assert order(0) != order(1) and order(0) != order(0, seed=2)


def test_two_devices_see_the_steps_of_one():
    found = index(range(2, 42), [True] * 40)
    one = plan(found, 1, batch_size=8, micro_batch=2)
    two = plan(found, 2, batch_size=8, micro_batch=2)
    assert list(Batches(one)) == list(Batches(two))
    assert (one.accumulation, two.accumulation) == (4, 2)


def test_neighbours_of_a_step_have_near_lengths():
    found = index(np.random.default_rng(0).integers(2, 65, 64), [True] * 64)
    made = plan(found, 2, batch_size=32, micro_batch=4)
    padded = 0
    for step in made.epoch(0):
        for part in made.split(0, step):
            sizes = [found.lengths[row[0][1]] for row in part]
            padded += max(sizes) * len(sizes)
    assert padded < 1.25 * found.lengths.sum()


@pytest.mark.parametrize(
    ("epochs", "max_steps", "wanted"), [(1, 0, 10), (2, 0, 20), (0.5, 0, 5), (1.25, 0, 12),
                                        (1, 3, 3), (1, 25, 25)],
)  # fmt: skip
def test_the_number_of_steps(epochs, max_steps, wanted):
    found = index([5] * 40, [True] * 40)
    made = plan(found, batch_size=4, micro_batch=2, epochs=epochs, max_steps=max_steps)
    assert made.total == wanted == len(list(made.steps()))
    assert len(Batches(made)) == wanted * 2 == len(list(Batches(made)))
    assert {epoch for epoch, _ in made.steps()} == set(range(-(-wanted // 10)))


def test_packed_rows_are_nearly_full():
    found = index(np.random.default_rng(0).integers(4, 65, 384), [True] * 384)
    made = plan(found, batch_size=64, micro_batch=1, packing=True, pack_length=512)
    used = made.micro_batches * made.capacity * len(made.epoch(0))
    assert found.lengths.sum() / used > 0.8


def test_a_row_that_cannot_hold_a_sample_is_refused():
    with pytest.raises(UsageError, match="pack_length"):
        plan(index([5], [True]), packing=True, pack_length=32, micro_batch=1)
