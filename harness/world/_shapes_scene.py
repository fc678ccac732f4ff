"""The polygons of a thing as it stands in its scene: shape, pose, face, stretched to its box.

Both sides use it: drawing, to know how large the box must be, and painting. Imports
harness.world only.
"""

from math import hypot

from harness.world._shapes import Part, Point, fit
from harness.world._shapes_kinds import of_kind
from harness.world._shapes_person import HEIGHT_OF_EYES, Pose, face, hand, person
from harness.world.scene import Person, Scene, Thing

_FRONTAL = {"traffic light", "stop sign", "bench", "clock", "teddy bear", "book", "laptop"}


def pose_of(body: Person, number: int, middle: Point, done_to: Thing | None) -> Pose:
    """Return how a person stands.

    Args:
        body: what the person is like.
        number: the id of the thing that the person is; decides the side where nothing else does.
        middle: centre of the person's box, in pixels.
        done_to: what the action is done to; None for nothing.
    """
    right = number % 2 == 1
    kind = done_to.kind if done_to else ""
    down = across = 0.0
    if done_to and kind == "chair":  # its back is on the left unless it is mirrored
        right = not mirrored(done_to)
    elif done_to and body.action != "sit":
        right = done_to.centre[0] >= middle[0]
        across = abs(done_to.centre[0] - middle[0])
        down = done_to.centre[1] - middle[1]
    steep = body.action == "point" and abs(down) > 0.35 * across
    level = 0.0 if not steep else 1.0 if down > 0 else -1.0
    return Pose(body.action, 1 if right else -1, kind, level, body.gender, body.hair)


def mirrored(thing: Thing) -> bool:
    """Whether the shape is drawn the other way round: half of the things are."""
    return thing.id % 2 == 0 and thing.kind not in _FRONTAL


def look_of(scene: Scene, thing: Thing) -> Point:
    """Return where a person's pupils go: (0, 0) for the viewer, else a unit vector."""
    if thing.person is None or thing.person.gaze is None:
        return (0.0, 0.0)
    target = scene.thing(thing.person.gaze)
    left, top, right, bottom = thing.box
    eyes = ((left + right) / 2, top + (bottom - top) * HEIGHT_OF_EYES)
    dx, dy = target.centre[0] - eyes[0], target.centre[1] - eyes[1]
    length = hypot(dx, dy) or 1.0
    return (dx / length, dy / length)


def parts_of(scene: Scene, thing: Thing) -> tuple[Part, ...]:
    """Return the polygons of a thing in pixels of the picture, in the order of painting."""
    body = thing.person
    if body is None:
        return fit(of_kind(thing.kind), thing.box, mirrored=mirrored(thing))
    done_to = scene.thing(body.object) if body.object is not None else None
    pose = pose_of(body, thing.id, thing.centre, done_to)
    return fit((*person(pose), *face(body.mood, look_of(scene, thing))), thing.box)


def kite_line(scene: Scene, thing: Thing) -> tuple[Point, Point]:
    """Return the line, in pixels, between the busy hand of a person and what is flown."""
    body = thing.person
    if body is None or body.object is None:
        raise ValueError(f"thing {thing.id} of scene {scene.id} flies nothing")
    kite = scene.thing(body.object)
    pose = pose_of(body, thing.id, thing.centre, kite)
    wrist = fit((*person(pose), _mark(pose)), thing.box)[-1].points[0]
    left, _, right, bottom = kite.box
    return wrist, ((left + right) / 2, kite.box[1] + (bottom - kite.box[1]) * 0.69)


def _mark(pose: Pose) -> Part:
    x, y = hand(pose.action, pose.kind)
    return Part("skin", ((pose.side * x, y),) * 3)
