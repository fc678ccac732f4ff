"""Run folders as one ranked page, with ranks that say what the data can tell apart.

Within a task, runs are ranked only where data, scorer, decoding and judge agree; others stand below
a line that says why. Every pair of ranked runs is tested on the items that both have (clustered
jackknife, Holm over all pairs): a run's rank lies between one more than the number of runs that
are shown to be better and the number that are not shown to be worse. Reads records only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import stats
from harness.errors import DataError
from harness.fingerprint import digest
from harness.paired import Change, holm, jackknife
from leaderboards.cost import Figure, figure
from reports import _page_facts as facts
from reports._page_numbers import Scale, scale
from reports._page_read import Run, opened
from reports._page_shell import SCHEMA
from reports._page_shell import render as shell
from reports.comparable import folders_in

TEMPLATES = Path(__file__).resolve().parent / "templates"
LEVEL = 0.05


@dataclass
class Entry:
    """One run as a row of the board."""

    run: Run
    name: str
    line: Mapping[str, Any]
    """The headline as the record has it."""
    quality: Sequence[facts.Fact]
    others: Mapping[str, Mapping[str, Any]]
    rank: tuple[int, int] | None = None
    best: bool = False
    change: Change | None = None
    """Against the baseline; better is positive."""
    p: float | None = None
    verdict: str = ""

    @property
    def facets(self) -> dict[str, str]:
        """What rows can be filtered by."""
        kind = self.run.checked.model.partition(":")[0]
        judges = (self.run.info.get("judging") or {}).get("judges") or ()
        found = {"reached by": kind, "role": self.run.role or "model"}
        return found | ({"judge": ", ".join(j["address"] for j in judges)} if judges else {})

    @property
    def about(self) -> dict[str, str]:
        """What else is known of the run."""
        info = self.run.info
        size = info["model"]["description"].get("parameters")
        total = info["counts"]["total"]
        return {
            "parameters": _size(size) if isinstance(size, int | float) else "",
            "date": str(info["started"])[:10],
            "seconds per answer": f"{info['seconds'] / total:.3g}" if info.get("seconds") else "",
            "judge": self.facets.get("judge", ""),
            "run": str(info["id"]),
        }


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

    @property
    def cost(self) -> Figure | None:
        """Time against score of the ranked runs."""
        return figure([entry.run for entry in self.groups[0].entries], higher=self.higher)

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
) -> str:
    """Return the page of some runs.

    `folders` are run folders or folders of run folders; `left_out` says what is not on the page.
    Raises DataError for a run that cannot be shown.
    """
    runs = {found.resolve(): found for place in folders for found in folders_in(place)}
    base = opened(baseline) if baseline is not None else None
    loaded = [opened(path) for path in runs.values()]
    if base and base.record.folder.resolve() not in runs:
        loaded.append(base)
    if len({identity(run) for run in loaded}) < len(loaded):
        raise DataError("two of the folders are copies of one run; name it once")
    return render_runs(loaded, base, left_out)


def identity(run: Run) -> str:
    """Return what two runs of the same second do not share, and copies of a folder do."""
    info = run.info
    parts = [info[key] for key in ("fingerprint", "limit", "seed", "counts", "metrics", "model")]
    return f"{info['id']} {digest([*parts, info.get('finished'), info.get('seconds')])}"


def render_runs(runs: Sequence[Run], base: Run | None, left_out: Sequence[str]) -> str:
    """Return the page of runs that are open."""
    tasks: dict[str, list[Run]] = {}
    for run in sorted(runs, key=identity):
        tasks.setdefault(str(run.info["task"]["name"]), []).append(run)
    boards = [_board(task, found, base) for task, found in sorted(tasks.items())]
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
        "left_out": list(left_out),
        "sections": [
            *([("overview", "Overview")] if len(boards) > 1 else []),
            *((f"task-{at}", board.task) for at, board in enumerate(boards, 1)),
        ],
        "data": {"schema": SCHEMA, "rows": [row for board in boards for row in _rows(board)]},
    }
    return shell("board.html.j2", values, TEMPLATES)


def _board(task: str, runs: Sequence[Run], base: Run | None) -> Board:
    grouped: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        grouped.setdefault(barrier(run), []).append(run)
    own = base if base and base.checked.task == task else None
    first = barrier(own) if own else max(grouped, key=lambda key: _weight(grouped[key], key))
    main = [_entry(run) for run in grouped[first]]
    head = grouped[first][0]
    metric = head.definition(head.headline)
    aligned = _Aligned([entry.run for entry in main])
    _rank(main, aligned)
    if own:
        _against(main, aligned, own)
    groups = [Group(_sorted(main, metric.higher_is_better))]
    for key in sorted(key for key in grouped if key != first):
        apart = [_entry(run) for run in grouped[key]]
        groups.append(Group(_sorted(apart, metric.higher_is_better), _reason(head, apart[0].run)))
    shown = [entry for group in groups for entry in group.entries]
    chance = head.info["task"]["chance"]
    ends = [x for e in shown for x in (e.line["value"], e.line["low"], e.line["high"])]
    axis = scale([*ends, chance], percent=metric.percent)
    axis = replace(axis, width=224.0) if axis else None
    others = list(dict.fromkeys(name for e in shown for name in e.others))
    notes = list(dict.fromkeys(note for e in shown for note in e.run.info["task"]["notes"]))
    return Board(
        task, head.headline, metric.percent, metric.higher_is_better, chance, groups, axis,
        others if len(others) <= _MOST_OTHERS else [], notes,
    )  # fmt: skip


_MOST_OTHERS = 20


def barrier(run: Run) -> tuple[str, ...]:
    """Return what must agree for two runs to be ranked together."""
    prints, task = run.info["fingerprint"], run.info["task"]
    how = {k: v for k, v in task["decoding"].items() if k != "seed"} | {"ask": task["ask"]}
    return prints["data"], prints["scorer"], digest(how), prints.get("judge", "")


def _weight(runs: Sequence[Run], key: tuple[str, ...]) -> tuple[Any, ...]:
    """Order groups: most models, then most samples, then the newest."""
    models = sum(not run.role for run in runs)
    return models, runs[0].info["counts"]["total"], max(r.info["started"] for r in runs), key


def _reason(main: Run, other: Run) -> str:
    names = ("data", "scorer", "decoding", "judge")
    parts = []
    for name, a, b in zip(names, barrier(main), barrier(other), strict=True):
        if a != b:
            parts.append(f"other {name}: {_what(other, name)} instead of {_what(main, name)}")
    return "; ".join(parts)


def _what(run: Run, name: str) -> str:
    info = run.info
    if name == "data":
        limit = f", first {info['limit']:,} only" if info["limit"] else ""
        version = info["source"]["version"] or "not a published version"
        return (
            f"{info['counts']['total']:,} items ({version}{limit}, {info['fingerprint']['data']})"
        )
    if name == "scorer":
        return f"{info['task']['scorer']} (task version {info['task']['version']})"
    if name == "decoding":
        how = info["task"]["decoding"]
        return f"{info['task']['ask']}, " + ", ".join(
            f"{k} {how[k]}" for k in sorted(how) if k != "seed" and how[k] not in ((), [])
        )
    judges = (info.get("judging") or {}).get("judges") or ()
    return ", ".join(judge["address"] for judge in judges) or "no judge"


def _entry(run: Run) -> Entry:
    none = {"value": None, "low": None, "high": None, "n": 0, "asked": 0, "clusters": 0}
    others = {k: v for k, v in run.record.metrics.items() if k != run.headline}
    return Entry(
        run, run.model, run.record.metrics.get(run.headline, none), facts.quality(run), others
    )


def _sorted(entries: Sequence[Entry], higher: bool) -> list[Entry]:
    def place(entry: Entry) -> tuple[Any, ...]:
        value = entry.line["value"]
        rank = 0 if value is None else -value if higher else value
        return value is None, rank, entry.name, identity(entry.run)

    return sorted(entries, key=place)


class _Aligned:
    """The headline's frames of runs on the same data, row by row."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        first = _ordered(runs[0])
        metrics = runs[0].checked.metrics
        self.metric = runs[0].definition(runs[0].headline)
        self.known = {metric.name: metric for metric in metrics}
        self.frames = {
            identity(run): stats.frame(
                (
                    {**row, "cluster": same["cluster"], "groups": same["groups"]}
                    for row, same in zip(_ordered(run), first, strict=True)
                ),
                metrics,
            )
            for run in runs
        }

    def change(self, base: Run, run: Run) -> Change | None:
        """Return the change of the headline on the items that both runs have."""
        left, right = self.frames[identity(base)], self.frames[identity(run)]
        both = left.counted & right.counted
        sums = [
            stats.sums_of(replace(frame, counted=both), self.metric, self.known)
            for frame in (left, right)
        ]
        if sums[0].by_cluster.shape != sums[1].by_cluster.shape:
            return None
        found = jackknife(*sums, better=1 if self.metric.higher_is_better else -1)
        return found.scaled(100.0 if self.metric.percent else 1.0) if found else None


