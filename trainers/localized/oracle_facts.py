"""What is true of a scene's regions, as questions, answers and rationales; and made false by rule.

A fact is written from a view of the scene. The view of the scene as it is gives a true triple; a
view in which one thing is changed (a colour, a kind, a relation, who is looked at, what somebody
does) gives the same triple with exactly that thing false, and with nothing in it that contradicts
itself: only the picture tells. Facts are what VCR, Sherlock and VisualCOMET ask in the world
(harness/world/formats): doing, wishes, before, after, feelings, gaze, places, conclusions. Imports
harness.world.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from harness.world import lore, wording
from harness.world.formats._sense import MOODS, PLACES, SENSE, SIGNS
from harness.world.formats._vcr_words import QUESTIONS
from harness.world.scene import Scene, Thing

Key = tuple[int, str]
"""Id of a thing (0: the scene) and what about it."""
Parts = tuple[str, str, str]
"""Question, answer and rationale; `{7}` stands for a mention of thing 7."""
INVERSE = ("to the left of", "to the right of", "above", "below")
"""Relations whose inverse is certainly false."""
_SAID = {
    "want": ("{p} wants to", "{p} wanted to"),
    "before": ("{p} needed to", "Before this {p} needed to"),
    "after": ("{p} will", "{p} will most likely"),
}
_EVENT = {
    "want": "{p} is {doing} {place} . What did {p} want ?",
    "before": "{p} is {doing} {place} . What did {p} need to do before ?",
    "after": "{p} is {doing} {place} . What will {p} most likely do ?",
}
_MORE: Mapping[str, tuple[str, ...]] = {
    **QUESTIONS,
    "infer": ("What can be concluded from what {p} is doing ?", "Why is {p} like this ?"),
    "face": ("What can be concluded from the face of {p} ?", "What has happened to {p} ?"),
    "sense": ("What can be concluded from {p} ?", "What does {p} tell about this place ?"),
    "use": ("What is {p} for ?", "What can one do with {p} ?"),
    "sign": ("What does the word on {p} tell ?", "What can be concluded from the word on {p} ?"),
    "look": ("What is {p} ?", "How does {p} look ?"),
    "relation": ("Where is {p} ?", "Where does one find {p} ?"),
    "place": ("What can be concluded from the place of {p} ?", "What do people do around {p} ?"),
}
_MOUTH = {
    "happy": "the mouth of {p} goes up at the ends",
    "sad": "the mouth of {p} goes down at the ends",
    "surprised": "the mouth of {p} is wide open",
}


@dataclass
class View:
    """A scene as it is, or with one thing changed; remembers what was looked up."""

    scene: Scene
    phrased: bool = False
    """Whether things are named by phrases, which say kind and colour already."""
    changed: Mapping[Key, Any] = field(default_factory=dict)
    read: dict[Key, Any] = field(default_factory=dict)
    """Key to what is true."""

    def get(self, key: Key) -> Any:
        """Return what the view says."""
        self.read[key] = truth(self.scene, key)
        return self.changed.get(key, self.read[key])


def truth(scene: Scene, key: Key) -> Any:
    """Return what is true of a scene. Raises KeyError for what there is not."""
    number, what = key
    if what == "place":
        return scene.place
    thing = scene.thing(number)
    if what.startswith("relation "):
        other = int(what.partition(" ")[2])
        return next(
            r.name for r in scene.relations
            if (r.subject, r.object) == (number, other) and r.name in INVERSE
        )  # fmt: skip
    if what in ("kind", "colour", "text", "size", "material"):
        return getattr(thing, what)
    person = thing.person
    if person is None:
        raise KeyError(key)
    return (person.action, person.object) if what == "action" else getattr(person, what)


def vocabulary(scenes: Sequence[Scene]) -> dict[str, list[str]]:
    """Return what occurs in scenes, so that an error is not known by a word that never is true."""
    things = [thing for scene in scenes for thing in scene.things]
    people = [thing.person for thing in things if thing.person]
    found: dict[str, set[str]] = {
        "place": {scene.place for scene in scenes},
        "kind": {thing.kind for thing in things if not thing.person},
        "colour": {thing.colour for thing in things if not thing.person},
        "text": {thing.text for thing in things if thing.text},
        "size": {thing.size for thing in things},
        "material": {thing.material for thing in things if not thing.person},
        "shirt": {person.shirt for person in people},
        "hair": {person.hair for person in people},
        "mood": {person.mood for person in people},
        "gender": {person.gender for person in people},
    }
    return {what: sorted(words) for what, words in found.items()}


_ERRORS = {
    "place": "place", "kind": "kind", "text": "kind", "gender": "kind", "mood": "event",
    "colour": "colour", "shirt": "colour", "hair": "colour", "size": "look", "material": "look",
}  # fmt: skip
"""What an error about it is called."""


def false(scene: Scene, key: Key, known: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Any]]:
    """Yield (kind of error, value) for all that is not true of a scene; `known`: vocabulary."""
    number, what = key
    now = truth(scene, key)
    if what == "action":
        yield from _other_actions(scene, number, *now)
    elif what.startswith("relation "):
        yield "relation", lore.RELATIONS[now]
    elif what == "gaze":
        yield from (("region", t.id) for t in scene.things if t.id not in (number, now))
    else:
        yield from ((_ERRORS[what], value) for value in known[what] if value != now)


def _other_actions(
    scene: Scene, number: int, action: str, target: int | None
) -> Iterator[tuple[str, Any]]:
    """Yield other actions with an object that is there, and the action with another object.

    Left out is what a look may take for true: standing, and holding what is used anyway.
    """
    others = [thing for thing in scene.things if thing.id != number]
    for name, other in lore.ACTIONS.items():
        if name in (action, "stand"):
            continue
        if not other.needs:
            yield "event", (name, None)
        for thing in others:
            if thing.kind in other.needs and not (thing.id == target and "hold" in (name, action)):
                yield "event", (name, thing.id)
    if target is not None:
        yield from (("region", (action, thing.id)) for thing in others if thing.id != target)


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that can be asked about a scene."""

    kind: str
    subject: int
    other: int = 0
    """Another thing, or which of two conclusions."""
    variant: int = 0
    """Another wording of the question."""


