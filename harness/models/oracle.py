"""The ceiling: answers with the gold answer. A task whose oracle is below 100 has a bug."""

from collections.abc import Iterator, Sequence

from harness.errors import DataError, UsageError
from harness.models._floors import Floor, direction, picked
from harness.types import Answer, Ask, Decoding, Sample


def make(address: str = "") -> Floor:
    """Make the oracle; it takes no address."""
    if address:
        raise UsageError(f"the oracle takes no address, found 'oracle:{address}'")
    return Floor("oracle", {"kind": "oracle"}, _choose, encodes=True)


def _choose(
    population: Sequence[Sample], samples: Sequence[Sample], ask: Ask, decoding: Decoding
) -> Iterator[Answer]:
    for sample in samples:
        if ask == "generate":
            yield Answer(sample.target)
        elif ask == "encode":  # what belongs together has one target
            yield direction(sample.target)
        elif sample.relevance:
            best = max(range(len(sample.choices)), key=sample.relevance.__getitem__)
            yield Answer(scores=sample.relevance, choice=best)
        elif sample.target in sample.choices:
            yield picked(sample, sample.choices.index(sample.target))
        else:
            raise DataError(f"sample {sample.id}: the target is not one of the choices to rank")
