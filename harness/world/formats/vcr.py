"""VCR: why do people in a frame do what they do? Four answers, four rationales, by object ids.

    questions    train.jsonl, val.jsonl
    frames       vcr1images/<movie>/<frame>.jpg, beside each a .json with boxes, polygons, names

Zellers et al. 2019 (arXiv 1811.10830), fields and their order as in vcr1annots.zip. Wrong options
are right answers of other scenes with that scene's people and things put in, and every right answer
is wrong exactly three times elsewhere: who does not look is at chance. What people want, did before
and will do next follows from what they do (`harness.world.lore.ACTIONS`). Imports harness.world.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from harness.world.formats._deal import deal, thin
from harness.world.formats._frames import place_frame
from harness.world.formats._paper import lines
from harness.world.formats._vcr_words import (
    Item,
    Tokens,
    answer_of,
    answer_reads,
    items,
    rationale_of,
    rationale_reads,
    tokens,
)
from harness.world.scene import Split, World

_FILES: tuple[tuple[str, Split], ...] = (("train", "train"), ("val", "test"))
_MOST: Mapping[Split, int] = {"train": 1_000_000, "test": 13_000}
"""Most questions of a split: fewer than half of the published validation set (`_deal.thin`)."""
_TABLE, _TAKERS = 24, 5
"""Of so many items so many must be able to take an answer with an object id as a wrong option."""
Hands = dict[int, tuple[int, ...]]
"""Position of an item to the positions of those whose answers it gets as wrong options."""


def write(world: World, folder: Path) -> None:
    """Write both splits. `folder` is what `sightline run --task vcr --data` takes."""
    for name, split in _FILES:
        found = [item for scene, rng in world.each(split, "vcr") for item in items(scene, rng)]
        rng = world.draw("vcr", split)
        found = _eased(thin(found, _MOST[split], rng), rng)
        kept, answers, rationales = _dealt(found, rng)
        rows = []
        asked: dict[int, int] = defaultdict(int)
        frames = {scene: n for n, scene in enumerate(dict.fromkeys(i.scene.id for i in kept))}
        for at, item in enumerate(kept):
            here = (f"{name}-{frames[item.scene.id]}", asked[item.scene.id], f"{name}-{at}")
            asked[item.scene.id] += 1
            rows.append(_row(kept, at, answers[at], rationales[at], here, rng))
        lines(folder / f"{name}.jsonl", rows)
        for scene in world.split(split):
            if scene.id in frames:
                place_frame(world, scene, folder / "vcr1images")


def _dealt(found: Sequence[Item], rng: Random) -> tuple[list[Item], Hands, Hands]:
    """Give every item three wrong answers and three wrong rationales.

    Whoever cannot be served leaves the table, and the cards of its groups are dealt anew, so that
    each remaining answer is right once and wrong three times.
    """
    answers = _Tables(found, lambda item: item.kind, answer_reads, rng)
    rationales = _Tables(found, lambda item: item.detail, rationale_reads, rng)
    gone: set[int] = set()
    while True:
        lost = answers.deal(gone) | rationales.deal(gone)
        if lost <= gone:
            break
        gone |= lost
    kept = [at for at in range(len(found)) if at not in gone]
    new = {at: number for number, at in enumerate(kept)}
    hands = [
        {new[at]: tuple(new[card] for card in table.hands[at]) for at in kept}
        for table in (answers, rationales)
    ]
    return [found[at] for at in kept], hands[0], hands[1]


def _eased(found: Sequence[Item], rng: Random) -> list[Item]:
    """Say an object in words, not by its id, where too few other scenes have such a thing."""
    kinds: dict[str, list[Item]] = defaultdict(list)
    for item in found:
        kinds[item.kind].append(item)
    tables = {kind: rng.sample(them, min(_TABLE, len(them))) for kind, them in kinds.items()}
    out = []
    for item in found:
        takers = sum(answer_reads(item, other) is not None for other in tables[item.kind])
        out.append(replace(item, tag=item.tag and (item.to_person or takers >= _TAKERS)))
    return out


class _Tables:
    """Items at tables, one per group; cards are dealt at each table by itself."""

    def __init__(
        self,
        found: Sequence[Item],
        key: Callable[[Item], Hashable],
        reads: Callable[[Item, Item], Hashable | None],
        rng: Random,
    ) -> None:
        self.found, self.reads, self.rng = found, reads, rng
        self.groups: dict[Hashable, list[int]] = defaultdict(list)
        for at, item in enumerate(found):
            self.groups[key(item)].append(at)
        self.hands: Hands = {}

    def deal(self, gone: set[int]) -> set[int]:
        """Deal at every table that is new or that somebody of `gone` left; return who cannot."""
        lost = set()
        for name, group in self.groups.items():
            members = [at for at in group if at not in gone]
            if len(members) == len(group) and all(at in self.hands for at in group):
                continue
            self.groups[name] = members
            for at, cards in zip(members, self._dealt(members), strict=True):
                if cards is None:
                    lost.add(at)
                else:
                    self.hands[at] = cards
        return lost

    def _dealt(self, members: Sequence[int]) -> list[tuple[int, ...] | None]:
        first = not any(at in self.hands for at in members)

        def wrong(i: int, j: int) -> Hashable | None:
            return self.reads(self.found[members[j]], self.found[members[i]])

        dealt = deal(len(members), wrong, self.rng, picky=first)
        return [cards and tuple(members[card] for card in cards) for cards in dealt]


def _row(
    kept: Sequence[Item],
    at: int,
    answers: tuple[int, ...],
    rationales: tuple[int, ...],
    here: tuple[str, int, str],
    rng: Random,
) -> dict[str, Any]:
    item, (image, number, annotation) = kept[at], here
    question = tokens(item.question, item)
    answer_order = rng.sample(range(4), 4)
    rationale_order = rng.sample(range(4), 4)
    said = [answer_of(kept[j], item) for j in (at, *answers)]
    because = [rationale_of(kept[j], item) for j in (at, *rationales)]
    return {
        "movie": item.at.movie,
        "objects": [thing.kind.replace(" ", "") for thing in item.at.things],
        "interesting_scores": [1, 1],
        "answer_likelihood": "likely",
        "img_fn": item.at.image,
        "metadata_fn": item.at.metadata,
        "answer_orig": original(said[0]),
        "question_orig": original(question),
        "rationale_orig": original(because[0]),
        "question": question,
        "answer_match_iter": answer_order,
        "answer_sources": [(at, *answers)[turn] for turn in answer_order],
        "answer_choices": [said[turn] for turn in answer_order],
        "answer_label": answer_order.index(0),
        "rationale_choices": [because[turn] for turn in rationale_order],
        "rationale_sources": [(at, *rationales)[turn] for turn in rationale_order],
        "rationale_match_iter": rationale_order,
        "rationale_label": rationale_order.index(0),
        "img_id": image,
        "question_number": number,
        "annot_id": annotation,
        "match_fold": f"{annotation.partition('-')[0]}-0",
        "match_index": at,
    }


def original(said: Tokens) -> str:
    """Return tokens as the text that was typed in, where objects count from 1."""
    words = [
        token if isinstance(token, str) else " and ".join(str(i + 1) for i in token)
        for token in said
    ]
    return " ".join(words).replace(" ,", ",").replace(" .", ".").replace(" ?", "?")
