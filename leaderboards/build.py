"""Run folders as one ranked page, with ranks that say what the data can tell apart.

Within a task, runs are ranked only where data, scorer, decoding and judge agree; others stand below
a line that says why. How ranks are made is in ranks.py, what a row holds in entries.py, what people
say of runs in labels.py, what answers take in cost.py. Reads records only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import DataError
from leaderboards.cost import Figure, figures
from leaderboards.entries import Entry, entry
from leaderboards.labels import Label, given
from leaderboards.ranks import Aligned, against, identity, rank
from reports._page_numbers import Scale, scale
from reports._page_read import Run, opened
from reports._page_shell import SCHEMA
from reports._page_shell import render as shell
from reports._page_trend import Figure as PastFigure
from reports._page_trend import figure as past_figure
from reports.aligned import barrier, reason
from reports.comparable import folders_in
from reports.prices import Prices
from reports.trend import History

__all__ = ["Extras", "identity", "render", "render_runs"]

TEMPLATES = Path(__file__).resolve().parent / "templates"


@dataclass(frozen=True)
class Extras:
    """What is put beside the runs."""

    labels: Sequence[Label] = ()
    prices: Prices | None = None
    history: Path | None = None
    """A gate's folder of baselines, whose runs are drawn over time."""


@dataclass
class Group:
    """Runs of a task that may be compared with one another."""

    entries: list[Entry]
    reason: str = ""
    """Why they stand apart; empty for those that are ranked."""


@dataclass
class Board:
    """One task."""

    task: str
    metric: str
    percent: bool
    higher: bool
    chance: float | None
    groups: list[Group]
    scale: Scale | None
    others: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    costs: Sequence[Figure] = ()
    """What answers take, against the score, of the ranked runs."""
    past: PastFigure | None = None
    """The blessed runs of the task over time."""

    @property
    def gaps(self) -> bool:
        """Whether a judge can be held against people or a rule."""
        return any(entry.gap for group in self.groups for entry in group.entries)

    @property
    def trouble(self) -> list[str]:
        """Names of the quality figures that have a column: coverage, unparsed, what occurs."""
        found = [fact for g in self.groups for entry in g.entries for fact in entry.quality]
        always = ("coverage", "unparsed")
        return list(dict.fromkeys(f.name for f in found if f.name in always or f.count))

    @property
    def none(self) -> str:
        """Names of the quality figures that are 0 in every run."""
        every = self.groups[0].entries[0].quality
        return ", ".join(fact.name for fact in every if fact.name not in self.trouble)


def render(
    folders: Iterable[Path | str],
    baseline: Path | str | None = None,
    left_out: Sequence[str] = (),
    extras: Extras = Extras(),
) -> str:
    """Return the page of some runs.

    `folders` are run folders or folders of run folders; `left_out` says what is not on the page.
    Raises DataError for a run that cannot be shown, UsageError for a label of no run.
    """
    runs = {found.resolve(): found for place in folders for found in folders_in(place)}
    base = opened(baseline) if baseline is not None else None
    loaded = [opened(path) for path in runs.values()]
    if base and base.record.folder.resolve() not in runs:
        loaded.append(base)
    if len({identity(run) for run in loaded}) < len(loaded):
        raise DataError("two of the folders are copies of one run; name it once")
    return render_runs(loaded, base, left_out, extras)


def render_runs(
    runs: Sequence[Run],
    base: Run | None,
    left_out: Sequence[str],
    extras: Extras = Extras(),
) -> str:
    """Return the page of runs that are open."""
    runs = sorted(runs, key=identity)
    said = given(runs, extras.labels)
    tasks: dict[str, list[Entry]] = {}
    for run, labels in zip(runs, said, strict=True):
        tasks.setdefault(run.checked.task, []).append(entry(run, labels))
    boards = [_board(task, found, base, extras) for task, found in sorted(tasks.items())]
    past = _past(boards, extras.history) if extras.history else []
    entries = [entry for board in boards for group in board.groups for entry in group.entries]
    values = {
        "title": f"Board: {', '.join(tasks)}"
        if len(tasks) <= 3
        else f"Board of {len(tasks)} tasks",
        "boards": boards,
        "matrix": _matrix(boards) if len(boards) > 1 else None,
        "models": len({entry.name for entry in entries if not entry.run.role}),
        "runs": len(entries),
        "facets": _facets(entries),
        "baseline": base
        and {"model": base.model, "id": base.info["id"], "task": base.checked.task},
        "left_out": [*left_out, *past],
        "prices": extras.prices,
        "sections": [
            *([("overview", "Overview")] if len(boards) > 1 else []),
            *((f"task-{at}", board.task) for at, board in enumerate(boards, 1)),
        ],
        "data": {"schema": SCHEMA, "rows": [row for board in boards for row in _rows(board)]},
    }
    return shell("board.html.j2", values, TEMPLATES)


