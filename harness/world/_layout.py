"""Where things stand: groups that belong together (a person and the cup), then the free places.

Boxes of different groups hardly touch, so that everything stays recognisable and its box is the
box of what is seen. Imports harness.world only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

from harness.world import lore
from harness.world._shapes import bounds
from harness.world._shapes_kinds import of_kind
from harness.world._shapes_person import Pose, hand, person
from harness.world._shapes_place import GROUND, WORKTOPS
from harness.world._shapes_scene import pose_of
from harness.world.scene import Box, Person, Thing

SIMPLE = "simple"
"""Not a shift: in force in both splits. Few things, and large ones: a small model's patches are
coarse."""
_BIG = 1.6
SMALL = 0.6
_PERSON = 0.54
"""Height of a large standing person as a part of the picture's height."""
_TABLE = {
    "bottle",
    "cup",
    "bowl",
    "banana",
    "apple",
    "pizza",
    "laptop",
    "book",
    "clock",
    "teddy bear",
    "potted plant",
    "handbag",
}
"""Kinds that stand on the worktop where the place has one and they are low enough."""
_RIDERS = {
    "bed": ("cat", "book", "teddy bear", "laptop", "handbag"),
    "bench": ("cat", "book", "teddy bear", "handbag", "bird", "cup"),
    "chair": ("cat", "book", "teddy bear", "handbag"),
}
_SEAT = {"bed": 0.5, "bench": 0.62, "chair": 0.56}
"""How far down the box of each the surface is."""


@dataclass(eq=False)
class Piece:
    """A thing that has no place yet."""

    kind: str
    colour: str
    size: str
    material: str
    body: Person | None = None
    object: "Piece | None" = None
    """What the person does it to."""
    holder: "Piece | None" = None
    """Who has it in hand or sits on it."""
    text: str = ""
    id: int = 0

    def at(self, box: Box, depth: int) -> Thing:
        """Return the thing in its box."""
        body = (
            replace(self.body, object=self.object.id if self.object else None)
            if (self.body)
            else None
        )
        size: Literal["small", "large"] = "large" if self.size == "large" else "small"
        return Thing(
            self.id, self.kind, self.colour, size, self.material, box, (), depth, self.text, body
        )


@dataclass
class Layout:
    """Things in their places, who lies on what, and whether all pieces found a place."""

    things: list[Thing] = field(default_factory=list)
    on: list[tuple[int, int]] = field(default_factory=list)
    whole: bool = True


@dataclass
class Group:
    """Pieces that move together; boxes relative to the feet of the first."""

    members: list[tuple[Piece, Box]]
    how: Literal["ground", "worktop", "air"]
    on: list[tuple[int, int]] = field(default_factory=list)


def arrange(
    draw: Random,
    pieces: Sequence[Piece],
    place: str,
    active: Sequence[str],
    size: tuple[int, int],
) -> Layout:
    """Find a place for every piece; those without one are left out and `whole` is False."""
    scale = _BIG if SIMPLE in active else 1.0
    scale *= 0.5 if "small" in active else 0.74 if "crowded" in active else 1.0
    groups = _groups(draw, pieces, place, scale, size)
    groups.sort(key=lambda group: -_area(_outer(group)))
    layout = Layout()
    placed: list[tuple[Piece, Box, float]] = []
    for group in groups:
        spot = _spot(draw, group, place, size, [box for _, box, _ in placed])
        if spot is None:
            layout.whole = False
            continue
        layout.on += group.on
        x, y = spot
        for order, (piece, box) in enumerate(group.members):
            placed.append((piece, _moved(box, x, y), y + order / 100))
    pointers = [piece for piece in pieces if _points(piece)]
    for piece in pointers:
        found = _pointing(draw, piece, place, scale, size, placed)
        if found is None:
            layout.whole = False
        else:
            placed.append(found)
    placed.sort(key=lambda entry: entry[2])
    layout.things = [piece.at(box, depth) for depth, (piece, box, _) in enumerate(placed, 1)]
    return layout


def _points(piece: Piece) -> bool:
    return piece.body is not None and piece.body.action == "point"


def width_of(piece: Piece, scale: float, wide: int) -> float:
    """Return the width in pixels of a thing that is not a person."""
    factor = 1.0 if piece.size == "large" else SMALL
    return max(9.0, lore.KINDS[piece.kind].span * wide * factor * scale)


