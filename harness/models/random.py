"""A floor: a fair guess among the choices, or among all gold answers where there are none.

The draw depends on the seed and the sample's id alone, so order and resume do not change it.
"""

from collections.abc import Iterator, Sequence
from random import Random

from harness.errors import UsageError
from harness.models._floors import Floor, direction, picked
from harness.types import Answer, Ask, Decoding, Sample


def make(address: str = "") -> Floor:
    """Make the guesser; its seed is the run's (`--seed`)."""
    if address:
        raise UsageError(f"'random' takes no address, found '{address}'; give --seed for the seed")
    return Floor("random", {"kind": "random"}, _choose, encodes=True)


def _choose(
    population: Sequence[Sample], samples: Sequence[Sample], ask: Ask, decoding: Decoding
) -> Iterator[Answer]:
    pool = sorted({sample.target for sample in population})
    for sample in samples:
        # salted: a task that shuffles by the same words would otherwise answer itself
        draw = Random(f"random/{decoding.seed}/{sample.id}")
        if ask == "generate":
            yield Answer(draw.choice(sample.choices or pool))
        elif ask == "encode":
            yield direction(f"{decoding.seed}/{sample.id}")
        else:
            yield picked(sample, draw.randrange(len(sample.choices)))
