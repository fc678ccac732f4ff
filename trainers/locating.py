"""LocVLM's three objectives as training records, from COCO's instance annotations.

Ranasinghe et al. 2024 (arXiv 2404.07449), section 3.3: LocPred asks where a thing is, NegPred asks
the same of a thing that is not there, RevLoc asks what is at a place. Section 3.4: the same with
captions of single objects in the place of category names. The wording is ours (the paper's list is
not public): prompts/locating.json, where training and evaluation share no template.

Everything is drawn from (seed, image, what is drawn), so a record does not depend on the others.
May import harness.errors and trainers.codecs.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, Literal

from harness.errors import DataError, UsageError, unknown
from trainers.codecs import Codec, Location, codec

OBJECTIVES = ("locpred", "negpred", "revloc")
NEGATIVES = ("uniform", "frequency", "adversarial")
PROMPTS = Path(__file__).parent / "prompts" / "locating.json"
Captions = Mapping[tuple[str, int], str]
"""(image id, annotation id) to what is said about that one object."""


@dataclass(frozen=True, slots=True)
class Item:
    """One annotated object: COCO's annotation with its box as corners in pixels."""

    id: int
    kind: str
    box: tuple[float, float, float, float]
    crowd: bool = False

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


@dataclass(frozen=True, slots=True)
class Picture:
    """One image with everything that is annotated on it."""

    id: str
    file: str
    size: tuple[int, int]
    items: tuple[Item, ...]

    @property
    def kinds(self) -> frozenset[str]:
        """Every category that occurs, crowds too."""
        return frozenset(item.kind for item in self.items)


@dataclass(frozen=True)
class Locating:
    """How records are made."""

    codec: Codec = field(default_factory=lambda: codec("ivb"))
    location: Literal["point", "bbox", "mixed"] = "mixed"
    """Two numbers, four, or one of both by lot."""
    objectives: tuple[str, ...] = OBJECTIVES
    negatives: Literal["uniform", "frequency", "adversarial"] = "uniform"
    """How absent categories are drawn: evenly, by how common they are, or by how often they go
    with what is there (as in POPE)."""
    least: float = 0.0005
    """Smallest share of the picture's area that a box may have."""
    turns: int = 1
    """Questions about one image in one record."""
    each: int = 4
    """At most so many questions of one objective about one image."""
    use: Literal["train", "eval"] = "train"
    """Which templates."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Name what cannot be."""
        for name in self.objectives:
            if name not in OBJECTIVES:
                raise unknown("objective", name, OBJECTIVES)
        if self.negatives not in NEGATIVES:
            raise unknown("way to draw absent categories", self.negatives, NEGATIVES)
        if not self.objectives or self.turns < 1 or self.each < 1:
            raise UsageError("at least one objective, one turn and one question per image")


def read_instances(path: Path) -> tuple[list[Picture], tuple[str, ...]]:
    """Read COCO's instances_<split>.json; returns the pictures by id and all category names.

    Raises DataError, with the place in the file, when it is something else.
    """
    at = "the file"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        names = {row["id"]: str(row["name"]) for row in document["categories"]}
        items: dict[Any, list[Item]] = {row["id"]: [] for row in document["images"]}
        for row in document["annotations"]:
            at = f"annotation {row['id']}"
            left, top, width, height = (float(x) for x in row["bbox"])
            if width < 0 or height < 0:
                raise ValueError(f"bbox {row['bbox']}")
            box = (left, top, left + width, top + height)
            item = Item(int(row["id"]), names[row["category_id"]], box, bool(row.get("iscrowd")))
            items[row["image_id"]].append(item)
        pictures = []
        for row in sorted(document["images"], key=lambda row: row["id"]):
            at = f"image {row['id']}"
            size = (int(row["width"]), int(row["height"]))
            file, found = str(row["file_name"]), tuple(items[row["id"]])
            pictures.append(Picture(str(row["id"]), file, size, found))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}, {at}: not COCO instances ({type(error).__name__}: {error}); expected "
            "categories, images and annotations as in annotations/instances_train2014.json"
        ) from error
    return pictures, tuple(names[id] for id in sorted(names))


def read_categories(path: Path) -> dict[int, str]:
    """Return the categories of a file that `read_instances` reads, by id."""
    return {int(r["id"]): str(r["name"]) for r in json.loads(path.read_text("utf-8"))["categories"]}


