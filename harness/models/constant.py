"""A floor: always the same answer. `constant:yes`; without a text, the first choice seen."""

from collections.abc import Iterator, Sequence
from functools import partial

from harness.models._floors import Floor, flat
from harness.types import Answer, Ask, Decoding, Sample


def make(address: str = "") -> Floor:
    """Make a model that says `address` to everything, ranks all choices and encodes all alike."""
    name = f"constant-{address}" if address else "constant"
    described = {"kind": "constant", "says": address or None}
    return Floor(name, described, partial(_choose, address), encodes=True)


def _choose(
    text: str, population: Sequence[Sample], samples: Sequence[Sample], ask: Ask, decoding: Decoding
) -> Iterator[Answer]:
    text = text or next((s.choices[0] for s in population if s.choices), "")
    for sample in samples:
        if ask == "encode":
            yield Answer(features=(1.0,))
        else:
            yield Answer(text) if ask == "generate" else flat(sample, 0)
