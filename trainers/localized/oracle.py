"""A rule-based teacher for the scene world: true triples, false ones at a stated rate, both known.

The oracle answers `generate`'s requests in the form that these ask for, from the facts of a world
(`sightline world`), and so makes a corpus for tests, tunnels and critics without any model. With
the stated probability one fact of a triple is replaced by one that is false of the picture; which
ones is told in a file of its own and nowhere in the corpus. From that file two simulated annotators
rate. The pictures are those of the train scenes, whose frames are in the train splits of the
world's VCR, Sherlock and VisualCOMET. Imports harness.world; may import harness and trainers.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from harness.errors import DataError, UsageError
from harness.record import read_lines
from harness.types import Answer, Ask, Decoding, Failure, Reply, Sample
from harness.world import build, wording
from harness.world.formats._frames import frame
from harness.world.scene import Scene, Thing, World
from trainers.localized import generate, triples
from trainers.localized.oracle_facts import (
    Fact,
    Key,
    View,
    facts,
    false,
    lots,
    tell,
    vocabulary,
)
from trainers.localized.oracle_words import Naming, Told, matched, opened, phrase
from trainers.localized.triples import STYLES, Style, Triple, tokens, words
from trainers.localized.verbal import Box, Seen, Verbal, write_lines
from trainers.teacher import Teacher

ANNOTATORS = ("one", "two")


class Oracle:
    """A model of the harness that teaches from a world."""

    looks = False

    def __init__(self, world: World, hallucination: float, seed: int = 0) -> None:
        """Teach from a world.

        Args:
            world: With its train scenes; test scenes are refused.
            hallucination: Probability that one fact of a triple is false.
            seed: Of every lot, together with the picture, the round and the request's own seed.
        """
        if not 0 <= hallucination <= 1:
            raise UsageError(f"a hallucination rate is 0 to 1, found {hallucination}")
        self.name = "oracle-teacher"
        self._scenes = {str(scene.id): scene for scene in world.split("train")}
        self._rate, self._seed = hallucination, seed
        self._described = {
            "kind": "oracle-teacher",
            "world": build.digest_of(world),
            "hallucination": hallucination,
            "seed": seed,
        }
        self._known = vocabulary(world.split("train"))

    def describe(self) -> Mapping[str, Any]:
        """Return the world, the rate and the seed."""
        return self._described

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        """Answer requests of `generate.request`; a picture that is not of the world fails.

        Raises UsageError for another way of asking.
        """
        if ask != "generate":
            raise UsageError(f"the oracle writes triples; it cannot {ask}")
        for place, sample in enumerate(samples):
            scene = self._scenes.get(sample.cluster)
            if scene is None or "style" not in sample.facts:
                yield place, Failure("the oracle knows the train pictures of its world alone")
                continue
            said = self.tell(
                scene, tuple(region.box for region in sample.regions), sample.facts["style"],
                sample.facts["round"], sample.facts["each"], decoding.seed,
            )  # fmt: skip
            yield place, Answer("\n\n".join(map(_written, said)))

    def tell(
        self, scene: Scene, boxes: tuple[Box, ...], style: Style, number: int, each: int, seed: int
    ) -> tuple[Told, ...]:
        """Return what is said in a round about a picture; fewer where there is no more to say."""
        every = self._all(scene, matched(scene, boxes), style, seed)
        return tuple(islice(every, number * each, (number + 1) * each))

    def judge(self, triple: Triple, each: int = 3, seed: int = 0) -> Told:
        """Return what the oracle knows of a triple that was read in one of its replies.

        Args:
            triple: With its id and provenance as `generate.write` makes them.
            each: Triples of a round.
            seed: Of `generate.Writing`.

        Raises:
            DataError: The oracle never said it.
        """
        picture, _, at = triple.id.rsplit("/", 2)
        number, _, place = at.partition(".")
        scene = self._scenes.get(picture)
        if scene is not None:
            boxes = tuple(reference.boxes[0] for reference in triple.references)
            attempt = int(triple.provenance["attempt"])
            said = self.tell(scene, boxes, triple.style, int(number), each, seed + attempt)
            one = said[int(place)] if int(place) < len(said) else None
            if one is not None and all(
                words(tokens(opened(text))) == words(getattr(triple, part))
                for part, text in zip(triples.PARTS, one.parts, strict=True)
            ):
                return one
        raise DataError(f"triple {triple.id}: the oracle never said this")

    def _all(self, scene: Scene, ids: Mapping[int, int], style: Style, seed: int) -> Iterator[Told]:
        """Tell everything about a picture in the order of the seed, no question twice."""
        listed = facts(scene)
        order = Random(repr((self._seed, "order", scene.id, style)))
        half = len(listed) // 2  # the second half are the same facts in other words
        phrases = {thing.id: phrase(scene, thing) for thing in scene.things}
        asked: set[str] = set()
        for fact in [*order.sample(listed[:half], half), *order.sample(listed[half:], half)]:
            draw = Random(repr((self._seed, scene.id, style, fact, seed)))
            told = self._one(Naming(scene, style, ids, phrases), fact, draw)
            if told is not None and told.parts[0] not in asked:
                asked.add(told.parts[0])
                yield told

    def _one(self, naming: Naming, fact: Fact, draw: Random) -> Told | None:
        """Tell a fact, or None where it cannot be told, or not be made false.

        The error is looked for before the lot is read, so that the rate is what it is said to be.
        """
        lot, scene, phrased = lots(draw), naming.scene, naming.style == "descriptions"
        view = View(scene, phrased)
        true = naming.put(tell(view, fact, lot))
        if true is None or (phrased and fact.kind == "look"):  # the phrase says it already
            return None
        wrong = draw.random() < self._rate
        for error, key, value in self._errors(view, naming, draw):
            try:
                parts = naming.put(tell(View(scene, phrased, {key: value}), fact, lot))
            except LookupError:
                continue
            if parts is not None and parts != true:
                return Told(parts if wrong else true, true, fact.kind, error if wrong else "")
        return None

    def _errors(self, view: View, naming: Naming, draw: Random) -> Iterator[tuple[str, Key, Any]]:
        """Yield errors in the order of lots: every kind of error is as likely as any other."""
        kinds: dict[str, list[tuple[Key, Any]]] = {}
        for key, now in view.read.items():
            if naming.style == "descriptions" and key[0] and str(now) in naming.phrases[key[0]]:
                continue  # the phrase that names the thing would contradict the error
            for error, value in false(naming.scene, key, self._known):
                kinds.setdefault(error, []).append((key, value))
        while kinds:
            error = draw.choice(sorted(kinds))
            key, value = kinds[error].pop(draw.randrange(len(kinds[error])))
            if not kinds[error]:
                del kinds[error]
            yield error, key, value


def _written(told: Told) -> str:
    pairs = zip(triples.PARTS, told.parts, strict=True)
    return "\n".join(f"{part.title()}: {text}" for part, text in pairs)


def pictures(world: World) -> list[Verbal]:
    """Return the train scenes in words: every thing a region, numbered as in the world's VCR.

    Images are named below the world's folder `images`. Nothing else is said of them; files are
    hashed where they are there.
    """
    found = []
    for scene in world.split("train"):
        at = frame(scene)
        path = world.picture(scene)
        seen = tuple(
            Seen(number, _rounded(thing), thing.kind, phrase(scene, thing) or wording.some(thing))
            for number, thing in enumerate(at.things)
        )
        sha = sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        name = path.relative_to(world.out / "images").as_posix()
        found.append(
            Verbal(str(scene.id), name, scene.width, scene.height, sha, "world", "train", seen)
        )
    return found


def _rounded(thing: Thing) -> Box:
    left, top, right, bottom = (round(float(edge), 2) for edge in thing.box)
    return left, top, right, bottom


def corpus(
    world: Path,
    out: Path,
    *,
    hallucination: float,
    per_image: int,
    seed: int,
    styles: Sequence[Style] = STYLES,
) -> dict[str, Any]:
    """Write `out`/triples.jsonl and `out`/truth.jsonl from the train pictures of a world.

    The oracle's replies go the way of every teacher's: through the cache (`out`/teacher) and the
    strict reader. Pictures are named below `world`/images.

    Args:
        world: A folder of `sightline world`.
        out: Folder to write; an interrupted run goes on.
        hallucination: Probability that one fact of a triple is false.
        per_image: Triples of a picture at most, in equal parts of the styles.
        seed: Of every lot.
        styles: `ids`, `descriptions` or both.

    Returns:
        Counts: pictures, triples, false ones, and these by kind of error and by part.

    Raises:
        DataError: There is no world, or it was made by another version.
        UsageError: A number makes no sense.
    """
    if per_image < 1:
        raise UsageError(f"at least one triple of a picture, found {per_image}")
    made = build.load(world)
    known = pictures(made)
    each = min(3, -(-per_image // len(styles)))
    how = generate.Writing(-(-per_image // (each * len(styles))), each, tuple(styles), seed=seed)
    oracle = Oracle(made, hallucination, seed)
    with Teacher(out / "teacher", oracle) as teacher:
        written = generate.write(teacher, known, how)
    kept = _first(written.triples, per_image, how.styles)
    rows = [truth_row(triple, oracle.judge(triple, each, seed)) for triple in kept]
    triples.write(out / "triples.jsonl", kept)
    write_lines(out / "truth.jsonl", rows)
    wrong = [row for row in rows if not row["true"]]
    return {
        "pictures": len({triple.image for triple in kept}),
        "triples": len(kept),
        "false": len(wrong),
        "errors": dict(sorted(Counter(row["error"] for row in wrong).items())),
        "parts": dict(sorted(Counter(row["part"] for row in wrong).items())),
        "set aside": dict(sorted(written.set_aside.items())),
    }


def _first(found: Sequence[Triple], per_image: int, styles: Sequence[Style]) -> list[Triple]:
    """Take the first triples of each picture, in turn of its styles."""
    room: Counter[tuple[str, Style]] = Counter()
    share = {
        style: per_image // len(styles) + (at < per_image % len(styles))
        for at, style in enumerate(styles)
    }
    kept = []
    for triple in found:
        key = (triple.image, triple.style)
        if room[key] < share[triple.style]:
            room[key] += 1
            kept.append(replace(triple, index=room[key] - 1))
    return kept


def truth_row(triple: Triple, told: Told) -> dict[str, Any]:
    """Return a line of truth.jsonl."""
    at = next((n for n in range(3) if told.parts[n] != told.true[n]), None)
    return {
        "id": triple.id,
        "image": triple.image,
        "true": not told.part,
        "part": told.part or None,
        "error": told.error or None,
        "fact": told.fact,
        "was": None if at is None else told.true[at],
        "is": None if at is None else told.parts[at],
    }


def annotate(
    facts_of: Path | Iterable[Mapping[str, Any]], *, noise: float, seed: int
) -> list[dict[str, Any]]:
    """Return what two simulated annotators say, as lines that `sightline critic labels` reads.

    `facts_of` is truth.jsonl, or its rows. Each rates question and answer, then the rationale: 3
    where it is true, 1 where it is false, and with probability `noise` another rating, drawn evenly
    from the other two. Where the first is 1, the second is not asked (null), as in LSKD, section
    2.3.

    Raises:
        UsageError: `noise` is no probability.
        DataError: The file is none of truth.
    """
    if not 0 <= noise <= 1:
        raise UsageError(f"an annotator's noise is 0 to 1, found {noise}")
    out = []
    for row in read_lines(facts_of) if isinstance(facts_of, Path) else facts_of:
        ratings = []
        for name in ANNOTATORS:
            draw = Random(repr((seed, "annotator", name, row["id"])))
            qa = _rated(row["part"] != "qa", noise, draw)
            why = _rated(row["part"] is None, noise, draw)
            ratings.append({"annotator": name, "qa": qa, "r": None if qa == 1 else why})
        out.append({"id": row["id"], "ratings": ratings})
    return out


def _rated(good: bool, noise: float, draw: Random) -> int:
    deserved = 3 if good else 1
    wavers, other = draw.random() < noise, draw.choice([n for n in (1, 2, 3) if n != deserved])
    return other if wavers else deserved