def records(
    pictures: Sequence[Picture],
    kinds: Sequence[str],
    how: Locating,
    captions: Captions | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield LLaVA records {id, image, conversations, objectives, templates}, picture by picture.

    Args:
        pictures: With all their annotations; what is absent is concluded from them.
        kinds: All category names that NegPred may ask for.
        how: Codec, objectives, wording.
        captions: Pseudo-captions of single objects; an object without one keeps its category's
            name. NegPred then asks with captions of other images whose category is absent.
    """
    prompts = json.loads(PROMPTS.read_text(encoding="utf-8"))
    words = {name: sorted(uses[how.use].items()) for name, uses in prompts.items()}
    likely = _Likely(pictures, kinds, how.negatives)
    elsewhere = _captions_by_kind(pictures, captions or {})
    for picture in pictures:
        asked = []
        for objective in how.objectives:
            draw = Random(repr((how.seed, picture.id, objective)))
            maker = {"locpred": _locate, "negpred": _absent, "revloc": _describe}[objective]
            turns = maker(picture, how, words, draw, captions or {}, likely, elsewhere)
            asked += [(objective, *turn) for turn in turns]
        Random(repr((how.seed, picture.id, "order"))).shuffle(asked)
        for number, start in enumerate(range(0, len(asked), how.turns)):
            yield _record(picture, number, asked[start : start + how.turns])


Turn = tuple[str, str, str]
"""Question, reply, template ids."""


def _record(
    picture: Picture, number: int, turns: list[tuple[str, str, str, str]]
) -> dict[str, Any]:
    said = []
    for place, (_, question, reply, _) in enumerate(turns):
        said.append({"from": "human", "value": ("" if place else "<image>\n") + question})
        said.append({"from": "gpt", "value": reply})
    return {
        "id": f"locate-{picture.id}-{number}",
        "image": picture.file,
        "conversations": said,
        "objectives": [turn[0] for turn in turns],
        "templates": [turn[3] for turn in turns],
    }


def usable(picture: Picture, how: Locating) -> list[Item]:
    """Return the objects that a question can be asked about without doubt.

    Only categories with exactly one instance, crowds counted; boxes that are not tiny and lie in
    the codec's frame.
    """
    counts = Counter(item.kind for item in picture.items)
    least = how.least * picture.size[0] * picture.size[1]
    return [
        item
        for item in picture.items
        if counts[item.kind] == 1
        and not item.crowd
        and item.area >= max(least, 1e-9)
        and how.codec.frame.holds(item.box, picture.size)
    ]


def _some(items: list[Any], most: int, draw: Random) -> list[Any]:
    return sorted(draw.sample(items, min(most, len(items))), key=items.index)


def _place(item: Item, picture: Picture, how: Locating, draw: Random) -> str:
    point = how.location == "point" or (how.location == "mixed" and draw.random() < 0.5)
    left, top, right, bottom = item.box
    location: Location = ((left + right) / 2, (top + bottom) / 2) if point else item.box
    return how.codec.encode(location, picture.size)


def _fill(template: tuple[str, str], **values: str) -> tuple[str, str]:
    """Return (id, text); values are put in place as they are, whatever they contain."""
    id, text = template
    for name, value in values.items():
        before, _, after = text.partition("{" + name + "}")
        text = before + value + after
    return id, text


def thing(kind: str, caption: str | None) -> str:
    """Say which object is meant: its caption with a definite article, or its category."""
    said = (caption or kind).strip().rstrip(".")
    for article in ("a ", "an ", "the "):
        if said.lower().startswith(article):
            said = said[len(article) :]
            break
    return f"the {said}"


def _locate(
    picture: Picture, how: Locating, words: Any, draw: Random, captions: Captions, *_: Any
) -> Iterator[Turn]:
    for item in _some(usable(picture, how), how.each, draw):
        said = thing(item.kind, captions.get((picture.id, item.id)))
        asked, question = _fill(draw.choice(words["locate"]), thing=said)
        told, reply = _fill(draw.choice(words["found"]), place=_place(item, picture, how, draw))
        yield question, reply, f"{asked}/{told}"


def _describe(
    picture: Picture, how: Locating, words: Any, draw: Random, captions: Captions, *_: Any
) -> Iterator[Turn]:
    for item in _some(usable(picture, how), how.each, draw):
        place = _place(item, picture, how, draw)
        asked, question = _fill(draw.choice(words["describe"]), place=place)
        caption = captions.get((picture.id, item.id))
        article = "an" if item.kind[:1].lower() in "aeiou" else "a"
        yield question, (caption or f"{article} {item.kind}").strip(), asked


def _absent(
    picture: Picture,
    how: Locating,
    words: Any,
    draw: Random,
    captions: Captions,
    likely: "_Likely",
    elsewhere: Mapping[str, Sequence[str]],
) -> Iterator[Turn]:
    wanted = min(how.each, max(len(usable(picture, how)), 1))
    for kind in likely.absent(picture, wanted, draw):
        caption = draw.choice(elsewhere[kind]) if captions and elsewhere.get(kind) else None
        asked, question = _fill(draw.choice(words["locate"]), thing=thing(kind, caption))
        said = thing(kind, caption).removeprefix("the ")
        told, reply = _fill(draw.choice(words["absent"]), kind=said)
        yield question, reply, f"{asked}/{told}"


def _captions_by_kind(
    pictures: Iterable[Picture], captions: Captions
) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for picture in pictures:
        for item in picture.items:
            caption = captions.get((picture.id, item.id))
            if caption:
                found.setdefault(item.kind, []).append(caption)
    return found


class _Likely:
    """Draws categories that are not in a picture."""

    def __init__(self, pictures: Iterable[Picture], kinds: Sequence[str], way: str) -> None:
        self.kinds, self.way = tuple(kinds), way
        self.counts: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        if way == "uniform":
            return
        for picture in pictures:
            present = sorted(picture.kinds)
            self.counts.update(present)
            for pair in combinations(present, 2):
                self.pairs[pair] += 1
                self.pairs[pair[::-1]] += 1

    def absent(self, picture: Picture, wanted: int, draw: Random) -> list[str]:
        """Return at most `wanted` different categories without any annotation in the picture."""
        present = picture.kinds
        absent = [kind for kind in self.kinds if kind not in present]
        if self.way == "adversarial":
            draw.shuffle(absent)  # ties by lot
            absent.sort(key=lambda kind: -sum(self.pairs[kind, other] for other in present))
            return absent[:wanted]
        if self.way == "uniform":
            return draw.sample(absent, min(wanted, len(absent)))
        # without replacement, by how common they are: Efraimidis and Spirakis 2006
        keys = {kind: draw.random() ** (1 / max(self.counts[kind], 1e-9)) for kind in absent}
        return sorted(absent, key=lambda kind: -keys[kind])[:wanted]
