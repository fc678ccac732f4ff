"""A triple's picture as a model's input: opened, regions drawn, varied, made into pixels.

Used by the critic's objective, by scoring, and by the student. Pictures are opened as the harness
opens them: RGB, EXIF orientation not applied. May import torch at the top; PIL inside functions.
"""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from torch import Tensor

from harness.engine.inputs import open_image
from harness.errors import DataError
from harness.types import Image
from trainers.localized.augment import Augment, varied
from trainers.localized.blip2 import Asked, pixels
from trainers.localized.drawing import drawn
from trainers.localized.triples import Triple


class Views:
    """Pictures below a folder, as one processor and one way of drawing make them."""

    def __init__(
        self, processor: Any, folder: Path | None, asked: Asked, augment: Augment = "none"
    ) -> None:
        """Read pictures below `folder`, drawn as `asked` says and varied as `augment` says."""
        self.processor, self.folder, self.asked, self.augment = processor, folder, asked, augment

    def path(self, name: str) -> Path:
        """Return where a picture lies. Raises DataError where that is no file in the folder."""
        if self.folder is None:
            raise DataError(f"{name}: there is no --images folder")
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise DataError(f"{name} lies outside {self.folder}")
        if not path.is_file():
            raise DataError(f"{self.folder / name} does not exist")
        return path

    def picture(self, triple: Triple, ids: Sequence[int]) -> Any:
        """Return the picture (PIL) with the regions `ids` drawn, unless none are to be."""
        opened = open_image(Image(triple.image, self.path(triple.image)))
        return drawn(opened, triple, ids, self.asked.palette) if self.asked.draw else opened

    def pixels(self, triple: Triple, ids: Sequence[int], draw: Random | None = None) -> Tensor:
        """Return the model's input (3, side, side); `draw` decides how the picture is varied."""
        picture = self.picture(triple, ids)
        if self.augment != "none":
            if draw is None:
                raise ValueError("a lot is needed to vary a picture")
            side = self.processor.image_processor.size["height"]
            picture = varied(picture, self.augment, draw, side, _boxes(triple, ids, picture))
        return pixels(self.processor, picture)

    def key(self, triple: Triple, ids: Sequence[int]) -> str:
        """Return what tells a picture that is not varied from all others."""
        boxes = [triple.boxes(id) for id in ids] if self.asked.draw else []
        return f"{triple.image}\n{boxes}"


def _boxes(
    triple: Triple, ids: Sequence[int], picture: Any
) -> list[tuple[float, float, float, float]]:
    across = picture.width / (triple.width or picture.width)
    down = picture.height / (triple.height or picture.height)
    return [
        (left * across, top * down, right * across, bottom * down)
        for id in ids
        for left, top, right, bottom in triple.boxes(id)
    ]
