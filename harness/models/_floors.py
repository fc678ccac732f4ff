"""What the floors and ceilings share: they answer without looking, in the order asked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from harness.errors import UsageError
from harness.types import Answer, Ask, Decoding, Reply, Sample

_DIMENSIONS = 64  # enough that no two of 30,000 directions are alike by chance
Choose = Callable[[Sequence[Sample], Sequence[Sample], Ask, Decoding], Iterator[Answer]]
"""(all samples of the run, the samples asked now, ask, decoding) -> answers."""


@dataclass
class Floor:
    """A model that is a rule over the samples themselves."""

    name: str
    description: Mapping[str, Any]
    choose: Choose
    looks: bool = False
    """Whether images are opened; floors never do, so their pixels are not hashed."""
    encodes: bool = False
    """Whether the rule can make up features."""
    population: Sequence[Sample] = ()

    def prepare(self, samples: Sequence[Sample]) -> None:
        """See all samples of the run, so that a resumed run answers as an unbroken one."""
        self.population = samples

    def describe(self) -> Mapping[str, Any]:
        """Return the rule and its settings."""
        return self.description

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        """Answer by the rule. Raises UsageError for `encode` where the rule has no features."""
        if ask == "encode" and not self.encodes:
            raise UsageError(f"the model '{self.name}' has no features to encode")
        yield from enumerate(self.choose(self.population or samples, samples, ask, decoding))


def flat(sample: Sample, choice: int) -> Answer:
    """Return a ranking without opinion (all scores equal) that takes `choice` on the tie."""
    return Answer(scores=(0.0,) * len(sample.choices), choice=choice)


def picked(sample: Sample, choice: int) -> Answer:
    """Return a ranking that puts one choice above the others."""
    return Answer(
        scores=tuple(float(i == choice) for i in range(len(sample.choices))), choice=choice
    )


def direction(text: str) -> Answer:
    """Return features that point in a random direction, always the same for the same text."""
    draw = Random(text)
    return Answer(features=tuple(draw.gauss(0.0, 1.0) for _ in range(_DIMENSIONS)))
