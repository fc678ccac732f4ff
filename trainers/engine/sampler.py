"""Which samples make which step: a plan made of (recipe, lengths, epoch, devices) alone.

A step is made of `world x accumulation` micro-batches, and rank r takes every world-th of them, so
that a run on more devices sees the same steps. `modality` follows the grouping of
haotian-liu/LLaVA llava_trainer.py: each modality is shuffled and cut into steps of its own, the two
remainders meet in at most one mixed step, and the steps are shuffled; but drawn from (seed, epoch)
rather than a global generator, and with true token counts. May import numpy at the top.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np

from harness.errors import UsageError
from trainers.engine.samples import Index
from trainers.recipe import Recipe

Entry = tuple[int, int, bool]
"""(epoch, position in the index, live). One that is not live only keeps a device busy: it has no
targets."""
Row = tuple[Entry, ...]
"""Samples that share a row; one, unless packing."""
MicroBatch = list[Row]
_FULL = 0.92
"""How full packed rows get on average; the rest is what does not fit."""


@dataclass(frozen=True, eq=False)
class Plan:
    """All steps of a run. `eq=False`: a plan is itself, so its epochs can be remembered."""

    recipe: Recipe
    index: Index
    world: int = 1

    def __post_init__(self) -> None:
        """Raise UsageError where a sample might not fit into a row."""
        if self.recipe.packing and self.capacity < self.recipe.max_length:
            raise UsageError(
                f"a packed row of {self.capacity} tokens cannot hold a sample of max_length "
                f"{self.recipe.max_length}; raise pack_length"
            )

    @property
    def capacity(self) -> int:
        """Return the tokens of a packed micro-batch."""
        return self.recipe.row_length * self.recipe.micro_batch

    @property
    def micro_batches(self) -> int:
        """Return how many micro-batches make a step, over all devices."""
        recipe = self.recipe
        if recipe.packing:
            mean = float(self.index.lengths.mean())
            needed = recipe.batch_size * mean / (_FULL * self.capacity)
        else:
            needed = recipe.batch_size / recipe.micro_batch
        return ceil(max(1, ceil(needed)) / self.world) * self.world

    @property
    def accumulation(self) -> int:
        """Return how many micro-batches a device sees in one step."""
        return self.micro_batches // self.world

    @property
    def total(self) -> int:
        """Return the number of optimizer steps of the run."""
        recipe = self.recipe
        if recipe.max_steps:
            return recipe.max_steps
        whole = int(recipe.epochs)
        steps = sum(len(self.epoch(i)) for i in range(whole))
        rest = recipe.epochs - whole
        return max(1, steps + (round(rest * len(self.epoch(whole))) if rest else 0))

    def steps(self) -> Iterator[tuple[int, list[int]]]:
        """Yield (epoch, positions in the index) of every step of the run."""
        left, epoch = self.total, 0
        while left:
            for step in self.epoch(epoch)[:left]:
                yield epoch, step
                left -= 1
            epoch += 1

    def epoch(self, number: int) -> list[list[int]]:
        """Return the steps of one epoch; every position is in exactly one of them."""
        return _epoch(self, number)

    def split(self, epoch: int, step: Sequence[int]) -> list[MicroBatch]:
        """Return the micro-batches of a step, as many as `micro_batches`."""
        number = self.micro_batches
        lengths = self.index.lengths
        order = sorted(step, key=lambda at: (-int(lengths[at]), at))
        if self.recipe.packing:
            bins = _place(order, lengths, number, self.capacity)[0]
            out: list[MicroBatch] = [
                [tuple((epoch, at, True) for at in one)] for one in bins if one
            ]
        else:
            cuts = [round(i * len(order) / number) for i in range(number + 1)]
            parts = [order[a:b] for a, b in pairwise(cuts) if b > a]
            out = [[((epoch, at, True),) for at in part] for part in parts]
        idle: MicroBatch = [((epoch, order[-1], False),)]
        return out + [idle] * (number - len(out))


@lru_cache(maxsize=4)
def _epoch(plan: Plan, number: int) -> list[list[int]]:
    recipe, index = plan.recipe, plan.index
    draw = np.random.default_rng([recipe.seed, number])
    everything = np.arange(len(index.kept))
    if recipe.sampler == "sequential":
        return _fill(plan, everything.tolist())
    if recipe.sampler == "random":
        return _fill(plan, draw.permutation(everything).tolist())
    full: list[list[int]] = []
    rests: list[list[int]] = []
    for wanted in (True, False):
        order = draw.permutation(everything[index.pictured == wanted]).tolist()
        steps = _fill(plan, order)
        if steps and len(steps[-1]) < recipe.batch_size:
            rests.append(steps.pop())
        full += steps
    shuffled = [full[i] for i in draw.permutation(len(full))]
    return shuffled + _join(plan, rests)


def _join(plan: Plan, rests: list[list[int]]) -> list[list[int]]:
    """Put the incomplete steps of both modalities into one mixed step and what is over."""
    if len(rests) < 2 or plan.recipe.packing:  # packed rows need no equal numbers
        return rests
    return _fill(plan, rests[0] + rests[1])


def _fill(plan: Plan, order: Sequence[int]) -> list[list[int]]:
    """Cut `order` into steps of batch_size samples; fewer where packed rows are full before."""
    size = plan.recipe.batch_size
    if not plan.recipe.packing:
        return [list(order[i : i + size]) for i in range(0, len(order), size)]
    lengths, queue = plan.index.lengths, deque(order)
    out = []
    while queue:
        window = [queue.popleft() for _ in range(min(size, len(queue)))]
        window.sort(key=lambda at: (-int(lengths[at]), at))
        bins, over = _place(window, lengths, plan.micro_batches, plan.capacity)
        out.append([at for one in bins for at in one])
        queue.extendleft(over)
    return out


def _place(
    order: Sequence[int], lengths: Any, number: int, capacity: int
) -> tuple[list[list[int]], list[int]]:
    """Put samples, longest first, into the emptiest of `number` rows; return rows and the rest."""
    bins: list[list[int]] = [[] for _ in range(number)]
    loads = [0] * number
    over = []
    for at in order:
        best = min(range(number), key=loads.__getitem__)
        if loads[best] + int(lengths[at]) > capacity:
            over.append(at)
            continue
        bins[best].append(at)
        loads[best] += int(lengths[at])
    return bins, over


class Batches:
    """The micro-batches of a run in order, for a DataLoader; accelerate deals them to the ranks."""

    def __init__(self, plan: Plan) -> None:
        """Go through `plan`."""
        self.plan = plan
        self.sampler = None  # accelerate looks for one to seed; nothing here is drawn globally

    def __len__(self) -> int:
        """Return the number of micro-batches over all devices."""
        return self.plan.total * self.plan.micro_batches

    def __iter__(self) -> Iterator[MicroBatch]:
        """Yield micro-batches; `world` in a row belong to the same moment of a step."""
        for epoch, step in self.plan.steps():
            yield from self.plan.split(epoch, step)
