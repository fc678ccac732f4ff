"""The log of the training that made a model: `train_log.jsonl`, one JSON object per line.

    {"step", "samples", "tokens", "loss", "grad_norm", "lr": {group: rate}, "tokens_per_s", "mfu",
     "seconds"}                                            a logged step; any of them may be absent
    {"step", "eval": {"task", "metric", "value", "low", "high"}}      a score of a checkpoint; no
                                                                      interval where none was made

A run folder holds no log. It names the model that was asked, and a log is looked for in that
folder, in the one above (a checkpoint lies in its training's folder), and above a folder
`checkpoints`. What is shown comes with the log's name and digest. Standard library only.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.errors import DataError

NAME = "train_log.jsonl"
_SERIES = ("loss", "grad_norm", "tokens_per_s", "samples_per_s", "mfu")
_STEP = re.compile(r"(?:checkpoint|step|ckpt|global_step)[-_]?(\d{1,12})$")
_MOST_GROUPS = 8
_LONGEST = 1_000_000


@dataclass(frozen=True)
class Score:
    """What a checkpoint scored."""

    step: int
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Log:
    """A training log."""

    path: Path
    digest: str
    series: Mapping[str, Sequence[tuple[int, float]]]
    """loss, grad_norm, tokens_per_s or samples_per_s, mfu: (step, value), where finite."""
    rates: Mapping[str, Sequence[tuple[int, float]]]
    """Learning rates by parameter group."""
    scores: Mapping[tuple[str, str], Sequence[Score]]
    """By (task, metric)."""
    steps: int
    last: Mapping[str, float]
    """step, samples, tokens, seconds as the log has them last."""
    notes: Sequence[str]
    """What was passed over."""
    picked: int | None
    """The step whose checkpoint was asked, where its folder's name says it."""


def find(head: Mapping[str, Any]) -> Path | None:
    """Return the log beside the model of a run (run.json); None where there is none."""
    options = head["model"].get("options") or {}
    for place in (options.get("adapter"), _folder(head["model"]["address"])):
        if not isinstance(place, str) or not place or "\0" in place or len(place) > 4000:
            continue
        folder = Path(place)
        if not folder.is_dir():
            continue
        above = folder.resolve().parent
        nearby = [folder, above, *([above.parent] if above.name == "checkpoints" else [])]
        for near in nearby:
            if (near / NAME).is_file():
                return near / NAME
    return None


def _folder(address: str) -> str:
    """Return the place of an address such as transformers:out/checkpoint-500."""
    return address.partition(":")[2]


def read(path: Path, head: Mapping[str, Any]) -> Log:
    """Read a log. Raises DataError where it cannot be read or holds no step."""
    found = _Reading()
    hashed = sha256()
    try:
        with path.open("rb") as file:
            for line in file:
                hashed.update(line)
                found.take(line)
    except OSError as error:
        raise DataError(f"{path}: the training log cannot be read: {error}") from error
    if not found.steps and not found.scores:
        raise DataError(f"{path}: no training log: no line of it has a step with numbers")
    return Log(
        path, hashed.hexdigest(), found.series, found.rates, found.scores, len(found.steps),
        found.last, list(found.notes()), _picked(head),
    )  # fmt: skip


def _picked(head: Mapping[str, Any]) -> int | None:
    options = head["model"].get("options") or {}
    places = (options.get("adapter"), _folder(head["model"]["address"]))
    for place in places:
        named = _STEP.search(str(place or "").rstrip("/"))
        if named:
            return int(named[1])
    return None


class _Reading:
    """What has been read so far. Where a log goes back in steps, the later line stands."""

    def __init__(self) -> None:
        self.series: dict[str, list[tuple[int, float]]] = {name: [] for name in _SERIES}
        self.rates: dict[str, list[tuple[int, float]]] = {}
        self.scores: dict[tuple[str, str], list[Score]] = {}
        self.steps: list[int] = []
        self.last: dict[str, float] = {}
        self._bad = self._again = self._infinite = 0

    def take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            found: Any = json.loads(line) if len(line) <= _LONGEST else None
        except (ValueError, RecursionError):
            found = None
        step = found.get("step") if isinstance(found, dict) else None
        if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < 10**12:
            self._bad += 1
        elif "eval" in found:
            self._score(step, found["eval"])
        else:
            self._step(step, found)

    def _step(self, step: int, found: Mapping[str, Any]) -> None:
        if self.steps and step <= self.steps[-1]:
            self._again += 1
            curves: list[list[Any]] = [*self.series.values(), *self.rates.values()]
            for values in (*curves, *self.scores.values()):
                while values and _at(values[-1]) >= step:
                    values.pop()
            while self.steps and self.steps[-1] >= step:
                self.steps.pop()
        self.steps.append(step)
        self.last["step"] = step
        for name in ("samples", "tokens", "seconds"):
            if (value := _number(found.get(name))) is not None:
                self.last[name] = value
        for name in _SERIES:
            value = _number(found.get(name))
            if value is not None:
                self.series[name].append((step, value))
            elif found.get(name) is not None:
                self._infinite += 1
        rates = found.get("lr")
        groups = rates if isinstance(rates, Mapping) else {"": rates}
        for group, rate in groups.items():
            value = _number(rate)
            if value is not None and (group in self.rates or len(self.rates) < _MOST_GROUPS):
                self.rates.setdefault(str(group), []).append((step, value))

    def _score(self, step: int, found: Any) -> None:
        value = _number(found.get("value")) if isinstance(found, Mapping) else None
        if value is None:
            self._bad += 1
            return
        name = str(found.get("task") or ""), str(found.get("metric") or "")
        scores = self.scores.setdefault(name, [])
        while scores and scores[-1].step >= step:
            scores.pop()
        scores.append(Score(step, value, _number(found.get("low")), _number(found.get("high"))))

    def notes(self) -> Iterator[str]:
        """Yield what a reader of the curves must know."""
        for count, what in (
            (
                self._again,
                "times the log goes back (a resumed training): the later lines are shown",
            ),
            (self._infinite, "values were no finite numbers and are gaps"),
            (self._bad, "lines could not be read"),
        ):
            if count:
                yield f"{count:,} {what}"


def _at(value: Any) -> int:
    return int(value.step if isinstance(value, Score) else value[0])


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