def _height(piece: Piece, scale: float, high: int) -> float:
    factor = 1.0 if piece.size == "large" else 0.72
    return _PERSON * high * factor * min(max(scale, 0.55), 1.15)


def _standing(piece: Piece, scale: float, wide: int) -> Box:
    """Return the box of a thing whose feet are at (0, 0)."""
    left, top, right, bottom = bounds(of_kind(piece.kind))
    across = width_of(piece, scale, wide)
    return (-across / 2, -across * (bottom - top) / (right - left), across / 2, 0.0)


def _groups(
    draw: Random, pieces: Sequence[Piece], place: str, scale: float, size: tuple[int, int]
) -> list[Group]:
    groups = []
    riding: set[int] = set()
    for piece in pieces:
        if piece.body is not None and not _points(piece):
            groups.append(_with_person(draw, piece, scale, size))
    free = [piece for piece in pieces if piece.body is None and piece.holder is None]
    for base in free:
        rider = next(
            (
                piece
                for piece in free
                if piece.kind in _RIDERS.get(base.kind, ())
                and piece.id not in riding
                and piece.colour != base.colour
            ),
            None,
        )
        if rider and base.size == "large" and draw.random() < 0.7:
            groups.append(_with_rider(draw, base, rider, scale, size[0]))
            riding |= {base.id, rider.id}
    for piece in free:
        if piece.id not in riding:
            kind = lore.KINDS[piece.kind]
            table = place in WORKTOPS and piece.kind in _TABLE and draw.random() < 0.75
            air = kind.flies and (piece.kind in ("kite", "clock") or draw.random() < 0.6)
            how: Literal["ground", "worktop", "air"] = (
                "air" if air else "worktop" if table else "ground"
            )
            groups.append(Group([(piece, _standing(piece, scale, size[0]))], how))
    return groups


def _with_rider(draw: Random, base: Piece, rider: Piece, scale: float, wide: int) -> Group:
    rider.size = "small"
    under = _standing(base, scale, wide)
    over = _standing(rider, scale, wide)
    surface = under[1] + (under[3] - under[1]) * _SEAT[base.kind]
    room = (under[2] - under[0]) * 0.22
    x = draw.uniform(-room / 2, room) if base.kind == "bed" else draw.uniform(-room, room)
    if base.kind == "chair":
        x = (under[2] - under[0]) * (0.09 if base.id % 2 else -0.09)
    return Group(
        [(base, under), (rider, _moved(over, x, surface))], "ground", [(rider.id, base.id)]
    )


def pose_box(pose: Pose, height: float) -> Box:
    """Return the box of a person whose axis is x = 0 and whose feet are at y = 0."""
    left, top, right, bottom = bounds(person(pose))
    return (left * height, (top - bottom) * height, right * height, 0.0)


def _with_person(draw: Random, piece: Piece, scale: float, size: tuple[int, int]) -> Group:
    body, thing = piece.body, piece.object
    assert body is not None
    height = _height(piece, scale, size[1])
    if thing is None:
        pose = pose_of(body, piece.id, (0, 0), None)
        return Group([(piece, pose_box(pose, height))], "ground")
    if body.action == "sit":
        return _sitting(draw, piece, thing, height)
    side: Literal[-1, 1] = draw.choice((-1, 1))
    pose = Pose(body.action, side, thing.kind, 0.0, body.gender, body.hair)
    own = pose_box(pose, height)
    other = _standing(thing, scale, size[0])
    wide, tall = other[2] - other[0], other[3] - other[1]
    x, y = hand(body.action, thing.kind)
    hold_x, hold_y = side * x * height, (y - 1) * height
    if body.action == "fly":
        box = _moved(
            other,
            side * draw.uniform(0.5, 0.8) * height,
            -draw.uniform(0.86, 1.0) * height + tall * 0.3,
        )
        return Group([(piece, own), (thing, box)], "ground")
    if thing.kind == "umbrella":
        box = _moved(other, hold_x, hold_y + tall * 0.04)
    elif thing.kind == "handbag":
        box = _moved(other, hold_x + side * wide * 0.12, hold_y + tall * 0.93)
    elif body.action in ("drink", "eat"):
        box = _moved(other, hold_x + side * wide * 0.1, hold_y + tall * 0.42)
    else:
        box = _moved(other, hold_x + side * wide * 0.4, hold_y + tall * 0.5)
    return Group([(piece, own), (thing, box)], "ground")