def facts(scene: Scene) -> list[Fact]:
    """Return all facts of a scene, each in two wordings, in a fixed order."""
    found: list[Fact] = []
    for thing in scene.things:
        found += _of_person(scene, thing) if thing.person else _of_thing(scene, thing)
    if scene.people:
        found.append(Fact("where", scene.people[0].id))
    found += [Fact("place", scene.things[0].id, turn) for turn in range(2)]
    return [Fact(f.kind, f.subject, f.other, turn) for turn in range(2) for f in found]


def _of_person(scene: Scene, thing: Thing) -> Iterator[Fact]:
    person = thing.person
    assert person
    kinds = ["feel", "face"] + ["gaze"] * (person.gaze is not None)
    if person.object is not None or not lore.ACTIONS[person.action].needs:
        kinds += ["doing", "infer", "want", "before", "after"]
    else:
        kinds.remove("feel")
    for kind in kinds:
        several = kind in ("want", "before", "after")
        yield from (Fact(kind, thing.id, turn) for turn in range(3 if several else 1))


def _of_thing(scene: Scene, thing: Thing) -> Iterator[Fact]:
    yield from (Fact("sense", thing.id, turn) for turn in range(2))
    yield Fact("look", thing.id)
    if SENSE[thing.kind].use:
        yield Fact("use", thing.id)
    if thing.text:
        yield Fact("sign", thing.id)
    for relation in scene.relations:
        if relation.subject == thing.id and relation.name in INVERSE:
            yield Fact("relation", thing.id, relation.object)


def tell(view: View, fact: Fact, lots: Sequence[float]) -> Parts:
    """Write a fact of a view; `lots` (4 numbers from 0 to 1) decide about wording alone.

    Raises LookupError where the view has nothing to say (a changed kind without a use).
    """
    made = _WRITERS[fact.kind](view, fact, lots)
    mention = f"{{{fact.subject}}}"
    asked = made[0].replace("{person}", mention)  # as the world's VCR writes it
    return (asked.replace("{p}", mention), made[1].replace("{p}", mention),
            made[2].replace("{p}", mention))  # fmt: skip


def lots(draw: Random) -> list[float]:
    """Draw what decides about wording."""
    return [draw.random() for _ in range(4)]


def _question(fact: Fact, lots: Sequence[float]) -> str:
    asked = _MORE[fact.kind]
    return asked[(int(lots[0] * len(asked)) + fact.variant) % len(asked)]


def _named(view: View, number: int | None, lot: float) -> str:
    """Name a thing by a mention, or by words where words tell it from all others."""
    assert number is not None
    thing = view.scene.thing(number)
    if lot < 0.5 or thing.person or wording.refer(view.scene, thing) is None:
        return f"{{{number}}}"
    return wording.the(view.scene, thing)


def _doing(view: View, fact: Fact, lots: Sequence[float]) -> str:
    action, target = view.get((fact.subject, "action"))
    phrase = lore.ACTIONS[action].phrase
    return phrase.replace("{object}", _named(view, target, lots[1])) if target else phrase


def _detail(view: View, number: int, lot: float, *, mood: bool = True) -> str:
    """Say what can be seen of a person beside the action, as VCR's rationales do in the world."""
    which = ("hair", "mood", "both")[int(lot * 3)] if mood else "hair"
    shirt = wording.article(view.get((number, "shirt")))
    if which == "mood":
        return f"{{p}} looks {view.get((number, 'mood'))} in {shirt} shirt"
    hair = view.get((number, "hair"))
    if which == "both":
        return f"{{p}} has {hair} hair and looks {view.get((number, 'mood'))}"
    return f"{{p}} has {hair} hair and {shirt} shirt"


