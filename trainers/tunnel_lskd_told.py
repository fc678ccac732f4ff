"""What LSKD's wind tunnel says to a base model: what can be seen on pictures, true and false.

From the files of `sightline world` alone: Visual Genome's region phrases and COCO's captions. The
corpus is about other pictures (`is_seen`). Imports harness and the corpus format.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

from harness.errors import DataError
from trainers.localized import labels, triples
from trainers.localized.triples import Reference, Token, Triple, tokens

NUMBERS = tuple(f"[{number}]" for number in range(10))
"""One token each, as a colour is one thing in the picture."""
MOST = 4
"""Regions that are drawn at once here."""
SEEN = 0.6
"""Share of the pictures that the base learns from; the corpus is about the others."""
_PERSON = re.compile(r"an? (man|woman) .*\bin an? (\w+) shirt\b")
_SIZE = re.compile(r"\b(large|small) ")
ALONE, PAIRS = 3, 2
"""Statements about a picture: of one thing, and of two."""
_PLACE, _THING = 0.1, 0.35
"""A lot below the first: false by the place; below the second: by another thing's phrase."""


def is_seen(scene: object) -> bool:
    """Return whether a picture is one of those that the base learns from."""
    return labels.evaluated(str(scene), SEEN, 0)


def pictures(world: Path) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield pictures of the base with their regions, of which the last is all of it.

    Phrases are Visual Genome's without what is written on signs, which nobody can read at this
    size. What a caption says that somebody does ("a man in a red shirt is waving") is
    added to the phrase of the person that alone fits it.
    """
    captions: dict[int, list[str]] = {}
    for row in read_rows(world / "stage1" / "chat.json"):
        said = row["conversations"][-1]["value"]
        captions.setdefault(int(Path(row["image"]).stem), []).append(said.lower())
    for row in read_rows(world / "region_captions" / "region_descriptions.json"):
        if is_seen(row["id"]):
            told = captions.get(row["id"], [])
            phrases = [r["phrase"].partition(" with the word")[0] for r in row["regions"]]
            found = [match.groups() if (match := _PERSON.match(p)) else None for p in phrases]
            phrases = [
                phrase + (_does(who, told) if who and found.count(who) == 1 else "")
                for phrase, who in zip(phrases, found, strict=True)
            ]
            yield (
                int(row["id"]),
                [
                    {**region, "phrase": phrase.replace("seems", "looks")}
                    for region, phrase in zip(row["regions"], phrases, strict=True)
                ],
            )


def _does(who: tuple[str, ...], captions: Sequence[str]) -> str:
    kind, shirt = who
    pattern = re.compile(rf"\b{kind} in an? {shirt} shirt is (\w+ing)\b")
    verbs = [match[1] for said in captions if (match := pattern.search(said))]
    return f" , {verbs[0]}" if verbs else ""


def told(world: Path, out: Path, seed: int = 0) -> Path:
    """Write what can be seen, and what cannot, as triples with labels; return the file.

    Of every picture: ALONE things by themselves and PAIRS of things together, called by the numbers
    that are drawn on them, without sizes, which the corpus never tells; the rationale says where
    the scene is. Each is there as it is, and once false: a word is another one that stands there
    elsewhere, or a phrase is another thing's.
    """
    path = out / "triples.jsonl"
    if not path.exists():
        triples.write(path, _statements(list(pictures(world)), seed))
    return path


def _statements(found: Sequence[tuple[int, list[Any]]], seed: int) -> Iterator[Triple]:
    found = [(scene, [{**r, "phrase": _short(r["phrase"])} for r in rs]) for scene, rs in found]
    near = Near(region["phrase"] for _, regions in found for region in regions)
    for scene, regions in found:
        things, place = regions[:-1], regions[-1]["phrase"]
        draw = Random(f"told {seed} {scene}")
        order = draw.sample(range(len(things)), len(things))
        shows: list[tuple[int, ...]] = [(region,) for region in order[:ALONE]]
        shows += list(combinations(order, 2))[:PAIRS]
        for number, shown in enumerate(shows):
            true = [things[region]["phrase"] for region in shown]
            said, where = list(true), place
            others = [t["phrase"] for t in things if t["phrase"] not in true]
            at, lot = draw.randrange(len(shown)), draw.random()
            if lot < _PLACE:
                where = near.other(place, draw)
            elif lot < _THING and len(set(true)) > 1:
                said.reverse()
            elif lot < _THING and len(true) == 1 and others:
                said[at] = draw.choice(others)
            else:
                said[at] = near.other(said[at], draw)
            yield _statement(f"{scene}/{number}/1", scene, things, shown, true, place, 1, 1)
            if (said, where) != (true, place):
                yield _statement(f"{scene}/{number}/0", scene, things, shown, said, where,
                                 int(said == true), 0)  # fmt: skip


class Near:
    """Phrases that differ in one word."""

    def __init__(self, phrases: Iterable[str]) -> None:
        """Remember which words stand between the same others."""
        self._words: dict[tuple[str, ...], set[str]] = {}
        for words in {_plain(phrase) for phrase in phrases}:
            for at, word in enumerate(words):
                self._words.setdefault(_without(words, at), set()).add(word)

    def other(self, phrase: str, draw: Random) -> str:
        """Return a phrase with one word changed so that it is said of something else.

        Which word is drawn first, so that none is changed more often for having more others. A
        phrase that nothing is near to is returned as it is.
        """
        words = _plain(phrase)
        found = {
            at: sorted(self._words.get(_without(words, at), set()) - {word})
            for at, word in enumerate(words)
        }
        places = [at for at, others in found.items() if others]
        if not places:
            return phrase
        at = draw.choice(places)
        return _article(" ".join((*words[:at], draw.choice(found[at]), *words[at + 1 :])))


def _short(phrase: str) -> str:
    return _article(_SIZE.sub("", phrase))


def _article(phrase: str) -> str:
    return re.sub(r"\ba (?=[aeiou])", "an ", phrase)


def _plain(phrase: str) -> tuple[str, ...]:
    return tuple("a" if word == "an" else word for word in phrase.split())


def _without(words: tuple[str, ...], at: int) -> tuple[str, ...]:
    return (*words[:at], "", *words[at + 1 :])


def _statement(
    id: str, scene: int, things: Sequence[Any], shown: tuple[int, ...], said: Sequence[str],
    place: str, answered: int, accept: int,
) -> Triple:  # fmt: skip
    answer: list[Token] = []
    for region, phrase in zip(shown, said, strict=True):
        answer += [*([",", "and"] if answer else []), (region,), "is", *tokens(phrase)]
    return Triple(
        id=id,
        image=f"{scene}.jpg",
        question=("What", "is", (shown[0],), "?"),
        answer=(*answer, "."),
        rationale=(*tokens(place), "."),
        region=shown,
        region_all=shown,
        references=tuple(Reference(str(at), (box(things[at]),)) for at in shown),
        source="told",
        style="ids",
        extra={"accept": accept, "qa_score": float(answered), "r_score": float(accept)},
    )


def box(region: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """Return x1, y1, x2, y2 in pixels of one of Visual Genome's regions."""
    left, top = float(region["x"]), float(region["y"])
    return left, top, left + float(region["width"]), top + float(region["height"])


def read_rows(path: Path) -> list[Any]:
    """Return the rows of a file of a world. Raises DataError where it cannot be read."""
    try:
        return list(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}; make the world with `sightline world`") from error
