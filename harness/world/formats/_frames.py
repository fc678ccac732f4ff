"""Film frames as VCR names them, which VisualCOMET and Sherlock use too.

`vcr1images/<movie>/<frame>.jpg` with a .json of detections beside it: boxes with a confidence,
polygons, class names without spaces, width and height. A scene is one frame of a film of its place.
Imports harness.world.scene.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.world.formats._paper import document
from harness.world.scene import Scene, Thing, World

_PER_FILM = 20
"""Scenes of one film; VCR has about as many frames of a clip's film."""


@dataclass(frozen=True)
class Frame:
    """Where a scene lies among the frames, and the detections on it."""

    movie: str
    image: str
    """`<movie folder>/<frame>.jpg`, as `img_fn` has it."""
    metadata: str
    things: tuple[Thing, ...]
    """In the order of the detections: people first, each group by id; position = object id."""

    def number(self, thing: Thing) -> int:
        """Return the object id of a thing, from 0."""
        return self.things.index(thing)


def frame(scene: Scene) -> Frame:
    """Return the frame that a scene is."""
    film = f"The_{scene.place.title()}_{scene.split.title()}_{scene.id // _PER_FILM}"
    stem = f"movieclips_{film}/{scene.id:06d}@0"
    return Frame(film, f"{stem}.jpg", f"{stem}.json", (*scene.people, *scene.objects))


def place_frame(world: World, scene: Scene, folder: Path) -> None:
    """Put picture and metadata of a scene below `folder` (vcr1images)."""
    at = frame(scene)
    world.place(scene, folder / at.image)
    document(folder / at.metadata, metadata(scene, at.things))


def metadata(scene: Scene, things: tuple[Thing, ...]) -> dict[str, Any]:
    """Return what VCR's detector would have written about a frame, had it made no mistake."""
    return {
        "boxes": [[round(float(x), 2) for x in thing.box] + [1.0] for thing in things],
        "segms": [[[[round(float(v), 2) for v in xy] for xy in t.outline]] for t in things],
        "names": [thing.kind.replace(" ", "") for thing in things],
        "width": scene.width,
        "height": scene.height,
    }
