"""POPE: coco_pope_{random,popular,adversarial}.json, built by POPE's own rules.

Li et al. 2023 (arXiv 2305.10355), section 4.1: of a picture with at least three kinds of objects,
three that are there and three that are not are asked for, in turns. Absent ones are drawn at
random; or are the most frequent kinds of the pictures; or those that most often occur together
with the one asked before. The counts come from the test scenes. Pictures are not called
COCO_val2014_*: altered questions about COCO must not pass for POPE's. Imports harness.world.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any

from harness.world import lore
from harness.world.formats import _coco
from harness.world.scene import Scene, World
from harness.world.wording import article

ASKED = 3
"""Kinds asked for that are there, and as many that are not."""
Pick = Callable[[str, Sequence[str]], str]
"""(the kind asked before, the kinds that may be asked) -> the absent kind that is asked."""


def write(world: World, folder: Path) -> None:
    """Write the three files and their pictures into `folder`."""
    scenes = [s for s in world.split("test") if len(_kinds(s)) >= ASKED]
    often = Counter(kind for scene in scenes for kind in _kinds(scene))
    together = Counter(pair for scene in scenes for pair in permutations(_kinds(scene), 2))
    for split in ("random", "popular", "adversarial"):
        rows: list[dict[str, Any]] = []
        for scene in scenes:
            draw = world.draw("pope", split, scene.id)
            for kind, there in _questions(scene, draw, _pick(split, draw, often, together)):
                rows.append(
                    {
                        "question_id": len(rows) + 1,
                        "image": file_name(scene),
                        "text": f"Is there {article(kind)} in the image?",
                        "label": "yes" if there else "no",
                    }
                )
        _coco.dump_lines(rows, folder / f"coco_pope_{split}.json")
    for scene in scenes:
        world.place(scene, folder / "val2014" / file_name(scene))


def file_name(scene: Scene) -> str:
    """Return what the picture is called here."""
    return f"world_val_{scene.id:012d}.jpg"


def _kinds(scene: Scene) -> list[str]:
    return sorted({thing.kind for thing in scene.things})


def _questions(scene: Scene, draw: Random, pick: Pick) -> Iterator[tuple[str, bool]]:
    """Yield kinds that are there and kinds that are not, in turns; none twice."""
    here = _kinds(scene)
    left = [kind for kind in lore.KINDS if kind not in here]
    for kind in draw.sample(here, ASKED):
        absent = pick(kind, left)
        left.remove(absent)
        yield kind, True
        yield absent, False


def _pick(
    split: str, draw: Random, often: Counter[str], together: Counter[tuple[str, str]]
) -> Pick:
    if split == "random":
        return lambda kind, left: draw.choice(left)
    if split == "popular":
        return lambda kind, left: max(left, key=lambda other: (often[other], other))
    return lambda kind, left: max(
        left, key=lambda other: (together[kind, other], often[other], other)
    )
