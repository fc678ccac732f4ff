"""SNLI-VE: sentences that a picture makes true, makes false, or leaves open.

    pairs       snli_ve_{train,dev,test}.jsonl
    pictures    flickr30k_images/<Flickr30K_ID>.jpg

Xie et al. 2019 (arXiv 1901.06706); fields as in SNLI with the Flickr30K id. Every sentence occurs
three times, once with each label, on three pictures: words alone tell nothing. "A man in a red
shirt is thirsty" follows where he drinks, is open where he does something else, and is
contradicted where there is no such man. Half of the test scenes are `dev`, half `test`.
Imports harness.world.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from harness.world import wording
from harness.world.formats._choices import About, arguable, beyond
from harness.world.formats._deal import thin
from harness.world.formats._paper import lines
from harness.world.lore import ACTIONS
from harness.world.scene import Scene, Thing, World

_SPLITS = ("train", "dev", "test")
_MOST: Mapping[str, int] = {"train": 300_000, "dev": 2_970, "test": 2_970}
"""Most sentences of a split; thrice as many pairs are fewer than half of the published ones."""
_LETTERS = {"entailment": "e", "neutral": "n", "contradiction": "c"}
_CLAIMS: tuple[tuple[About, str], ...] = (
    ("intent", "wants to"),
    ("after", "is going to"),
    ("before", "had to"),
)
_FEW = 24
"""With fewer test scenes `dev` and `test` share them: a sentence needs three to stand beside."""
_REACH = 60
"""Pictures that are looked at to find one where a sentence is open or false."""


@dataclass(frozen=True, slots=True)
class _Sentence:
    scene: Scene
    who: str
    """"man in a red shirt": people are told apart by what stands here."""
    claim: str

    @property
    def text(self) -> str:
        return wording.sentence(f"{wording.article(self.who)} {self.claim}")


def write(world: World, folder: Path) -> None:
    """Write all three. `folder` is what `sightline run --task snli_ve --data` takes."""
    parts: dict[str, list[Scene]] = {name: [] for name in _SPLITS}
    parts["train"] += world.split("train")
    held = world.split("test")
    both = len(held) < _FEW
    parts["dev"] += held if both else held[::2]
    parts["test"] += held if both else held[1::2]
    for name, scenes in parts.items():
        rng = world.draw("snli_ve", name)
        said = [one for s in scenes for one in _say(s, world.draw("snli_ve", s.id))]
        rows = list(_triples(scenes, thin(said, _MOST[name], rng), rng))
        rows.sort(key=lambda row: row[0].id)
        counts: dict[int, int] = defaultdict(int)
        out = []
        for scene, sentence, label in rows:
            out.append(_row(world, scene, sentence, label, counts[scene.id]))
            counts[scene.id] += 1
            world.place(scene, folder / "flickr30k_images" / f"{_flickr(scene)}.jpg")
        lines(folder / f"snli_ve_{name}.jsonl", out)


def _flickr(scene: Scene) -> str:
    return str(1_000_000_000 + scene.id)


def _row(world: World, scene: Scene, sentence: str, label: str, number: int) -> dict[str, Any]:
    image = f"{_flickr(scene)}.jpg"
    caption = number % 5
    premise = wording.captions(scene, world.draw("snli_ve", "premise", scene.id))[caption]
    return {
        "annotator_labels": [label],
        "captionID": f"{image}#{caption}",
        "gold_label": label,
        "pairID": f"{image}#{caption}r{number + 1}{_LETTERS[label]}",
        "sentence1": premise,
        "sentence2": sentence,
        "Flickr30K_ID": _flickr(scene),
    }


def _names(person: Thing) -> tuple[str, ...]:
    """Return what a person may be called, in the order of their length."""
    body = person.person
    assert body
    return (body.gender, wording.look(person), f"{body.gender} with {body.hair} hair")


def _say(scene: Scene, rng: Random) -> Iterator[_Sentence]:
    """Yield sentences that follow from the picture, three about every person."""
    for person in scene.people:
        body = person.person
        assert body
        for name in _names(person):
            about, lead = rng.choice(_CLAIMS)
            claim = f"{lead} {rng.choice(beyond(scene, person, about))}"
            if rng.random() < 0.25 and " it" not in ACTIONS[body.action].inference:
                claim = ACTIONS[body.action].inference
            yield _Sentence(scene, name, claim)


def _claims(scene: Scene, person: Thing) -> frozenset[str]:
    """Return all that follows about a person, and what might be thought to follow."""
    assert person.person
    said = {ACTIONS[person.person.action].inference}
    for about, lead in _CLAIMS:
        said |= {f"{lead} {text}" for text in arguable(scene, person, about)}
    return frozenset(said)


def _triples(
    scenes: Sequence[Scene], said: Sequence[_Sentence], rng: Random
) -> Iterator[tuple[Scene, str, str]]:
    """Yield each sentence with three pictures, once per label; those without are left out.

    A picture takes what it has least of first, so that labels do not depend on the picture.
    """
    people = {
        scene.id: [(set(_names(p)), _claims(scene, p)) for p in scene.people] for scene in scenes
    }
    with_name: dict[str, list[Scene]] = defaultdict(list)
    for scene in scenes:
        for name in sorted({name for names, _ in people[scene.id] for name in names}):
            with_name[name].append(scene)
    seen: set[tuple[int, str]] = set()
    load: dict[tuple[int, str], int] = defaultdict(int)
    for one in said:
        if (one.scene.id, one.text) in seen:
            continue

        def is_open(scene: Scene, one: _Sentence = one) -> bool:
            return (scene.id, one.text) not in seen and not any(
                one.claim in claims for names, claims in people[scene.id] if one.who in names
            )

        def is_false(scene: Scene, one: _Sentence = one) -> bool:
            return (scene.id, one.text) not in seen and not any(
                one.who in names for names, _ in people[scene.id]
            )

        picked = []
        for label, pool, fits in (
            ("neutral", with_name[one.who], is_open),
            ("contradiction", scenes, is_false),
        ):
            near = rng.sample(list(pool), min(_REACH, len(pool)))
            near.sort(key=lambda scene, label=label: load[scene.id, label])  # type: ignore[misc]
            picked.append((label, next((scene for scene in near if fits(scene)), None)))
        placed = [("entailment", one.scene), *((label, at) for label, at in picked if at)]
        if len(placed) == len(_LETTERS):
            for label, at in placed:
                yield at, one.text, label
                seen.add((at.id, one.text))
                load[at.id, label] += 1
