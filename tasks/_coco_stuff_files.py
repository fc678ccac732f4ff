"""COCO-Stuff's pixel maps: which class each pixel of a picture has.

`stuffthingmaps_trainval2017.zip` of nightrome/cocostuff: one PNG per picture with a byte per pixel,
the id of the class minus 1, and 255 where nothing is labelled. Imports numpy and PIL inside.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import DataError
from harness.types import Image
from tasks._coco_names import STUFF, THINGS
from tasks._data import data_folder, image_finder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLASSES: Mapping[int, str] = {**THINGS, **STUFF}
"""Id to name of the 171 classes, in the order in which they are numbered from 0."""
PICTURES = {"val2017": 5_000, "train2017": 118_287}
UNLABELLED = 255


@dataclass(frozen=True)
class Maps:
    """The pixel maps of one split, in the order of their names."""

    folder: Path
    split: str
    version: str
    """The split where there are as many maps as in the published one, else `custom`."""
    root: Path
    paths: tuple[Path, ...]

    def image(self, path: Path) -> Image:
        """Return the picture that a map belongs to."""
        found: Image = self._find(f"{path.stem}.jpg")
        return found

    @cached_property
    def _find(self) -> Any:
        return image_finder(self.root, (self.split, f"images/{self.split}", "images"))


def load(data: str | None, task: str) -> Maps:
    """Find the maps below `data`: those of val2017, or of the only folder that has some.

    Raises DataError where there are none.
    """
    root = data_folder(data, task)
    places = [root / "stuffthingmaps", root / "annotations", root]
    folders = [
        folder
        for place in places
        for folder in sorted(p for p in place.glob("*") if p.is_dir())
        if next(folder.glob("*.png"), None)
    ]
    chosen = next((f for f in folders if f.name == "val2017"), None)
    if chosen is None and len(folders) == 1:
        chosen = folders[0]
    if chosen is None:
        raise DataError(
            f"{root}: expected COCO-Stuff's pixel maps in stuffthingmaps/val2017/*.png, found "
            f"{', '.join(str(f.relative_to(root)) for f in folders) or 'none'}; unpack "
            "stuffthingmaps_trainval2017.zip there"
        )
    paths = tuple(sorted(p for p in chosen.glob("*.png") if not p.stem.endswith("_labelTrainIds")))
    if not paths:
        raise DataError(f"{chosen}: only maps that mmseg converted; unpack the official ones")
    split = chosen.name
    version = split if PICTURES.get(split) == len(paths) else "custom"
    return Maps(chosen, split, version, root, paths)


def read_map(path: Path) -> "NDArray[np.int64]":
    """Return the classes (height, width) of a map, 0 to 170, and 171 where nothing is labelled.

    Raises DataError naming the file where it is none.
    """
    import numpy as np
    from PIL import Image as Pictures

    try:
        with Pictures.open(path) as opened:
            opened.load()
            values = np.asarray(opened) if opened.mode in ("L", "P") else None
    except Exception as error:  # PIL raises half a dozen kinds for files that are not pictures
        raise DataError(f"{path}: not a picture ({error}); fetch the file again") from error
    if values is None:
        raise DataError(f"{path}: expected a byte per pixel, found a colour picture")
    table = np.full(256, -1, np.int64)
    table[[id - 1 for id in CLASSES]] = np.arange(len(CLASSES))
    table[UNLABELLED] = len(CLASSES)
    places: NDArray[np.int64] = table[values]
    if (places < 0).any():
        strange = int(values[places < 0][0])
        raise DataError(
            f"{path}: the value {strange} is no class of COCO-Stuff; expected its id minus 1, or "
            f"{UNLABELLED} for no label"
        )
    return places
