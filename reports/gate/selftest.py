"""Does the gate ring when it must, and only then? Tried on the very runs that it will guard.

Faults are made in copies of the baseline's run folders and go through the whole gate: the copy
unchanged, its rows in another order, items that went wrong, items that are gone, a judge that was
away, an F1 that falls while accuracy stays. Given runs of the candidate as well, sides are swapped
cluster by cluster at random: then nothing differs but chance, and what still blocks is a false
alarm. Writes to a temporary folder only.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from harness import fingerprint
from harness.record import Row
from harness.seal import seal
from harness.stats import Sums, estimate_all
from harness.types import Metric
from reports import missing
from reports.comparable import Run, counted
from reports.compare import Comparison, Table, compare, tested
from reports.gate.config import Config, TaskConfig
from reports.gate.evaluate import attempt
from reports.gate.verdict import FEWEST_CLUSTERS, Evidence, decide

OUTAGE, DROPPED = 0.20, 0.05
DRAWS = 200
Rows = Sequence[Row]


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault in one task."""

    task: str
    fault: str
    expected: int
    found: int | None
    """Exit code; None where the fault cannot be made of these data."""
    told: str = ""

    @property
    def ok(self) -> bool:
        """Whether the gate did what it must."""
        return self.found is None or self.found == self.expected


def faults(config: Config, base: Mapping[str, Run], *, seed: int = 0) -> Iterator[Trial]:
    """Try every fault on every gated task of the baseline."""
    tasks = config.tasks if config.tasks is not None else {task: TaskConfig() for task in base}
    for task in (task for task in tasks if task in base):
        clusters = len({row["cluster"] for row in base[task].rows})
        if tasks[task].tier == "advisory" or clusters < FEWEST_CLUSTERS:
            yield Trial(task, "any", 0, None, "advice only: it cannot block")
            continue
        how = tasks[task].model_copy(update={"tier": "critical", "must_pass": ()})
        one = config.model_copy(
            update={
                "tasks": {task: how},
                "waivers": (),
                "allow": (),
                "rejudged": {},
                "anchors": {},
            }
        )
        for name, expected, made in _FAULTS:
            pair = made(base[task], how, random.Random(seed))
            if pair is None:
                yield Trial(task, name, expected, None, "cannot be made of this metric")
            else:
                yield _try(one, base[task], name, expected, pair)


def _try(config: Config, run: Run, name: str, expected: int, pair: tuple[Rows, Rows]) -> Trial:
    with TemporaryDirectory() as folder:
        home = Path(folder)
        _write(home / "base", run, pair[0])
        _write(home / "cand", run, pair[1])
        how = config.model_copy(update={"baseline": (str(home / "base"),)})
        found = attempt(how, [home / "cand"], home=home, today=date.today(), ledger=False)
        told = [reason for task in found.tasks for reason in task.reasons] + list(found.errors)
        first = told[0].partition("\n")[0] if told else ""
        first = first.replace(f"{folder}/", "")
        return Trial(run.task, name, expected, found.exit_code, first)


