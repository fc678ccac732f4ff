"""Which items make which step of an objective: made of (recipe, number of items, epoch) alone.

Every step has exactly `batch_size` items, since losses compare them with each other: an epoch is a
permutation drawn from (seed, epoch), cut into steps, and the rest that fills none is left to other
epochs. Process r of w takes the r-th of w equal parts of a step, in `pieces` forward passes, so
that what all processes gather is the step in its own order, whatever w and micro_batch are. May
import numpy at the top.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from harness.errors import UsageError
from trainers.recipe import ObjectiveRecipe

Entry = tuple[int, int]
"""(epoch, place of the item)."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class ObjectivePlan:
    """All steps of a run over `items` items on `world` devices."""

    recipe: ObjectiveRecipe
    items: int
    world: int = 1

    def __post_init__(self) -> None:
        """Raise UsageError where a step cannot be filled or dealt evenly."""
        size = self.recipe.batch_size
        if size > self.items:
            raise UsageError(
                f"a step takes batch_size {size:,} items and the data hold {self.items:,}; "
                f"--set batch_size={max(self.items, 1)} or less"
            )
        if size % self.world:
            raise UsageError(f"batch_size {size} cannot be dealt evenly to {self.world} devices")

    @property
    def share(self) -> int:
        """Return the items of a step that one device sees."""
        return self.recipe.batch_size // self.world

    @property
    def pieces(self) -> int:
        """Return the forward passes of a step on one device."""
        return -(-self.share // self.recipe.micro_batch)

    @property
    def per_epoch(self) -> int:
        """Return the steps of an epoch."""
        return self.items // self.recipe.batch_size

    @property
    def total(self) -> int:
        """Return the optimizer steps of the run."""
        return self.recipe.max_steps or max(1, round(self.recipe.epochs * self.per_epoch))

    def epoch(self, number: int) -> list[list[int]]:
        """Return the places of each step of an epoch."""
        order = np.random.default_rng([self.recipe.seed, number]).permutation(self.items)
        size = self.recipe.batch_size
        return [order[i * size : (i + 1) * size].tolist() for i in range(self.per_epoch)]

    def cut(self, share: Sequence[_T]) -> list[Sequence[_T]]:
        """Cut what one device sees of a step into its forward passes, as even as can be."""
        ends = [round(i * len(share) / self.pieces) for i in range(self.pieces + 1)]
        return [share[a:b] for a, b in pairwise(ends)]


class Shares:
    """What one device sees of each step of a run, in order, for a DataLoader."""

    def __init__(self, plan: ObjectivePlan, rank: int) -> None:
        """Go through `plan` as process `rank`."""
        self.plan, self.rank = plan, rank

    def __len__(self) -> int:
        """Return the number of steps."""
        return self.plan.total

    def __iter__(self) -> Iterator[list[Entry]]:
        """Yield the entries of one step after the other."""
        done, epoch, share = 0, 0, self.plan.share
        first = self.rank * share
        while True:
            for step in self.plan.epoch(epoch):
                if done == self.plan.total:
                    return
                yield [(epoch, place) for place in step[first : first + share]]
                done += 1
            epoch += 1


class Items:
    """The items of an objective, asked for by entries."""

    def __init__(self, objective: Any) -> None:
        """Read from `objective`."""
        self.objective = objective

    def __len__(self) -> int:
        """Return the items of an epoch."""
        return len(self.objective)

    def __getitem__(self, entry: Entry) -> Any:
        """Return one item as its objective reads it in that epoch."""
        epoch, place = entry
        return self.objective.read(place, epoch)
