"""What a trainer other than the LLaVA family's hands to the engine: a model, its data and its loss.

Contrastive models and BLIP-2's students have losses over whole batches and items that are no chats,
so a recipe names a function that makes one `Objective`; steps, precision, several processes,
checkpoints, the log and the manifest of what changed stay the engine's (objective_loop.py). What an
objective can do besides is in the small protocols below; the engine looks whether the methods are
there. May import torch at the top.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from harness.errors import UsageError
from trainers.engine.groups import BASE as BASE
from trainers.recipe import ObjectiveRecipe


class Objective(Protocol):
    """A model that is trained, the items that it sees and what is made small.

    It is made anew, by the same arguments, when a run goes on; then the whole state_dict of its
    model is loaded from the checkpoint, and nothing else is restored. Random numbers come from
    torch's global generators (the engine seeds, saves and restores them) only within `loss`,
    `features` and `loss_of`; everywhere else from (seed, epoch, id).
    """

    model: nn.Module
    """What is trained and checkpointed, in float32 where it trains; the engine moves it to the
    device, casts nothing, and sets `requires_grad` as `members` and the recipe say."""
    members: Mapping[str, str]
    """Names of the parameters that may change, to the group of learning rate that each is in:
    BASE, or a name that the recipe may have among `groups`. The recipe's `trainable` and `frozen`
    narrow them down. A parameter of fewer than two dimensions never decays. A buffer that moves
    (a running mean, a queue) is named too, in any group."""

    def __len__(self) -> int:
        """Return the number of items of an epoch."""
        ...

    def ids(self) -> Sequence[str]:
        """Return the items' ids, in order; randomness is drawn from (seed, epoch, id)."""
        ...

    def read(self, place: int, epoch: int) -> Any:
        """Return item `place` as tensors; the same for the same arguments, in any process.

        Raises DataError naming the item where it cannot be read; that ends the run.
        """
        ...

    def collate(self, items: Sequence[Any]) -> dict[str, Any]:
        """Return the items as one batch of tensors (on the CPU; the engine moves them)."""
        ...

    def loss(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, float]]:
        """Return the mean loss of a batch, a scalar with gradient, and named parts for the log.

        `model` is this objective's own, in training mode, on its device, under autocast where the
        recipe says bf16; several processes wrap nothing, so any of its methods can be called. The
        batch is the micro-batch of this process. Over several micro-batches and processes the
        engine takes the mean of the gradients, weighted by items. A loss that compares items
        across processes gathers features itself (contrast.gathered), and every process then returns
        the loss of all: the mean of their gradients is the gradient of the whole batch.
        """
        ...

    def after_step(self) -> None:
        """Do what follows every step of the optimizer, as a clamp."""
        ...

    def export(self, folder: Path) -> None:
        """Write the model as a directory that `from_pretrained` loads without our code.

        The folder exists. Called by the first process alone, on checkpoints that are evaluated and
        at the end; it leaves `model` as it is. `export_dtype(recipe)` says in which type.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return what run.json says of the data and the model: JSON, no paths of the machine.

        The same for the same data and options: `--resume` refuses a run where it differs.
        """
        ...


@runtime_checkable
class Cached(Protocol):
    """An objective whose loss compares the whole batch, also where it goes in several pieces.

    With more than one micro-batch in a step, features are computed without gradient piece by piece,
    the loss of all of them gives each feature its gradient, and the pieces are computed again to
    hand it on (Gao et al. 2021, arXiv:2101.06983): accumulation does not change the negatives.
    With one micro-batch `loss` is used. `loss(m, b)` must equal `loss_of(m, features(m, b))`.
    """

    def features(self, model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return what the loss needs of the items; the first dimension of each counts them."""
        ...

    def loss_of(
        self, model: nn.Module, features: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of the features of all items of this process, and parts for the log."""
        ...


@runtime_checkable
class Watched(Protocol):
    """An objective with values that people want to see move."""

    def watched(self) -> dict[str, float]:
        """Return them, for `state` in each line of the log."""
        ...


@runtime_checkable
class Scheduled(Protocol):
    """An objective with a schedule of its own."""

    def rate(self, step: int, total: int) -> float | None:
        """Return the share of each group's rate at a step from 0; None: the recipe's schedule."""
        ...


@runtime_checkable
class Pictured(Protocol):
    """An objective that can show its pictures, to be compared with those of evaluated tasks."""

    def pictures(self) -> Iterator[tuple[str, bytes | Path]]:
        """Yield a name and the file, or its bytes, of every picture it trains on."""
        ...


def make(recipe: ObjectiveRecipe, model: Path | None, data: Path, images: Path | None) -> Objective:
    """Return the objective of `recipe`.

    Raises:
        UsageError: The recipe's `objective` cannot be imported; or as the objective says.
        DataError: As the objective says.
    """
    place, _, name = recipe.objective.partition(":")
    try:
        function = getattr(import_module(place), name)
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and not place.startswith(str(error.name)):
            raise  # a library that is not here, not the module that was named
        raise UsageError(f"recipe {recipe.name}: objective {recipe.objective}: {error}") from error
    made: Objective = function(recipe, model, data, images)
    return made


def export_dtype(recipe: ObjectiveRecipe) -> torch.dtype:
    """Return the type of the finished model's weights by the recipe's `save_dtype`."""
    chosen = recipe.save_dtype
    if chosen == "auto":
        chosen = "float32" if recipe.precision == "fp32" else "bfloat16"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[chosen]
