"""What VCR asks about people, and how a right answer reads in the mouth of another scene.

An item is a question with its answer and its rationale. Both are given out as wrong options of
other items (`_deal.deal`), where people and things are replaced by ones of that scene; only what is
false there is admitted. A rationale has two halves: what belongs to the answer, which all four
options share, and something that only the picture tells. Imports harness.world.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from harness.world.formats._frames import Frame, frame
from harness.world.lore import ACTIONS, PLACES
from harness.world.scene import Person, Scene, Thing
from harness.world.wording import article, look

Tokens = list["str | list[int]"]
"""Words, and lists of object ids that are mentioned together."""

QUESTIONS = {
    "doing": ("What is {person} doing ?", "What is going on with {person} ?"),
    "want": ("What does {person} want ?", "Why is {person} doing this ?"),
    "before": (
        "What did {person} need to do before this ?",
        "What came before this for {person} ?",
    ),
    "after": ("What will {person} do next ?", "What is {person} going to do after this ?"),
    "feel": ("How does {person} feel ?", "What is the mood of {person} ?"),
    "gaze": ("What is {person} looking at ?", "Where do the eyes of {person} go ?"),
    "where": ("Where are {people} ?", "In what place are {people} ?"),
}
_SAID = {"want": "{person} wants to", "before": "{person} needed to", "after": "{person} will"}
_MOUTHS = {
    "happy": "The mouth of {person} goes up at the ends",
    "sad": "The mouth of {person} goes down at the ends",
    "surprised": "The mouth of {person} is wide open",
}
_DETAILS = {
    "mood and shirt": "{{person}} looks {mood} in {a_shirt} shirt",
    "mood and hair": "{{person}} has {hair} hair and looks {mood}",
    "hair and shirt": "{{person}} has {hair} hair and {a_shirt} shirt",
}
"""What people do, where they are and what is around them go together; these go with anything."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question about one person."""

    scene: Scene
    at: Frame
    subject: Thing
    kind: str
    """Key of QUESTIONS."""
    question: str
    answer: str
    thing: Thing | None
    """What {object} in the answer stands for."""
    tag: bool
    """Whether {object} is an object id in the answer, or words."""
    evidence: str
    detail: str
    """Key of _DETAILS."""

    @property
    def person(self) -> Person:
        """The subject as a person."""
        assert self.subject.person
        return self.subject.person

    @property
    def to_person(self) -> bool:
        """Whether {object} is a person, for whom words would tell man from woman."""
        return self.thing is not None and self.thing.person is not None


def items(scene: Scene, rng: Random, most: int = 4) -> Iterator[Item]:
    """Yield what is asked about a scene: up to `most` questions per person, one about the place."""
    at = frame(scene)
    for subject in scene.people:
        person = subject.person
        assert person
        kinds = [
            "doing",
            "want",
            "before",
            "after",
            "feel",
            *(["gaze"] * (person.gaze is not None)),
        ]
        for kind in sorted(rng.sample(kinds, min(most, len(kinds)))):
            yield _item(scene, at, subject, person, kind, rng)
    if scene.people:
        subject = scene.people[0]
        answer = f"They are {PLACES[scene.place].name} ."
        seen = f"One can see {PLACES[scene.place].evidence}"
        yield Item(
            scene,
            at,
            subject,
            "where",
            rng.choice(QUESTIONS["where"]),
            answer,
            None,
            False,
            seen,
            rng.choice(sorted(_DETAILS)),
        )


def _item(scene: Scene, at: Frame, subject: Thing, person: Person, kind: str, rng: Random) -> Item:
    action = ACTIONS[person.action]
    thing = None if person.object is None else scene.thing(person.object)
    evidence = f"{{person}} is {action.phrase}"
    if kind == "gaze":
        assert person.gaze is not None
        thing = scene.thing(person.gaze)
        answer = "{person} is looking at {object} ."
        evidence = "The eyes of {person} point that way"
    elif kind == "feel":
        answer = f"{{person}} feels {person.mood} while {action.phrase} ."
        evidence = _MOUTHS[person.mood]
    elif kind == "doing":
        answer = f"{{person}} is {action.phrase} ."
        evidence = f"{{person}} {action.inference}"
    else:
        known = {"want": action.intent, "before": action.before, "after": action.after}
        answer = f"{_SAID[kind]} {rng.choice(known[kind])} ."
    if "{object}" not in answer:
        thing = None
    tag = thing is not None and (thing.person is not None or rng.random() < 0.5)
    detail = rng.choice(["hair and shirt"] if kind == "feel" else sorted(_DETAILS))
    question = rng.choice(QUESTIONS[kind])
    return Item(scene, at, subject, kind, question, answer, thing, tag, evidence, detail)


