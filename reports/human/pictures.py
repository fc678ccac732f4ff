"""Pictures of a batch: embedded into forms, and with their regions drawn in for a judge model.

They are looked for as a report's are (reports/thumbnails.py), so that nobody judges a picture that
the run did not see. A batch has all of its pictures or, when asked so, none. PIL inside.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.types import Image
from reports.thumbnails import Folder, Thumbnail

_NAMED = 3
COLOURS = ("#b0125b", "#0a55a6", "#7a4a00", "#00695c", "#5e35b1", "#b71c1c", "#33691e", "#37474f")
"""Of regions in turn; the same as in static/human.js."""


def looked_in(images: str, places: Sequence[str]) -> list[Folder] | None:
    """Return the folders that `--images` means; None where pictures are left out.

    `places` are the folders that the data came from. Raises UsageError for what is no folder.
    """
    if images == "none":
        return None
    if images != "embed":
        return [Folder(Path(images))]
    return [Folder(Path(place)) for place in dict.fromkeys(places) if Path(place).is_dir()]


def collect(
    folders: Sequence[Folder] | None, wanted: Mapping[str, str | None], side: int
) -> dict[str, Thumbnail]:
    """Return pictures of at most `side` pixels as data URIs, by name.

    `wanted` has the hash of the pixels that the run saw. Raises DataError where one is missing.
    """
    return {name: _embedded(path, side) for name, path in _paths(folders, wanted).items()}


def _paths(folders: Sequence[Folder] | None, wanted: Mapping[str, str | None]) -> dict[str, Path]:
    if folders is None:
        return {}
    found: dict[str, Path] = {}
    for name, pixels in wanted.items():
        for folder in folders:
            path = folder.find(name) or folder.find(name.partition("#")[0])
            if path is not None and folder.thumbnail(name, pixels) is not None:
                found[name] = path
                break
    missing = sorted(set(wanted) - set(found))
    if missing:
        some = ", ".join(repr(name) for name in missing[:_NAMED])
        raise DataError(
            f"{len(missing):,} of {len(wanted):,} pictures are not there, or not what the run saw "
            f"({some}{', …' if len(missing) > _NAMED else ''}): nobody can judge without them. "
            "Name their folder (--images FOLDER), or leave all of them out (--images none)"
        )
    return found


def _embedded(path: Path, side: int) -> Thumbnail:
    from PIL import Image as Pictures

    with Pictures.open(path) as opened:
        width, height = opened.size
        rgb = opened.convert("RGB")
    rgb.thumbnail((side, side))
    out = BytesIO()
    rgb.save(out, "WEBP", quality=82, method=4)
    return Thumbnail(f"data:image/webp;base64,{b64encode(out.getvalue()).decode()}", width, height)


def drawn(key: Mapping[str, Any], images: str) -> dict[str, list[Image]]:
    """Return each item's pictures with its regions drawn in, as PNG. Raises DataError."""
    folders = looked_in(images, [str(source["pictures"]) for source in key["sources"]])
    items: Mapping[str, Any] = key["items"]
    wanted = {name: pixels for item in items.values() for name, pixels in item["pictures"]}
    paths = _paths(folders, wanted)
    return {
        name: [
            _Drawn(paths[picture], [r for r in item["regions"] if r["image"] == at]).image(picture)
            for at, (picture, _) in enumerate(item["pictures"])
            if picture in paths
        ]
        for name, item in items.items()
    }


@dataclass(frozen=True)
class _Drawn:
    """A picture that is drawn on when it is read."""

    path: Path
    regions: Sequence[Mapping[str, Any]]

    def image(self, name: str) -> Image:
        """Return it under a name that changes with the file and with what is drawn."""
        content = sha256(self.path.read_bytes() + repr(list(self.regions)).encode()).hexdigest()
        return Image(f"{name}#{content[:16]}", self.read)

    def read(self) -> bytes:
        from PIL import Image as Pictures
        from PIL import ImageDraw, ImageFont

        with Pictures.open(self.path) as opened:
            rgb = opened.convert("RGB")
        pen = ImageDraw.Draw(rgb)
        size = max(rgb.size) / 32
        for at, region in enumerate(self.regions):
            left, top, right, bottom = region["box"]
            colour = COLOURS[at % len(COLOURS)]
            box = (left, top, max(left, right), max(top, bottom))
            pen.rectangle(box, outline="white", width=max(3, round(size / 4)))
            pen.rectangle(box, outline=colour, width=max(2, round(size / 8)))
            label = str(region["label"]).encode("ascii", "replace").decode()
            pen.text((left + size / 4, top + size / 4), label, fill=colour, stroke_width=2,
                     stroke_fill="white", font=ImageFont.load_default(max(10.0, size)))  # fmt: skip
        out = BytesIO()
        rgb.save(out, "PNG")
        return out.getvalue()