def _event(view: View, fact: Fact, lots: Sequence[float]) -> Parts:
    action, target = view.get((fact.subject, "action"))
    known = lore.ACTIONS[action]
    texts = {"want": known.intent, "before": known.before, "after": known.after}[fact.kind]
    text = texts[fact.other % len(texts)]
    if target:
        text = text.replace("{object}", _named(view, target, lots[2]))
    doing = _doing(view, fact, lots)
    question = _question(fact, lots)
    if fact.variant:  # as VisualCOMET asks: the event first
        place = lore.PLACES[view.scene.place].name
        question = _EVENT[fact.kind].replace("{doing}", doing).replace("{place}", place)
    begin = _SAID[fact.kind][int(lots[0] * 2)]
    detail = _detail(view, fact.subject, lots[3])
    return question, f"{begin} {text} .", f"{{p}} is {doing} , and {detail} ."


def _does(view: View, fact: Fact, lots: Sequence[float]) -> Parts:
    action, _ = view.get((fact.subject, "action"))
    doing, detail = _doing(view, fact, lots), _detail(view, fact.subject, lots[3])
    because = f"{{p}} {lore.ACTIONS[action].inference}"
    if fact.kind == "doing":
        return _question(fact, lots), f"{{p}} is {doing} .", f"{because} , and {detail} ."
    return _question(fact, lots), f"{because} .", f"{{p}} is {doing} , and {detail} ."


def _feels(view: View, fact: Fact, lots: Sequence[float]) -> Parts:
    mood = view.get((fact.subject, "mood"))
    detail = _detail(view, fact.subject, lots[3], mood=False)
    why = f"{_MOUTH[mood]} , and {detail} ."
    if fact.kind == "face":
        return _question(fact, lots), f"{MOODS[mood].replace('{thing}', '{p}')} .", why
    return _question(fact, lots), f"{{p}} feels {mood} while {_doing(view, fact, lots)} .", why


def _gazes(view: View, fact: Fact, lots: Sequence[float]) -> Parts:
    target = view.get((fact.subject, "gaze"))
    detail = _detail(view, fact.subject, lots[3])
    why = f"The eyes of {{p}} point that way , and {detail} ."
    return _question(fact, lots), f"{{p}} is looking at {{{target}}} .", why


def _where(view: View, fact: Fact, lots: Sequence[float]) -> Parts:
    place = lore.PLACES[view.get((0, "place"))]
    people = " and ".join(f"{{{person.id}}}" for person in view.scene.people)
    detail = _detail(view, fact.subject, lots[3])
    question = _question(fact, lots).replace("{people}", people)
    return question, f"They are {place.name} .", f"One can see {place.evidence} , and {detail} ."


def _place(view: View, fact: Fact, lots: Sequence[float]) -> Parts:
    place = view.get((0, "place"))
    evidence = lore.PLACES[place].evidence
    return _question(fact, lots), f"{PLACES[place][fact.other]} .", f"One can see {evidence} ."


def _look(view: View, number: int) -> str:
    thing = view.scene.thing(number)
    if thing.person:
        shirt = wording.article(view.get((number, "shirt")))
        return wording.article(f"{view.get((number, 'gender'))} in {shirt} shirt")
    if view.phrased:
        return f"{view.get((number, 'size'))} and {view.get((number, 'material'))}"
    return wording.article(f"{view.get((number, 'colour'))} {view.get((number, 'kind'))}")


def _sense(view: View, fact: Fact, lots: Sequence[float]) -> Parts:
    known = SENSE[view.get((fact.subject, "kind"))]
    why = f"{{p}} is {_look(view, fact.subject)} ."
    if fact.kind == "use":
        if not known.use:
            raise LookupError(fact.kind)
        return _question(fact, lots), f"{{p}} is for {known.use} .", why
    return _question(fact, lots), f"{known.inferences[fact.other].replace('{thing}', '{p}')} .", why


def _sign(view: View, fact: Fact, lots: Sequence[float]) -> Parts:
    text = view.get((fact.subject, "text"))
    return (_question(fact, lots), f"{SIGNS[text].replace('{thing}', '{p}')} .",
            f'The word " {text} " is written on {{p}} .')  # fmt: skip


def _looks(view: View, fact: Fact, lots: Sequence[float]) -> Parts:
    answer = f"{{p}} is {_look(view, fact.subject)} ."
    evidence = lore.PLACES[view.get((0, "place"))].evidence
    return _question(fact, lots), answer, f"{{p}} can be seen beside {evidence} ."


def _related(view: View, fact: Fact, lots: Sequence[float]) -> Parts:
    name = view.get((fact.subject, f"relation {fact.other}"))
    other = f"{{{fact.other}}}"
    one, two = _look(view, fact.subject), _look(view, fact.other)
    return (_question(fact, lots), f"{{p}} is {name} {other} .",
            f"{{p}} is {one} , and {other} is {two} .")  # fmt: skip


_WRITERS: Mapping[str, Callable[[View, Fact, Sequence[float]], Parts]] = {
    "doing": _does,
    "infer": _does,
    "want": _event,
    "before": _event,
    "after": _event,
    "feel": _feels,
    "face": _feels,
    "gaze": _gazes,
    "where": _where,
    "place": _place,
    "sense": _sense,
    "use": _sense,
    "sign": _sign,
    "look": _looks,
    "relation": _related,
}