def tokens(text: str, item: Item, thing: Thing | None = None, tag: bool = True) -> Tokens:
    """Return a text as VCR's tokens, with the people of `item` and `thing` put in."""
    out: Tokens = []
    for word in text.split():
        if word == "{person}":
            out.append([item.at.number(item.subject)])
        elif word == "{people}":
            out.append([item.at.number(person) for person in item.scene.people])
        elif word == "{object}":
            assert thing is not None
            out += [[item.at.number(thing)]] if tag else article(look(thing)).split()
        else:
            out.append(word)
    return out


def answer_reads(source: Item, item: Item) -> tuple[str, ...] | None:
    """Return what tells the answer of `source` from other options of `item`, ids left aside.

    None where it is no wrong answer there; `source` may be `item` itself.
    """
    thing = source.thing
    if source is not item and not _false(source, item):
        return None
    if thing is None:
        return (source.answer,)
    if not source.tag:
        return (source.answer, thing.kind, thing.colour)
    if source is not item and _stand_in(thing, item) is None:
        return None
    return (source.answer, thing.kind)


def answer_of(source: Item, item: Item) -> Tokens:
    """Return the answer of `source` as an option of `item`, where `answer_reads` admits it."""
    thing = source.thing
    if thing is not None and source.tag and source is not item:
        thing = _stand_in(thing, item)
    return tokens(source.answer, item, thing, source.tag)


def _false(source: Item, item: Item) -> bool:
    """Whether the answer of `source` is wrong about the subject of `item`."""
    if item.kind == "where":
        return source.scene.place != item.scene.place
    if item.kind == "gaze":
        return source.tag or not _alike(source.thing, item.thing)
    own = None if item.person.object is None else item.scene.thing(item.person.object)
    if source.thing is not None and not source.tag and _alike(source.thing, own):
        return False
    if source.person.action != item.person.action:
        return source.answer != item.answer
    if item.kind == "feel":
        return source.person.mood != item.person.mood and source.thing is None
    return item.kind == "doing" and source.thing is not None


def _alike(one: Thing | None, two: Thing | None) -> bool:
    return bool(one and two and (one.kind, one.colour) == (two.kind, two.colour))


def _stand_in(thing: Thing, item: Item) -> Thing | None:
    """Return a thing of this kind that the subject of `item` has nothing to do with."""
    taken = {item.subject.id, item.person.object, item.person.gaze}
    others = [other for other in item.scene.of_kind(thing.kind) if other.id not in taken]
    return others[0] if others else None


def seen_in(item: Item, detail: str) -> tuple[str, str]:
    """Return the two visible facts of a kind of detail about the subject of an item."""
    person = item.person
    facts = {
        "mood": person.mood,
        "hair": person.hair,
        "shirt": person.shirt,
    }
    one, two = detail.split(" and ")
    return facts[one], facts[two]


def rationale_reads(source: Item, item: Item) -> tuple[str, ...] | None:
    """Return what tells the rationale of `source` from other options of `item`.

    None where it would be right too; the two have the same kind of detail.
    """
    seen = seen_in(source, source.detail)
    if source is not item and seen == seen_in(item, source.detail):
        return None
    return seen


def rationale_of(source: Item, item: Item) -> Tokens:
    """Return the rationale of `source` as an option of `item`: its own first half, that detail."""
    person = source.person
    detail = _DETAILS[source.detail].format(
        mood=person.mood,
        hair=person.hair,
        a_shirt=article(person.shirt),
    )
    own = None if item.person.object is None else item.scene.thing(item.person.object)
    return tokens(f"{item.evidence} , and {detail} .", item, own)
