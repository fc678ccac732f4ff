"""ScienceQA: school questions on a picture, on a text or on neither, with lectures and solutions.

    problems    problems.json: id to question, choices, answer, hint, lecture, solution, ...
    splits      pid_splits.json
    pictures    images/<split>/<id>/image.png

Lu et al. 2022 (arXiv 2209.09513), fields and their order as published. Every fourth test scene is
`val`. The pictures are the world's JPEG files under the published name. Skills: _science_skills.py.
Imports harness.world.
"""

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from harness.world.formats._deal import even, thin
from harness.world.formats._paper import document
from harness.world.formats._science_skills import SKILLS, Problem
from harness.world.scene import Scene, World

_SPLITS = ("train", "val", "test")
_MOST: Mapping[str, int] = {"train": 1_000_000, "val": 2_000, "test": 2_000}
"""Most questions of a split: fewer than half of the published ones (`_deal.thin`)."""
_MINI = 10
"""Of so many problems one is in the small split."""
_ALIKE = ("What time of day", "Which trait", "What place")
"""Questions with the same few answers everywhere, which are evened out."""


def write(world: World, folder: Path) -> None:
    """Write all splits. `folder` is what `sightline run --task scienceqa --data` takes."""
    parts: dict[str, list[Scene]] = {name: [] for name in _SPLITS}
    parts["train"] += world.split("train")
    for at, scene in enumerate(world.split("test")):
        parts["val" if at % 4 == 3 else "test"].append(scene)
    problems: dict[str, dict[str, Any]] = {}
    splits: dict[str, list[str]] = {}
    for name, scenes in parts.items():
        rng = world.draw("scienceqa", name)
        ids = []
        for scene, problem in _chosen(world, name, scenes, rng):
            id = str(len(problems) + 1)
            problems[id] = _row(problem, name, rng)
            ids.append(id)
            if problem.seen:
                world.place(scene, folder / "images" / name / id / "image.png")
        splits[name] = ids
    for name in _SPLITS:
        splits[f"mini{name}"] = splits[name][::_MINI]
    document(folder / "problems.json", problems)
    document(folder / "pid_splits.json", splits)


def _chosen(
    world: World, name: str, scenes: list[Scene], rng: Random
) -> list[tuple[Scene, Problem]]:
    seen = [kind for scene in scenes for kind in sorted({thing.kind for thing in scene.things})]
    found = [
        (scene, problem)
        for scene in scenes
        for skill in SKILLS
        for problem in skill(scene, world.draw("scienceqa", scene.id, skill.__name__), seen)
    ]
    rng.shuffle(found)
    closed = [row for row in found if row[1].question.startswith(_ALIKE)]
    rest = [row for row in found if not row[1].question.startswith(_ALIKE)]
    closed = even(closed, lambda row: row[1].skill, lambda row: row[1].right)
    kept = thin([*closed, *rest], _MOST[name], rng)
    return sorted(kept, key=lambda row: row[0].id)


def _row(problem: Problem, split: str, rng: Random) -> dict[str, Any]:
    skill = problem.skill
    choices = rng.sample((problem.right, *problem.wrong), 1 + len(problem.wrong))
    return {
        "question": problem.question,
        "choices": choices,
        "answer": choices.index(problem.right),
        "hint": problem.hint,
        "image": "image.png" if problem.seen else None,
        "task": "closed choice",
        "grade": f"grade{skill.grade}",
        "subject": skill.subject,
        "topic": skill.topic,
        "category": skill.category,
        "skill": skill.name,
        "lecture": skill.lecture,
        "solution": problem.solution,
        "split": split,
    }