def _board(task: str, all_of_it: Sequence[Entry], base: Run | None, extras: Extras) -> Board:
    grouped: dict[tuple[str, ...], list[Entry]] = {}
    for one in all_of_it:
        grouped.setdefault(barrier(one.run.info), []).append(one)
    own = base if base and base.checked.task == task else None
    first = barrier(own.info) if own else max(grouped, key=lambda key: _weight(grouped[key], key))
    main = grouped[first]
    head = main[0].run
    metric = head.definition(head.headline)
    aligned = Aligned([found.run for found in main])
    rank(main, aligned)
    if own:
        against(main, aligned, own)
    groups = [Group(_sorted(main, metric.higher_is_better))]
    for key in sorted(key for key in grouped if key != first):
        apart = grouped[key]
        why = reason(head.info, apart[0].run.info)
        groups.append(Group(_sorted(apart, metric.higher_is_better), why))
    shown = [found for group in groups for found in group.entries]
    chance = head.info["task"]["chance"]
    ends = [x for e in shown for x in (e.line["value"], e.line["low"], e.line["high"])]
    axis = scale([*ends, chance], percent=metric.percent)
    axis = replace(axis, width=224.0) if axis else None
    others = list(dict.fromkeys(name for e in shown for name in e.others))
    notes = list(dict.fromkeys(note for e in shown for note in e.run.info["task"]["notes"]))
    costs = figures(
        [e.run for e in groups[0].entries], higher=metric.higher_is_better, prices=extras.prices
    )
    return Board(
        task, head.headline, metric.percent, metric.higher_is_better, chance, groups, axis,
        others if len(others) <= _MOST_OTHERS else [], notes, costs,
    )  # fmt: skip


def _past(boards: Sequence[Board], home: Path) -> list[str]:
    """Give each board the history of its task; return what is left out of it."""
    found = History(home, [board.task for board in boards])
    for board in boards:
        trend = found.trend(board.task, family=len(found.tasks))
        board.past = past_figure(trend, len(found.tasks)) if trend else None
    return found.left_out


_MOST_OTHERS = 20


def _weight(entries: Sequence[Entry], key: tuple[str, ...]) -> tuple[Any, ...]:
    """Order groups: most models, then most samples, then the newest."""
    runs = [found.run for found in entries]
    models = sum(not run.role for run in runs)
    return models, runs[0].info["counts"]["total"], max(r.info["started"] for r in runs), key


def _sorted(entries: Sequence[Entry], higher: bool) -> list[Entry]:
    def place(entry: Entry) -> tuple[Any, ...]:
        value = entry.line["value"]
        rank = 0 if value is None else -value if higher else value
        return value is None, rank, entry.name, identity(entry.run)

    return sorted(entries, key=place)


def _matrix(boards: Sequence[Board]) -> list[tuple[str, bool, list[Entry | None]]]:
    """Return one line per model: its ranked entry in each task."""
    cells: dict[str, dict[int, Entry]] = {}
    for at, board in enumerate(boards):
        for found in board.groups[0].entries:
            cells.setdefault(found.name, {}).setdefault(at, found)
    lines = [
        (
            name,
            bool(next(iter(found.values())).run.role),
            [found.get(i) for i in range(len(boards))],
        )
        for name, found in cells.items()
    ]
    return sorted(lines, key=lambda line: (line[1], -sum(x is not None for x in line[2]), line[0]))


def _facets(entries: Sequence[Entry]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for one in entries:
        for name, value in one.facets.items():
            found.setdefault(name, set()).add(value)
    return {name: sorted(values) for name, values in found.items() if len(values) > 1}


def _rows(board: Board) -> list[dict[str, Any]]:
    """Return what the export buttons write."""
    return [
        {
            "task": board.task,
            "model": entry.run.checked.model,
            "role": entry.run.role or "model",
            "comparable": not group.reason,
            "reason": group.reason,
            "rank_low": entry.rank and entry.rank[0],
            "rank_high": entry.rank and entry.rank[1],
            "metric": board.metric,
            **{key: entry.line[key] for key in ("value", "low", "high", "n", "asked", "clusters")},
            **{fact.name: fact.count for fact in entry.quality if fact.name != "coverage"},
            "verdict": entry.verdict,
            "p_holm": entry.p,
            "judge_gap": entry.gap and entry.gap.value,
            "judge_gap_against": entry.gap and entry.gap.against,
            **{f"label {name}": value for name, value in entry.facets.items()},
            "run": entry.run.info["id"],
        }
        for group in board.groups
        for entry in group.entries
    ]