def _sitting(draw: Random, piece: Piece, seat: Piece, height: float) -> Group:
    """Return a person on a chair or bench; the seat is made to fit the legs."""
    assert piece.body is not None
    left, top, right, bottom = bounds(of_kind(seat.kind))
    tall = height * (0.62 if seat.kind == "chair" else 0.5)
    wide = tall * (right - left) / (bottom - top)
    under: Box = (-wide / 2, -tall, wide / 2, 0.0)
    facing: Literal[-1, 1]
    if seat.kind == "chair":
        facing = 1 if seat.id % 2 else -1
        x = facing * (-wide / 2 + 0.17 * wide + 0.14 * height)
        lift = 0.02 * height
    else:
        facing = 1 if piece.id % 2 else -1
        x = -facing * wide * draw.uniform(0.16, 0.24)
        lift = 0.05 * height
    pose = Pose("sit", facing, seat.kind, 0.0, piece.body.gender, piece.body.hair)
    return Group(
        [(seat, under), (piece, _moved(pose_box(pose, height), x, lift))],
        "ground",
        [(piece.id, seat.id)],
    )


def _pointing(
    draw: Random,
    piece: Piece,
    place: str,
    scale: float,
    size: tuple[int, int],
    placed: list[tuple[Piece, Box, float]],
) -> tuple[Piece, Box, float] | None:
    """Place somebody who points, not far from what is pointed at; None where there is no room."""
    aim = next((entry for entry in placed if entry[0] is piece.object), None)
    if aim is None or piece.body is None:
        return None
    target = aim[0].at(aim[1], 0)
    height = _height(piece, scale, size[1])
    middle = target.centre[0]
    for _ in range(60):
        x = middle + draw.choice((-1, 1)) * draw.uniform(0.14, 0.5) * size[0]
        y = draw.uniform(GROUND[place], 0.97) * size[1]
        pose = pose_of(piece.body, piece.id, (x, y - height * 0.6), target)
        box = _moved(pose_box(pose, height), x, y)
        centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        if pose_of(piece.body, piece.id, centre, target) != pose:
            continue
        if _fits(box, size) and not any(_clash(box, other) for _, other, _ in placed):
            return piece, box, y
    return None


def _spot(
    draw: Random, group: Group, place: str, size: tuple[int, int], taken: Sequence[Box]
) -> tuple[float, float] | None:
    """Return where the feet of a group may stand, or None after many tries."""
    wide, high = size
    outer = _outer(group)
    for _ in range(50):
        if group.how == "worktop":
            top, bottom = WORKTOPS[place]
            y = draw.uniform(top + 0.02, bottom - 0.01) * high
        elif group.how == "air":
            y = draw.uniform(0.04, 0.36) * high - outer[1]
        else:
            y = draw.uniform(GROUND[place] + 0.01, 0.98) * high
        low, far = 2 - outer[0], wide - 2 - outer[2]
        if low >= far:
            return None
        x = draw.uniform(low, far)
        boxes = [_moved(box, x, y) for _, box in group.members]
        if all(_fits(box, size) for box in boxes) and not any(
            _clash(box, other) for box in boxes for other in taken
        ):
            return x, y
    return None


def _outer(group: Group) -> Box:
    boxes = [box for _, box in group.members]
    return (
        min(b[0] for b in boxes),
        min(b[1] for b in boxes),
        max(b[2] for b in boxes),
        max(b[3] for b in boxes),
    )


def _moved(box: Box, x: float, y: float) -> Box:
    return (box[0] + x, box[1] + y, box[2] + x, box[3] + y)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _fits(box: Box, size: tuple[int, int]) -> bool:
    return box[0] >= 1 and box[1] >= 1 and box[2] <= size[0] - 1 and box[3] <= size[1] - 1


def _clash(one: Box, other: Box) -> bool:
    """Whether two boxes cover more of each other than a corner of the smaller."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    if across <= 0 or down <= 0:
        return False
    return across * down > 0.06 * min(_area(one), _area(other))
