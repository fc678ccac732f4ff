"""What can be in the scene world: kinds, colours, places, actions and what they imply.

Tables only. Everything that a format says in words comes from here, so that train and test speak
one language and a gold answer can be checked. Kinds are COCO categories with COCO's own ids.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A category of things."""

    coco: int
    """COCO category id."""
    family: str
    """COCO supercategory."""
    places: tuple[str, ...]
    """Where it is found often; elsewhere seldom. This is what makes POPE's adversarial set hard."""
    span: float
    """Usual width as a part of the picture's width when it is large; 0.6 of it when small."""
    aspect: float
    """Height divided by width."""
    handy: bool = False
    """A person can hold it."""
    flies: bool = False
    """It may hang in the air; others stand on the ground or on a table."""
    text: bool = False
    """A word can be written on it."""


_OUT = ("street", "park", "beach")
_IN = ("kitchen", "office", "bedroom")
KINDS: Mapping[str, Kind] = {
    "person": Kind(1, "person", (*_OUT, *_IN), 0.2, 2.3),
    "bicycle": Kind(2, "vehicle", ("street", "park"), 0.26, 0.65),
    "car": Kind(3, "vehicle", ("street",), 0.34, 0.5),
    "bus": Kind(6, "vehicle", ("street",), 0.42, 0.55, text=True),
    "boat": Kind(9, "vehicle", ("beach",), 0.32, 0.7),
    "traffic light": Kind(10, "outdoor", ("street",), 0.11, 2.4),
    "stop sign": Kind(13, "outdoor", ("street",), 0.15, 1.9, text=True),
    "bench": Kind(15, "outdoor", ("park", "street", "beach"), 0.3, 0.55),
    "bird": Kind(16, "animal", ("park", "beach"), 0.16, 0.8, flies=True),
    "cat": Kind(17, "animal", ("bedroom", "kitchen"), 0.18, 0.85),
    "dog": Kind(18, "animal", ("park", "street"), 0.22, 0.75),
    "horse": Kind(19, "animal", ("park", "beach"), 0.3, 0.85),
    "umbrella": Kind(28, "accessory", ("beach", "street"), 0.22, 0.95, handy=True),
    "handbag": Kind(31, "accessory", ("street", "office"), 0.15, 1.0, handy=True),
    "frisbee": Kind(34, "sports", ("park", "beach"), 0.16, 0.45, handy=True, flies=True),
    "sports ball": Kind(37, "sports", ("park", "beach"), 0.15, 1.0, handy=True, flies=True),
    "kite": Kind(38, "sports", ("park", "beach"), 0.17, 1.3, handy=True, flies=True),
    "bottle": Kind(44, "kitchen", ("kitchen", "office"), 0.095, 2.3, handy=True),
    "cup": Kind(47, "kitchen", ("kitchen", "office"), 0.14, 0.95, handy=True),
    "bowl": Kind(51, "kitchen", ("kitchen",), 0.18, 0.5),
    "banana": Kind(52, "food", ("kitchen",), 0.18, 0.55, handy=True),
    "apple": Kind(53, "food", ("kitchen",), 0.13, 1.05, handy=True),
    "pizza": Kind(59, "food", ("kitchen",), 0.19, 0.7),
    "chair": Kind(62, "furniture", ("kitchen", "office", "bedroom"), 0.19, 1.45),
    "potted plant": Kind(64, "furniture", ("office", "bedroom", "kitchen"), 0.15, 1.6),
    "bed": Kind(65, "furniture", ("bedroom",), 0.42, 0.5),
    "laptop": Kind(73, "electronic", ("office", "bedroom"), 0.2, 0.75, handy=True),
    "book": Kind(84, "indoor", ("bedroom", "office"), 0.15, 1.2, handy=True, text=True),
    "clock": Kind(85, "indoor", ("office", "kitchen"), 0.15, 1.0, flies=True),
    "teddy bear": Kind(88, "indoor", ("bedroom",), 0.17, 1.2, handy=True),
}

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (206, 44, 44),
    "green": (46, 140, 66),
    "blue": (44, 88, 196),
    "yellow": (240, 204, 60),
    "orange": (236, 132, 40),
    "purple": (128, 64, 168),
    "white": (246, 246, 244),
    "black": (36, 36, 40),
}
NEW_COLOURS: Mapping[str, tuple[int, int, int]] = {
    "pink": (240, 140, 180),
    "brown": (122, 78, 42),
    "teal": (0, 140, 140),
}
"""Drawn only under the shift `colours`, and then in test scenes only."""
HAIR = ("black", "brown", "blond", "red")
MATERIALS = ("plain", "striped", "dotted", "shiny")
"""How the surface is drawn; `plain` is the commonest."""
WORDS = ("STOP", "OPEN", "TAXI", "CAFE", "ZOO", "SALE", "EXIT", "BANK", "PARK", "HOTEL")
NAMES = {
    "woman": ("Anna", "Bea", "Clara", "Dora", "Emma", "Fay", "Grace", "Hana"),
    "man": ("Adam", "Ben", "Carl", "Dan", "Eli", "Finn", "Gus", "Hugo"),
}


SIMPLE = frozenset((
    "person", "car", "bench", "bird", "cat", "dog", "umbrella", "sports ball", "kite", "cup",
    "apple", "chair", "laptop", "book",
))  # fmt: skip
"""Kinds of a simple world: enough of them for every action."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a scene plays."""

    indoors: bool
    name: str
    """With its article and preposition: "in a kitchen", "on a street"."""
    evidence: str
    """What in the drawing shows it."""