def _ordered(run: Run) -> list[Mapping[str, Any]]:
    return sorted(run.rows, key=lambda row: (row["item"], row["id"]))


def _rank(entries: Sequence[Entry], aligned: _Aligned) -> None:
    """Give every model the ranks that the data leave open."""
    ranked = [e for e in entries if not e.run.role and e.line["value"] is not None]
    changes: dict[tuple[int, int], Change] = {}
    for i, one in enumerate(ranked):
        for j in range(i):
            found = aligned.change(ranked[j].run, one.run)
            if found:
                changes[i, j] = found
    adjusted = holm({f"{i} {j}": change.p for (i, j), change in changes.items()})
    shown = [pair for pair in changes if adjusted[f"{pair[0]} {pair[1]}"] < LEVEL]
    better = {(i, j) if changes[i, j].value > 0 else (j, i) for i, j in shown}
    for i, entry in enumerate(ranked):
        above = sum((j, i) in better for j in range(len(ranked)))
        below = sum((i, j) in better for j in range(len(ranked)))
        entry.rank = (1 + above, len(ranked) - below)
        entry.best = above == 0


def _against(entries: Sequence[Entry], aligned: _Aligned, base: Run) -> None:
    own = identity(base)
    found = {}
    for entry in entries:
        if identity(entry.run) == own:
            entry.verdict = "baseline"
        elif not entry.run.role and (change := aligned.change(base, entry.run)):
            found[identity(entry.run)] = change
    adjusted = holm({name: change.p for name, change in found.items()})
    for entry in entries:
        name = identity(entry.run)
        if name in found:
            entry.change, entry.p = found[name], adjusted[name]
            low, high = found[name].interval()
            shown = adjusted[name] < LEVEL and not low <= 0 <= high
            word = "better" if found[name].value > 0 else "worse"
            entry.verdict = word if shown else "no difference shown"


def _matrix(boards: Sequence[Board]) -> list[tuple[str, bool, list[Entry | None]]]:
    """Return one line per model: its ranked entry in each task."""
    cells: dict[str, dict[int, Entry]] = {}
    for at, board in enumerate(boards):
        for entry in board.groups[0].entries:
            cells.setdefault(entry.name, {}).setdefault(at, entry)
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
    for entry in entries:
        for name, value in entry.facets.items():
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
            "run": entry.run.info["id"],
        }
        for group in board.groups
        for entry in group.entries
    ]


def _size(count: float) -> str:
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:g}"
