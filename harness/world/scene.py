"""What a scene holds. Read this file first: every renderer and every format speaks these nouns.

A scene is drawn from a seed (harness/world/draw.py), rendered (harness/world/render.py) and
written in the official format of every benchmark (harness/world/formats). Whatever a file says
about a picture follows from these facts alone, so that every gold answer is true by construction.
Frozen data; imports only the standard library and harness.errors.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

Split = Literal["train", "test"]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels, left < right, top < bottom, inside the picture."""


@dataclass(frozen=True, slots=True)
class Person:
    """What a person has that a thing has not."""

    name: str
    """A given name; never drawn, used where a format gives people names."""
    gender: Literal["man", "woman"]
    shirt: str
    """Colour word of the shirt; `Thing.colour` of a person is the same word."""
    hair: str
    """Colour word of the hair."""
    mood: Literal["happy", "sad", "surprised"]
    """Drawn as the mouth."""
    action: str
    """Key of `harness.world.lore.ACTIONS`: "hold", "read", "point", "walk", "sit", "wave", ..."""
    object: int | None
    """Id of the thing that the action is done to; None for actions without one."""
    gaze: int | None
    """Id of what the person looks at (the pupils point there); None: looks at the viewer."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One object or person of a scene."""

    id: int
    """Unique within the scene, from 1, in no meaningful order."""
    kind: str
    """A COCO category name ("dog", "sports ball", "person"): key of `lore.KINDS`."""
    colour: str
    """Key of `lore.COLOURS`; the colour of the largest part that is drawn."""
    size: Literal["small", "large"]
    material: str
    """Key of `lore.MATERIALS`: "plain", "striped", "dotted", "shiny"; "" for people."""
    box: Box
    """The tight box around the visible pixels."""
    outline: tuple[tuple[float, float], ...]
    """Its convex hull in pixels: 3 or more corners of a closed polygon, none repeated."""
    depth: int
    """Order of drawing; larger is nearer to the viewer."""
    text: str = ""
    """What is written on it; legible in the picture. Only some kinds (signs, books) have it."""
    person: Person | None = None
    """Not None exactly when `kind` is "person"."""

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box, x and y in pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


@dataclass(frozen=True, slots=True)
class Relation:
    """`subject` stands in relation `name` to `object`, both ids of things."""

    subject: int
    name: str
    """Key of `lore.RELATIONS`: "to the left of", "above", "near", "on", "holding", ..."""
    object: int


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture's contents."""

    id: int
    """Unique in the world over both splits, from 1."""
    split: Split
    place: str
    """Key of `lore.PLACES` ("kitchen", "street", "park", "beach", "office", "bedroom")."""
    indoors: bool
    time: Literal["day", "night"]
    width: int
    height: int
    things: tuple[Thing, ...]
    """Sorted by id; objects and people; overlaps are small enough that each stays recognisable."""
    relations: tuple[Relation, ...]
    """Only those that nobody would dispute: pairs too close to call are left out."""

    @property
    def people(self) -> tuple[Thing, ...]:
        """The things that are persons, by id."""
        return tuple(thing for thing in self.things if thing.person)

    @property
    def objects(self) -> tuple[Thing, ...]:
        """The things that are not persons, by id."""
        return tuple(thing for thing in self.things if not thing.person)

    def thing(self, number: int) -> Thing:
        """Return the thing with this id. Raises KeyError when there is none."""
        for thing in self.things:
            if thing.id == number:
                return thing
        raise KeyError(number)

    def of_kind(self, kind: str) -> tuple[Thing, ...]:
        """Return the things of this kind, by id."""
        return tuple(thing for thing in self.things if thing.kind == kind)


@dataclass(frozen=True, slots=True)
class Clip:
    """A short film: frames of one scene in which one thing moves or something happens."""

    id: int
    split: Split
    frames: tuple[Scene, ...]
    """8 or so; the scenes share their things' ids and their size; their `id` is the clip's."""
    event: str
    """Key of `lore.EVENTS`: "moves left", "moves right", "rises", "falls", "appears", ..."""
    subject: int
    """Id of the thing that it happens to."""


@dataclass(frozen=True)
class World:
    """All scenes of a folder, with their pictures."""

    out: Path
    seed: int
    shifts: tuple[str, ...]
    """Names of the distribution shifts in force, of `lore.SHIFTS`; empty: none."""
    scenes: tuple[Scene, ...]
    clips: tuple[Clip, ...]
    options: Mapping[str, object] = field(default_factory=dict)

    def split(self, name: Split) -> tuple[Scene, ...]:
        """Return the scenes of one split, in the order of their ids."""
        return tuple(scene for scene in self.scenes if scene.split == name)

    def picture(self, scene: Scene) -> Path:
        """Return where the rendered picture of a scene is, a JPEG below `out`/images."""
        part = {"train": "train2014", "test": "val2014"}[scene.split]
        return self.out / "images" / part / f"COCO_{part}_{scene.id:012d}.jpg"

    def place(self, scene: Scene, target: Path) -> None:
        """Make the picture of a scene available at `target` too: a hard link, or else a copy.

        Raises OSError when the disk refuses both.
        """
        import shutil

        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            target.hardlink_to(self.picture(scene))
        except OSError:
            shutil.copyfile(self.picture(scene), target)

    def frames(self, clip: Clip) -> tuple[Path, ...]:
        """Return the rendered frames of a clip, JPEG files below `out`/clips, in order."""
        folder = self.out / "clips" / f"{clip.id:06d}"
        return tuple(folder / f"{number:02d}.jpg" for number in range(len(clip.frames)))

    def draw(self, *key: object) -> Random:
        """Return a random source that depends on the world's seed and `key` alone.

        A format draws with its own name first in the key, so that formats do not disturb each
        other: `world.draw("gqa", scene.id)`.
        """
        return Random(repr((self.seed, *key)))

    def each(self, split: Split, *key: object) -> Iterator[tuple[Scene, Random]]:
        """Yield every scene of a split with a random source of its own."""
        for scene in self.split(split):
            yield scene, self.draw(*key, scene.id)
