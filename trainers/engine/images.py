"""Pictures to pixels: through the checkpoint's own processor, set as the recipe says.

The settings are written into the processor that is saved, so that the harness prepares a picture
as training did. Pictures are opened as the harness opens them: RGB, EXIF orientation not applied.
May import torch at the top; PIL inside functions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from harness.errors import DataError
from trainers.engine.records import BadRecord
from trainers.recipe import ImageSettings

Pixels = dict[str, torch.Tensor]
"""What the image processor returns for one picture: pixel_values [1, 3, height, width] or
[1, tiles, 3, height, width] with image_sizes [1, 2]."""


def configure(processor: Any, settings: ImageSettings) -> None:
    """Set the image processor as `settings` say. Raises DataError where it cannot do that."""
    images = processor.image_processor
    if settings.aspect == "checkpoint" and settings.size is None and not settings.grid:
        return
    if settings.size is not None:
        side = settings.size
        if getattr(images, "crop_size", None) is None:
            raise DataError(
                f"{type(images).__name__} has no crop size that `images.size` could set"
            )
        images.size = {"shortest_edge": side}
        images.crop_size = {"height": side, "width": side}
    anyres = hasattr(images, "image_grid_pinpoints")
    if settings.aspect == "anyres" and not anyres:
        raise DataError(f"{type(images).__name__} does not cut pictures into tiles (anyres)")
    if settings.aspect in ("pad", "square") and anyres:
        raise DataError(f"{type(images).__name__} cuts pictures into tiles; not {settings.aspect}")
    pads = hasattr(images, "pad_to_square")  # every processor has do_pad, and most ignore it
    if settings.aspect == "pad" and not pads:
        raise DataError(
            f"{type(images).__name__} cannot pad to a square; build the model with LLaVA's own "
            "image processor"
        )
    if settings.aspect in ("pad", "square") and pads:
        images.do_pad = settings.aspect == "pad"
    if settings.grid:
        if not anyres:
            raise DataError(f"{type(images).__name__} has no grid that `images.grid` could set")
        images.image_grid_pinpoints = [list(size) for size in settings.grid]


class Pictures:
    """Sizes, token counts and pixels of the pictures below a folder."""

    def __init__(self, processor: Any, folder: Path | None, cache: str = "none") -> None:
        """Read through `processor`; `cache` "ram" keeps pixels after the first time."""
        self.processor, self.folder = processor, folder
        self._pixels: dict[str, Pixels] | None = {} if cache == "ram" else None
        self._sizes: dict[str, tuple[int, int]] = {}
        self._counts: dict[tuple[int, int], int] = {}

    def path(self, name: str) -> Path:
        """Return where the picture lies. Raises BadRecord when that is outside the folder."""
        if self.folder is None:
            raise BadRecord("image missing", f"{name}: there is no --images folder")
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise BadRecord("image missing", f"{name} lies outside {self.folder}")
        return path

    def size(self, name: str) -> tuple[int, int]:
        """Return height and width in pixels, from the header. Raises BadRecord."""
        if name not in self._sizes:
            self._sizes[name] = self._read(name, whole=False)[:2]
        return self._sizes[name]

    def tokens(self, name: str) -> int:
        """Return how many image tokens the picture takes. Raises BadRecord."""
        return self.tokens_of(self.size(name))

    def tokens_of(self, size: tuple[int, int]) -> int:
        """Return how many image tokens a picture of (height, width) pixels takes."""
        if size not in self._counts:
            ask = self.processor._get_num_multimodal_tokens
            self._counts[size] = int(ask(image_sizes=[list(size)])["num_image_tokens"][0])
        return self._counts[size]

    def pixels(self, name: str) -> Pixels:
        """Return what the model sees. Raises BadRecord when the picture does not decode."""
        if self._pixels is not None and name in self._pixels:
            return self._pixels[name]
        found = self.process(self._read(name, whole=True)[2])
        if self._pixels is not None:
            self._pixels[name] = found
        return found

    def process(self, picture: Any) -> Pixels:
        """Return what the model sees of a PIL picture."""
        out = self.processor.image_processor(images=[picture], return_tensors="pt")
        return {key: torch.as_tensor(value) for key, value in dict(out).items()}

    def blank(self) -> tuple[Pixels, int]:
        """Return a black picture and its number of tokens: a stand-in where there is none."""
        from PIL import Image

        return self.process(Image.new("RGB", (32, 32))), self.tokens_of((32, 32))

    def _read(self, name: str, *, whole: bool) -> tuple[int, int, Any]:
        from PIL import Image

        path = self.path(name)
        try:
            with Image.open(path) as opened:
                width, height = opened.size
                return height, width, opened.convert("RGB") if whole else None
        except FileNotFoundError as error:
            raise BadRecord("image missing", f"{path} does not exist") from error
        except Exception as error:  # PIL raises half a dozen kinds for files that are not pictures
            raise BadRecord("image does not open", f"{path}: {error}") from error


def join(found: Sequence[Pixels]) -> Pixels:
    """Join pictures along their first axis; pictures with fewer tiles are filled up with zeros."""
    out: Pixels = {}
    for key in found[0] if found else ():
        parts = [pixels[key] for pixels in found]
        shape = [max(part.shape[i] for part in parts) for i in range(parts[0].ndim)]
        whole = parts[0].new_zeros((sum(len(part) for part in parts), *shape[1:]))
        at = 0
        for part in parts:
            place = tuple(slice(0, side) for side in part.shape[1:])
            whole[(slice(at, at + len(part)), *place)] = part
            at += len(part)
        out[key] = whole
    return out
