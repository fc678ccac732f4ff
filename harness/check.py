"""Checking a task on its data without a model.

The gold answers must score 100, a constant answer must not beat the commonest gold answer, a
guesser must score about chance, and every image must open. A task that fails here would give
numbers that mean something else.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from statistics import pstdev
from tempfile import TemporaryDirectory

from harness import judging
from harness import run as loop
from harness.errors import SightlineError
from harness.find import make_model, make_task
from harness.record import Record
from harness.types import Image, Sample, Task

Finding = tuple[str, bool, str]
"""(what was checked, whether it is good, detail)."""


def check_task(name: str, data: str | None, *, images: bool = True) -> Iterator[Finding]:
    """Yield one finding per check. Raises DataError when the data cannot be read at all."""
    task = make_task(name, data)
    planned = loop.plan(task, make_model("oracle"))
    samples = planned.samples
    version = f", version {task.source.version}" if task.source.version else ""
    yield "data", True, f"{len(samples):,} samples, ids unique{version}"
    if images:
        yield _images(samples)
    with TemporaryDirectory() as folder:
        for model, judge in (("oracle", _oracle), ("constant", _constant), ("random", _random)):
            planned = loop.plan(task, make_model(model), address=model)
            record = loop.run(planned, Path(folder) / model, max_failures=1)
            if task.judge:  # a judge that knows the gold answers stands in
                knows = judging.Judge(make_model("oracle"), "oracle")
                record = judging.judge(record.folder, task, judging.How([knows]))
            yield (model, *judge(task, samples, record))


def _images(samples: Sequence[Sample]) -> Finding:
    from PIL import Image as Pictures

    images = {part.name: part for s in samples for part in s.prompt if isinstance(part, Image)}
    if images and all(image.source is None for image in images.values()):
        return "images", True, "none in the data folder: recorded answers and floors only"
    bad = []
    for image in images.values():
        try:
            with Pictures.open(BytesIO(image.read())) as opened:
                opened.load()
        except (SightlineError, OSError, SyntaxError, ValueError) as error:
            bad.append(f"{image.name} ({error})")
    if bad:
        return "images", False, f"{len(bad):,} of {len(images):,} do not open: {'; '.join(bad[:3])}"
    return "images", True, f"all {len(images):,} open"


def _oracle(task: Task, samples: Sequence[Sample], record: Record) -> tuple[bool, str]:
    value = record.metrics[task.headline]["value"]
    if task.ceiling is None:
        return value is not None, f"{task.headline} {value} (the data decide the ceiling)"
    near = value is not None and abs(value - task.ceiling) < 1e-9
    return near, f"{task.headline} {value}, ceiling {task.ceiling}"


def _constant(task: Task, samples: Sequence[Sample], record: Record) -> tuple[bool, str]:
    """Compare with the share of the commonest target (rank: choices all alike, so chance)."""
    if _graded(task, samples):
        return _against_chance(task, record, above_only=True)
    ceiling = max(Counter(s.target for s in samples).values()) / len(samples)
    if task.ask == "rank":  # with one list of choices for all, a tie may fall on the commonest
        same = len({sample.choices for sample in samples}) == 1
        ceiling = max(_chance(samples), ceiling if same else 0.0)
    mean = _mean(record)
    near = 4 * (ceiling * (1 - ceiling) / len(samples)) ** 0.5 if task.ask == "rank" else 1e-9
    return mean <= ceiling + near, f"mean score {mean:.4f}, at most {ceiling:.4f} expected"


def _random(task: Task, samples: Sequence[Sample], record: Record) -> tuple[bool, str]:
    if _graded(task, samples):
        return _against_chance(task, record, above_only=False)
    mean = _mean(record)
    if any(not sample.choices for sample in samples):
        return mean < 0.5, f"mean score {mean:.4f} (open answers)"
    chance = _chance(samples)
    spread = 4 * (chance * (1 - chance) / len(samples)) ** 0.5
    return abs(mean - chance) <= spread, f"mean score {mean:.4f}, chance {chance:.4f}"


def _graded(task: Task, samples: Sequence[Sample]) -> bool:
    """Whether a sample's score is not simply right or wrong: the task itself must know chance."""
    relevant = any(sample.relevance for sample in samples)
    return task.ask == "encode" or (relevant and task.chance is not None)


def _against_chance(task: Task, record: Record, *, above_only: bool) -> tuple[bool, str]:
    """Compare the headline with the task's chance, at four standard errors of the row scores."""
    found = record.metrics[task.headline]
    value, said = found["value"], f"{task.headline} {found['value']}, chance {task.chance}"
    if value is None or task.chance is None:
        return value is not None, said
    scores = [row["score"] for row in record.rows() if row["score"] is not None]
    near = 400 * max(pstdev(scores), 0.05) / max(found["n"], 1) ** 0.5
    over = value - task.chance
    return (over if above_only else abs(over)) <= near, said


def _chance(samples: Sequence[Sample]) -> float:
    return sum(1 / len(sample.choices) for sample in samples) / len(samples)


def _mean(record: Record) -> float:
    scores = [row["score"] for row in record.rows() if row["score"] is not None]
    return sum(scores) / len(scores) if scores else float("nan")
