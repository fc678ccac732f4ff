"""Runs for tests of comparing and gating: yes/no questions whose answers a test chooses."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.api import run
from harness.record import Record
from harness.types import Answer, Failure, Image, Metric, Sample, Score, Source, Task

KINDS = ("accuracy", "f1", "yes_ratio")


class Says:
    """A model in this process that says what it is told to, or fails."""

    looks = False

    def __init__(self, say: Callable[[int], str | None], name: str) -> None:
        self.say, self.name = say, name

    def describe(self) -> dict[str, str]:
        return {"kind": self.name}

    def answer(self, samples, ask, decoding):
        for at, sample in enumerate(samples):
            text = self.say(int(sample.id.removeprefix("q")))
            if text is None:
                yield at, Failure("no answer")
            else:
                yield at, Answer(text, stop="length" if text.endswith("...") else "end")


def score(sample: Sample, answer: Answer) -> Score:
    """Judge yes or no; an answer that is neither is unparsed and wrong; `judge` waits for one."""
    if answer.text == "judge":
        return Score(None, status="unjudged", reason="the judge is away")
    said = answer.text.lower().rstrip(".")
    gold = float(sample.target == "yes")
    if said not in ("yes", "no"):
        return Score(0.0, status="unparsed", stats={"gold": gold, "yes": 1 - gold})
    return Score(float(said == sample.target), said, stats={"gold": gold, "yes": said == "yes"})


def gold(i: int) -> str:
    """Return the right answer of question i."""
    return "yes" if i % 2 == 0 else "no"


def wrong(i: int) -> str:
    """Return the wrong answer of question i."""
    return "no" if i % 2 == 0 else "yes"


def task(
    n: int = 400, per_image: int = 1, headline: str = "accuracy", order: Sequence[int] = (),
    name: str = "pope", **more: object,
) -> Task:  # fmt: skip
    """Make a task of n questions, `per_image` of them on each image."""

    def samples():
        for i in order or range(n):
            image = Image(f"scene_{i // per_image:05d}.jpg")
            question = f"Is there thing {i} in the image?"
            groups = {"half": "first" if i < n // 2 else "second"}
            yield Sample(f"q{i}", (image, question), gold(i), cluster=image.name, groups=groups)

    metrics = (Metric("accuracy"), Metric("f1", "f1"), Metric("yes_ratio", "yes_ratio"))
    made = {"version": "1", "source": Source("made"), "scorer": "toy@1", **more}
    return Task(name=name, samples=samples, score=score, metrics=metrics, headline=headline, **made)


def record(folder: Path, say: Callable[[int], str | None], made: Task, model: str = "") -> Record:
    """Run a task on a model that says `say(i)` to question i."""
    return run(Says(say, model or folder.name), made, out=folder, max_failures=1)


def right_but(*broken: int) -> Callable[[int], str]:
    """Answer all right but some."""
    bad = set(broken)
    return lambda i: wrong(i) if i in bad else gold(i)


def noisy(share: float, seed: int) -> Callable[[int], str]:
    """Answer a share of the questions wrongly."""
    draw = random.Random(seed)
    bad = {i for i in range(100_000) if draw.random() < share}
    return lambda i: wrong(i) if i in bad else gold(i)


def edit(folder: Path, **changes: object) -> None:
    """Change run.json by hand."""
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
