"""Training pictures against evaluated pictures, by hash of the file, before the first step.

A picture that a benchmark asks about must not be trained on. The files' sizes are compared first,
so that only pictures of equal size are hashed. Imports the standard library, harness and trainers.
"""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from harness.engine.shown import undrawn
from harness.errors import DataError
from harness.types import Image
from trainers.engine.records import BadRecord, Records
from trainers.engine.video import frame_files
from trainers.recipe import Common

Watched = tuple[tuple[str, str], ...]
"""Tasks with where their data are, "" for their own place; a task may be there with several."""


def watched(recipe: Common) -> Watched:
    """Return the tasks whose pictures are kept out, each place of data once."""
    named = [(task, data) for task, _, data in (w.partition("=") for w in recipe.hold_out)]
    asked = [(evaluation.task, evaluation.data) for evaluation in recipe.evaluate]
    known = {task for task, _ in named}
    return tuple(dict.fromkeys(named + [one for one in asked if one[1] or one[0] not in known]))


def evaluated(tasks: Watched) -> dict[int, dict[str, str]]:
    """Return size in bytes to hash to `TASK IMAGE` of every picture that `tasks` ask about."""
    from harness.find import make_task

    out: dict[int, dict[str, str]] = {}
    for name, data in tasks:
        known: set[str] = set()
        for sample in make_task(name, data or None).samples():
            for part in sample.prompt:
                if not isinstance(part, Image):
                    continue
                part = undrawn(part)  # as it lies on disk, also where a task draws regions on it
                if part.name in known or part.source is None:
                    continue
                known.add(part.name)
                found = part.read()
                digest = sha256(found).hexdigest()
                out.setdefault(len(found), {})[digest] = f"{name} {part.name}"
    return out


def check(recipe: Common, records: Records, images: Path | None, kept: Iterable[int]) -> int:
    """Return how many pictures were compared.

    Raises:
        DataError: A training picture is one of the evaluated ones; the first few are named.
    """
    tasks = watched(recipe)
    if not tasks or images is None:
        return 0
    against = evaluated(tasks)
    seen: set[Path] = set()
    leaks: list[str] = []
    for at in kept:
        try:
            record, _, folder = records.get(int(at))
        except BadRecord:
            continue
        names = frame_files(images / folder, record.images) if record.video else record.images
        for path in (images / folder / name for name in names):
            if path in seen:
                continue
            seen.add(path)
            known = against.get(path.stat().st_size) if path.is_file() else None
            if known and (hit := known.get(sha256(path.read_bytes()).hexdigest())):
                leaks.append(f"{path.relative_to(images)} of {records.name(int(at))} is {hit}")
    if leaks:
        raise DataError(
            f"{len(leaks)} training pictures are pictures of evaluated tasks: "
            f"{'; '.join(leaks[:3])}. Take these records out; nothing was trained"
        )
    return len(seen)
