"""Small pictures for a page: WebP of at most 512 pixels a side, as data URIs.

The record holds names and pixel hashes, so pictures are looked for in a folder: by the name as it
stands, then by the last part of it. A name can never lead out of the folder. A file whose pixels
are not those that the model saw is not shown. A name with `#` is a picture that the task drew on:
the one beneath is shown, and boxes are drawn by the page. Imports PIL inside.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

from harness import fingerprint
from harness.errors import UsageError
from harness.types import Image

SIDE = 512
_KINDS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
_MOST = 300_000


@dataclass(frozen=True)
class Thumbnail:
    """A picture in the page, and the size of the original that boxes are measured in."""

    uri: str
    width: int
    height: int


class Folder:
    """Where pictures are looked for."""

    def __init__(self, root: Path) -> None:
        """Take a folder. Raises UsageError where it is none."""
        if not root.is_dir():
            raise UsageError(f"--images {root}: not a folder; give one, or `embed` or `none`")
        self.root = root.resolve()

    @cached_property
    def _by_name(self) -> Mapping[str, Path]:
        found: dict[str, Path] = {}
        for at, path in enumerate(self._walk()):
            found.setdefault(path.name, path)
            if at >= _MOST:
                break
        return found

    def _walk(self) -> Iterator[Path]:
        for path in sorted(self.root.rglob("*")):
            if path.suffix.lower() in _KINDS and path.is_file():
                yield path

    def find(self, name: str) -> Path | None:
        """Return the file of an image name; None where there is none inside the folder."""
        if "\0" in name or not name:
            return None
        direct = (self.root / name).resolve() if len(name) < 1000 else self.root
        if direct.is_relative_to(self.root) and direct.is_file():
            return direct
        last = name.replace("\\", "/").rpartition("/")[2]
        found = self._by_name.get(last)
        return found if found and found.resolve().is_relative_to(self.root) else None

    def thumbnail(self, name: str, pixels: str | None) -> Thumbnail | None:
        """Return a small picture; None where there is none, or where it shows something else."""
        from PIL.Image import DecompressionBombError

        path = self.find(name)
        drawn = path is None and "#" in name
        if drawn:
            path = self.find(name.partition("#")[0])
        if path is None:
            return None
        try:
            if pixels and not drawn and fingerprint.pixels(Image(name, path)) != pixels:
                return None
            return _small(path)
        except (OSError, SyntaxError, ValueError, DecompressionBombError):
            return None  # not a picture, or a broken one: the row says what the model made of it


def _small(path: Path) -> Thumbnail:
    from PIL import Image as Pictures

    with Pictures.open(path) as opened:
        width, height = opened.size
        opened.draft("RGB", (2 * SIDE, 2 * SIDE))
        rgb = opened.convert("RGB")
        rgb.thumbnail((SIDE, SIDE))
    out = BytesIO()
    rgb.save(out, "WEBP", quality=72, method=4)
    return Thumbnail(f"data:image/webp;base64,{b64encode(out.getvalue()).decode()}", width, height)
