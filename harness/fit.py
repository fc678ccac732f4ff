"""What a task hands to a model that is to be trained for it: images, labels, prompts, rules.

A task that is about fine-tuning puts one `Fit` per training into `Sample.facts["fit"]`, shared by
all samples that the trained model answers. A model whose `fits` is true trains a copy of itself
(harness/engine/finetune.py); the run loop refuses the others. The rules are those of ELEVATER's
toolkit, see harness/probe.py. Imports harness/types and harness/probe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.probe import ELEVATER, Labels, Protocol
from harness.types import Image

Shown = tuple[Sequence[Image], Labels]
"""Images with the positions of the classes of each."""
GRIDS = ("full", "small")
"""What a model may search: the protocol's rates and decays, or a few of them."""


@dataclass(frozen=True, eq=False, slots=True)
class Fit:
    """One training of a model. Two are the same only when they are one object.

    Which training images the search is scored on follows from the labels
    (`harness.probe.hold_out`).
    """

    name: str
    """What is trained on, for messages: data set and seed."""
    classes: tuple[str, ...]
    prompts: Mapping[str, Sequence[str]] | None
    """The prompts of each class, from which the head starts; None: it starts at random."""
    metric: str
    """accuracy, mean_per_class, roc_auc or map11; the last means that images have several classes,
    and another loss."""
    train: Shown
    """In the order of the subset."""
    test: Shown
    """All test images, also when a run asks for a few. Their labels are here because the published
    number is that of the epoch with the best test metric; nothing else may be made of them."""
    search: Shown | None = None
    """Where rate and decay are searched instead of `train`."""
    protocol: Protocol = ELEVATER


def searching(protocol: Protocol, grid: str) -> Protocol:
    """Return the protocol with another grid of rates and decays; epochs stay as they are.

    `small` has 12 candidates instead of up to 90, for poor machines; its numbers are another
    protocol's.
    """
    if grid == "full":
        return protocol
    rates, decays = (1e-5, 1e-4, 1e-3, 1e-2), (1e-6, 1e-4, 1e-2)
    return replace(protocol, rates=rates, decays=decays, stride=1, spans=())
