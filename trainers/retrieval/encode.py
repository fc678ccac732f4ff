"""A contrastive model as a maker of unit vectors, and what identifies it.

Vectors of two encoders cannot be compared, so the identity is kept with features, index and
retrieved pairs, and is checked by every stage. It is of the weights and of what makes the inputs
(harness/engine/identity.py), not of the place where they lie. torch is imported inside functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.fingerprint import digest
from trainers.retrieval.features import unit

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, Any]

_SAME = (
    "weights", "adapter_weights", "dtype", "image_processor", "image_processor_sha256",
    "tokenizer_sha256", "text",
)  # fmt: skip


@dataclass(frozen=True)
class Ready:
    """A picture as the model takes it, and the same decoded."""

    pixels: Any
    picture: Any


class Encoder:
    """A dual encoder."""

    def __init__(self, address: str, options: Mapping[str, Any] | None = None) -> None:
        """Load the model at `address`. Raises UsageError where it is no dual encoder."""
        from harness.find import make_model

        model: Any = make_model(address, options)
        if not hasattr(model, "towers"):
            raise UsageError(
                f"{address} has no vectors of images and texts that can be compared; take a dual "
                "encoder such as CLIP or SigLIP"
            )
        self.address = address
        self._towers = model.towers()
        self._facts = model.describe()
        self.width = len(self.texts(["a photo"])[0])

    def identity(self) -> dict[str, Any]:
        """Return what is kept beside the vectors."""
        facts = {key: self._facts.get(key) for key in _SAME}
        facts["text"] = {k: v for k, v in (facts["text"] or {}).items() if k != "truncated"}
        if facts["weights"] is None:  # a hub name: only its name and revision are known
            facts |= {key: self._facts.get(key) for key in ("address", "revision")}
        return {
            "address": self.address, "digest": digest(facts), "width": self.width, **facts
        }  # fmt: skip

    def ready(self, data: bytes, name: str) -> Ready:
        """Decode a picture and make the model's inputs of it; may be called in threads.

        Raises DataError, or what the image processor raises for a shape that it refuses.
        """
        from harness.engine.inputs import open_image
        from harness.types import Image

        picture = open_image(Image(name, data))
        return Ready(self._towers.parts.pixels(picture), picture)

    def images(self, pictures: Sequence[Ready]) -> "Matrix":
        """Return the unit vectors (n, d) of n pictures, in float32; no worth where not finite.

        Nothing is remembered from call to call: what is in a batch decides the last bit of its
        vectors, and a stage that goes on must make the same ones.
        """
        import torch

        from harness.engine.dual import moved, projected

        model = self._towers.model

        def forward(some: Sequence[Any]) -> Any:
            together = {key: torch.cat([pixels[key] for pixels in some]) for key in some[0]}
            return projected(model.get_image_features(**moved(together, model))).cpu()

        return _matrix(self._towers.images.batch.run(forward, [one.pixels for one in pictures]))

    def texts(self, texts: Sequence[str]) -> "Matrix":
        """Return the unit vectors (n, d) of n texts, in float32."""
        tower = self._towers.texts
        return _matrix(tower.batch.run(tower.encode, texts))


def _matrix(rows: Sequence[Any]) -> "Matrix":
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore"):
        return unit(np.stack([row.numpy() for row in rows]).astype(np.float32))


def check_encoder(before: Mapping[str, Any], now: Mapping[str, Any], what: str) -> None:
    """Raise UsageError, naming what differs, unless two identities are of one encoder."""
    if before.get("digest") == now.get("digest"):
        return
    keys = {*before, *now} - {"digest", "address"}
    differing = sorted(key for key in keys if before.get(key) != now.get(key))
    raise UsageError(
        f"{what} of another encoder: {before.get('address')} ({before.get('digest')}), and this is "
        f"{now.get('address')} ({now.get('digest')}); they differ in {', '.join(differing)}. "
        "Vectors of two encoders cannot be compared: take another folder, or that encoder"
    )