def _write(folder: Path, run: Run, rows: Rows) -> None:
    """Write rows as a finished run whose numbers follow from them."""
    folder.mkdir()
    lines = (json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text("".join(lines), encoding="ascii")
    counts = Counter(row["status"] for row in rows)
    metrics = estimate_all(rows, run.metrics)
    head = {
        **run.head,
        "counts": {"total": len(rows), **counts},
        "metrics": {name: asdict(value) for name, value in metrics.items()},
        "fingerprint": {
            **run.head["fingerprint"], "data": fingerprint.data(row["item"] for row in rows),
        },
        "seal": seal(folder),
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(head), encoding="utf-8")


Fault = Callable[[Run, TaskConfig, random.Random], tuple[Rows, Rows] | None]


def _same(run: Run, how: TaskConfig, draw: random.Random) -> tuple[Rows, Rows]:
    return run.rows, run.rows


def _shuffled(run: Run, how: TaskConfig, draw: random.Random) -> tuple[Rows, Rows]:
    rows = list(run.rows)
    draw.shuffle(rows)
    return run.rows, [{**row, "index": at} for at, row in enumerate(rows)]


def _broken(run: Run, how: TaskConfig, draw: random.Random) -> tuple[Rows, Rows] | None:
    """Let a fifth of the items, in a fifth of the clusters, go as badly as can be."""
    clusters = sorted({row["cluster"] for row in run.rows})
    hit = set(draw.sample(clusters, max(FEWEST_CLUSTERS // 2, len(clusters) // 5)))
    pairs = [
        (row, {**row, "status": "missing"} if row["cluster"] in hit and counted(row) else row)
        for row in run.rows
    ]
    filled = missing.fill(pairs, _headline(run, how), {m.name: m for m in run.metrics}, -1)
    return None if filled is None else (run.rows, [b for _, b in filled])


def _headline(run: Run, how: TaskConfig) -> Metric:
    name = how.metric or run.head["task"]["headline"]
    return next((m for m in run.metrics if m.name == name), run.metrics[0])


def _dropped(run: Run, how: TaskConfig, draw: random.Random) -> tuple[Rows, Rows]:
    gone = set(draw.sample(range(len(run.rows)), max(1, int(DROPPED * len(run.rows)))))
    return run.rows, [row for at, row in enumerate(run.rows) if at not in gone]


def _outage(run: Run, how: TaskConfig, draw: random.Random) -> tuple[Rows, Rows]:
    away = set(draw.sample(range(len(run.rows)), max(1, int(OUTAGE * len(run.rows)))))
    gap: Row = {"status": "unjudged", "score": None, "stats": {}}
    return run.rows, [{**row, **gap} if at in away else row for at, row in enumerate(run.rows)]


def _f1(run: Run, how: TaskConfig, draw: random.Random) -> tuple[Rows, Rows] | None:
    """Answer yes to as many questions of each kind before, as no after: accuracy stays."""
    name = how.metric or run.head["task"]["headline"]
    if not name.endswith("f1") or any("gold" not in r["stats"] for r in run.rows if counted(r)):
        return None
    rows = [row for row in run.rows if counted(row)]
    golds = [row["stats"]["gold"] for row in rows]
    if 2 * sum(golds) != len(golds):
        return None

    def all_say(yes: float) -> Rows:
        said = [{**row["stats"], "yes": yes} for row in rows]
        scores = [float(gold == yes) for gold in golds]
        return [
            {**row, "stats": stats, "score": score}
            for row, stats, score in zip(rows, said, scores, strict=True)
        ]

    return all_say(1.0), all_say(0.0)


_FAULTS: tuple[tuple[str, int, Fault], ...] = (
    ("nothing changed", 0, _same),
    ("rows in another order", 0, _shuffled),
    ("a fifth of the clusters answered wrongly", 1, _broken),
    ("5 % of the items dropped", 3, _dropped),
    ("the judge away for 20 %", 3, _outage),
    ("F1 to 0 at equal accuracy", 1, _f1),
)


@dataclass(frozen=True, slots=True)
class Alarms:
    """What chance alone does on these data."""

    draws: int
    blocked: int
    undecided: int
    noise: Mapping[str, tuple[int, int, int]]
    """By task: items, answers that differ, scores that differ between the two runs."""


def alarms(
    config: Config, base: Mapping[str, Run], cand: Mapping[str, Run], *, draws: int = DRAWS
) -> Alarms:
    """Swap the sides of clusters at random and count what the gate says of it.

    Raises DataError when the runs are not comparable.
    """
    import numpy as np

    tasks = config.tasks if config.tasks is not None else {task: TaskConfig() for task in base}
    found = {
        task: compare(base[task], cand[task], allow=config.allow, metric=how.metric)
        for task, how in tasks.items()
        if task in base and task in cand
    }
    sums = {task: _sums(one) for task, one in found.items()}
    generator = np.random.default_rng(config.seed)
    statuses: Counter[str] = Counter()
    for _ in range(draws):
        evidence = {}
        for task, one in found.items():
            a, b = sums[task]
            swap = generator.random(len(a.by_cluster)) < 0.5
            left = np.where(swap[:, None], b.by_cluster, a.by_cluster)
            right = np.where(swap[:, None], a.by_cluster, b.by_cluster)
            metric = one.headline.metric
            sides = replace(a, by_cluster=left), replace(b, by_cluster=right)
            change = tested(metric, *sides, seed=config.seed, resamples=999)
            scale = 100.0 if metric.percent else 1.0
            margin = tasks[task].margin
            evidence[task] = Evidence(
                tasks[task].tier, change and change.scaled(scale),
                config.margin if margin is None else margin, False, metric.percent,
            )  # fmt: skip
        alpha = config.alpha / config.looks
        decision = decide(evidence, alpha=alpha, suite_margin=config.suite_margin)
        statuses[decision.status] += 1
    noise = {task: _noise(one) for task, one in found.items()}
    return Alarms(draws, statuses["REGRESSED"], statuses["UNDECIDED"], noise)


def _sums(one: Comparison) -> tuple[Sums, Sums]:
    return Table(one.pairs, [one.headline.metric, *one.base.metrics]).sums(one.headline.metric)


def _noise(one: Comparison) -> tuple[int, int, int]:
    both = [(a, b) for a, b in one.pairs if counted(a) and counted(b)]
    return len(both), len(both) - one.same_text, sum(a["score"] != b["score"] for a, b in both)


def text(trials: Sequence[Trial], found: Alarms | None) -> str:
    """Return a self-test for a terminal."""
    from reports.table import printable

    lines = []
    for trial in trials:
        if trial.found is None:
            lines.append(f"--    {trial.task}: {trial.fault}: {trial.told}")
            continue
        mark = "ok  " if trial.ok else "FAIL"
        code = f"exit {trial.found}" + ("" if trial.ok else f", must be {trial.expected}")
        lines.append(f"{mark}  {trial.task}: {trial.fault}: {code} ({trial.told})")
    if found:
        for task, (n, texts, scores) in found.noise.items():
            lines.append(
                f"      {task}: of {n:,} items {texts:,} answers and {scores:,} scores differ"
            )
        lines.append(
            f"      sides swapped at random {found.draws} times: {found.blocked} false blocks "
            f"({found.blocked / found.draws:.1%}), {found.undecided} undecided"
        )
    return "\n".join(printable(line) for line in lines)