PLACES: Mapping[str, Place] = {
    "kitchen": Place(True, "in a kitchen", "the tiles and the counter"),
    "office": Place(True, "in an office", "the grey carpet and the window blinds"),
    "bedroom": Place(True, "in a bedroom", "the wooden floor and the curtains"),
    "street": Place(False, "on a street", "the road and the houses"),
    "park": Place(False, "in a park", "the grass and the trees"),
    "beach": Place(False, "on a beach", "the sand and the sea"),
}


@dataclass(frozen=True, slots=True)
class Action:
    """What a person does, and what common sense says about it.

    `{object}` stands for the thing that it is done to, with its article ("the red book").
    """

    phrase: str
    """Third person, present: "reading {object}"."""
    needs: tuple[str, ...]
    """Kinds that it can be done to; empty: it needs none."""
    before: tuple[str, ...]
    after: tuple[str, ...]
    intent: tuple[str, ...]
    """Infinitives without "to", as VisualCOMET writes them."""
    inference: str
    """One sentence about why, for rationales and Sherlock's inferences."""
    relation: str = ""
    """What the person is to the object: "holding", "sitting on"; empty without an object."""
    places: tuple[str, ...] = ()
    """Where it may happen; empty: anywhere."""


_HANDY = tuple(name for name, kind in KINDS.items() if kind.handy and name != "kite")
ACTIONS: Mapping[str, Action] = {
    "stand": Action(
        "standing still",
        (),
        ("walk to this spot", "look for a good place to stop", "agree to meet somebody here"),
        ("walk away", "greet a friend", "check the time"),
        ("wait for somebody", "have a rest", "watch what is going on"),
        "is waiting for somebody",
    ),
    "walk": Action(
        "walking",
        (),
        ("tie the shoes", "leave home", "decide to go on foot"),
        ("reach the goal", "sit down for a break", "be out of sight"),
        ("get to another place", "get some exercise", "arrive in time"),
        "is on the way to another place",
    ),
    "wave": Action(
        "waving a hand",
        (),
        ("notice a friend", "hear somebody call", "lift an arm"),
        ("put the arm down", "talk with a friend", "be greeted in return"),
        ("say hello", "be noticed", "greet a friend"),
        "has seen somebody familiar",
    ),
    "sit": Action(
        "sitting on {object}",
        ("chair", "bench"),
        ("walk up to {object}", "feel tired", "find that {object} is free"),
        ("get up from {object}", "feel rested", "leave {object} to others"),
        ("rest the legs", "be comfortable", "spend some quiet time"),
        "was tired and needed a rest",
        "sitting on",
    ),
    "hold": Action(
        "holding {object}",
        _HANDY,
        ("pick up {object}", "reach for {object}", "look for {object}"),
        ("put {object} down", "hand {object} to somebody", "carry {object} home"),
        ("keep {object}", "show {object} to somebody", "take {object} along"),
        "has just picked it up",
        "holding",
    ),
    "read": Action(
        "reading {object}",
        ("book",),
        ("open {object}", "choose {object} from a shelf", "borrow {object}"),
        ("close {object}", "turn a page of {object}", "know how the story ends"),
        ("learn something new", "enjoy a story", "pass a test at school"),
        "wants to learn something",
        "reading",
    ),
    "drink": Action(
        "drinking from {object}",
        ("cup", "bottle"),
        ("fill {object}", "get thirsty", "lift {object} to the mouth"),
        ("put {object} away empty", "feel less thirsty", "wash {object}"),
        ("quench a thirst", "cool down", "enjoy a drink"),
        "is thirsty",
        "drinking from",
    ),
    "eat": Action(
        "eating {object}",
        ("apple", "banana"),
        ("get hungry", "wash {object}", "buy {object} on a market"),
        ("throw the rest of {object} away", "feel full", "wipe the mouth"),
        ("still a hunger", "have a healthy snack", "finish {object}"),
        "is hungry",
        "eating",
    ),
    "point": Action(
        "pointing at {object}",
        tuple(name for name, kind in KINDS.items() if name != "person" and not kind.handy),
        ("notice {object}", "be asked about {object}", "look around for {object}"),
        ("explain something about {object}", "lower the arm", "walk over to {object}"),
        ("show {object} to somebody", "draw attention to {object}", "ask about {object}"),
        "wants somebody else to notice it",
        "pointing at",
    ),
    "fly": Action(
        "flying {object}",
        ("kite",),
        ("unroll the line of {object}", "wait for the wind", "build {object}"),
        ("wind up the line", "run after {object}", "pull {object} down"),
        ("see {object} high up", "have fun in the wind", "play outside"),
        "has been waiting for a windy day",
        "flying",
        ("park", "beach"),
    ),
    "type": Action(
        "typing on {object}",
        ("laptop",),
        ("switch on {object}", "open {object}", "sit down to work"),
        ("close {object}", "send a message", "switch off {object}"),
        ("finish some work", "write a message", "answer a colleague"),
        "has work to finish",
        "typing on",
        ("office", "bedroom", "kitchen"),
    ),
}

EVENTS: Mapping[str, str] = {
    "moves left": "moves to the left",
    "moves right": "moves to the right",
    "rises": "moves up",
    "falls": "moves down",
    "appears": "appears",
    "disappears": "disappears",
    "grows": "comes closer",
    "shrinks": "goes away",
}
SHIFTS: Mapping[str, str] = {
    "colours": "test scenes use colours that no training scene has",
    "crowded": "test scenes hold about twice as many things",
    "small": "things of test scenes are drawn at about half their size",
    "dark": "test scenes play at night",
}
RELATIONS: Mapping[str, str] = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
    "near": "near",
    "on": "",
    "looking at": "",
    **{action.relation: "" for action in ACTIONS.values() if action.relation},
}
"""Every name a relation of a scene may have, and the name of its inverse, which is listed too."""
