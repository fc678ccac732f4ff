"""A floor: the most frequent gold answer of the samples asked. It peeks at the targets.

For `rank` it takes the position at which the gold choice stands most often.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from harness.errors import UsageError
from harness.models._floors import Floor, picked
from harness.types import Answer, Ask, Decoding, Sample


def make(address: str = "") -> Floor:
    """Make the majority answerer; it takes no address."""
    if address:
        raise UsageError(f"'majority' takes no address, found '{address}'")
    return Floor("majority", {"kind": "majority"}, _choose)


def _choose(
    population: Sequence[Sample], samples: Sequence[Sample], ask: Ask, decoding: Decoding
) -> Iterator[Answer]:
    if ask == "generate":
        counts = Counter(sample.target for sample in population)
        text = min(counts, key=lambda target: (-counts[target], target))
        yield from (Answer(text) for _ in samples)
        return
    positions = Counter(s.choices.index(s.target) for s in population if s.target in s.choices)
    best = min(positions, key=lambda at: (-positions[at], at)) if positions else 0
    for sample in samples:
        yield picked(sample, min(best, len(sample.choices) - 1))
