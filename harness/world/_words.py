"""Words for things, counts and places: the part of the wording that needs one thing at most.

Taken from harness/world/wording.py by everybody else. Imports harness.world only.
"""

from collections.abc import Sequence

from harness.world import lore
from harness.world.scene import Scene, Thing

_NUMBERS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
_PLURALS = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "bus": "buses",
    "bench": "benches",
    "sports ball": "sports balls",
    "knife": "knives",
}


def article(words: str) -> str:
    """Return `words` with the indefinite article: "an apple", "a red apple"."""
    return f"{'an' if words[:1].lower() in 'aeiou' else 'a'} {words}"


def plural(noun: str) -> str:
    """Return the plural of a kind or of "man", "woman"."""
    if noun in _PLURALS:
        return _PLURALS[noun]
    return noun + "es" if noun.endswith(("s", "sh", "ch", "x")) else noun + "s"


def number(count: int) -> str:
    """Return a number as a word, as digits beyond twelve."""
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)


def counted(count: int, noun: str) -> str:
    """Return "a dog", "two dogs", "no dogs"."""
    return article(noun) if count == 1 else f"{number(count)} {plural(noun)}"


def listing(items: Sequence[str], word: str = "and") -> str:
    """Return "a, b and c". Raises ValueError for no items."""
    if not items:
        raise ValueError("nothing to list")
    if len(items) == 1:
        return items[0]
    return f"{', '.join(items[:-1])} {word} {items[-1]}"


def sentence(words: str) -> str:
    """Return the words with a capital and a full stop."""
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "?", "!")) else ".")


def noun(thing: Thing) -> str:
    """Return the bare noun: the kind, or "man" or "woman"."""
    return thing.person.gender if thing.person else thing.kind


def pronoun(thing: Thing) -> str:
    """Return "he", "she" or "it"."""
    if thing.person is None:
        return "it"
    return "he" if thing.person.gender == "man" else "she"


def possessive(thing: Thing) -> str:
    """Return "his", "her" or "its"."""
    return {"he": "his", "she": "her", "it": "its"}[pronoun(thing)]


def look(thing: Thing) -> str:
    """Return the noun with the most telling attribute: "red dog", "man in a red shirt"."""
    if thing.person:
        return f"{noun(thing)} in {article(thing.colour)} shirt"
    return f"{thing.colour} {thing.kind}"


def full_look(thing: Thing) -> str:
    """Return the noun with all that can be seen of it: "small striped red dog"."""
    if thing.person:
        return f"{noun(thing)} with {thing.person.hair} hair in {article(thing.person.shirt)} shirt"
    surface = "" if thing.material == "plain" else f"{thing.material} "
    return f"{thing.size} {surface}{thing.colour} {thing.kind}"


def place(scene: Scene) -> str:
    """Return where it is, with article and preposition: "in a kitchen"."""
    return lore.PLACES[scene.place].name


def time(scene: Scene) -> str:
    """Return "at night" or "during the day"."""
    return "at night" if scene.time == "night" else "during the day"


def side(scene: Scene, thing: Thing) -> str | None:
    """Return "left", "middle" or "right" third; None where the box crosses a border much."""
    left, _, right, _ = thing.box
    slack = 0.05 * scene.width
    for name, low, high in (("left", 0.0, 0.4), ("middle", 0.33, 0.67), ("right", 0.6, 1.0)):
        inside = left >= low * scene.width - slack and right <= high * scene.width + slack
        centred = low + 0.05 < thing.centre[0] / scene.width < high - 0.05
        if inside and (centred or name != "middle"):
            return name
    return None


def of_noun(scene: Scene, word: str) -> tuple[Thing, ...]:
    """Return the things that a bare noun may name: "man" for men, "person" for all people."""
    return tuple(t for t in scene.things if word in (noun(t), t.kind))
