"""A floor: another model without the images. `blind:transformers:PATH` measures what words give.

A score that does not rise above the blind one says nothing about vision.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.errors import UsageError
from harness.find import make_model
from harness.types import Ask, Decoding, Image, Model, Reply, Sample


def make(address: str = "", **options: Any) -> "Blind":
    """Make the model at `address` blind; `options` are that model's."""
    if not address:
        raise UsageError("'blind' needs the model to blindfold: blind:transformers:PATH")
    return Blind(make_model(address, options))


class Blind:
    """A model that is shown the prompt without its images and boxes."""

    looks = False
    fits = False  # a model trained on pictures is not blind

    def __init__(self, model: Model) -> None:
        """Wrap `model`."""
        self._model = model
        self.name = f"blind-{model.name}"

    def check_ids(self, known: Collection[str]) -> None:
        """Pass on the ids of the whole task, if the model behind wants them."""
        if hasattr(self._model, "check_ids"):
            self._model.check_ids(known)

    def prepare(self, samples: Sequence[Sample]) -> None:
        """Pass on all samples of the run, if the model behind wants them."""
        if hasattr(self._model, "prepare"):
            self._model.prepare([_without_images(sample) for sample in samples])

    def describe(self) -> Mapping[str, Any]:
        """Return the description of the model behind the blindfold."""
        return {"kind": "blind", "model": dict(self._model.describe())}

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        """Answer from the text alone."""
        return self._model.answer([_without_images(s) for s in samples], ask, decoding)


def _without_images(sample: Sample) -> Sample:
    words = tuple(part for part in sample.prompt if not isinstance(part, Image))
    return replace(sample, prompt=words, regions=())
