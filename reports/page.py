"""A run folder as one HTML file that can be mailed and opened offline.

`render` returns the same text for the same folders, always: nothing in it depends on the time, the
place or chance. It reads records only. See docs/reports.md for what is on the page.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness.errors import DataError
from reports import _page_facts as facts
from reports import _page_tables as tables
from reports import flips, prices
from reports import training as training_log
from reports._page_against import Against, against
from reports._page_numbers import Scale, scale, share, show
from reports._page_read import Run, opened
from reports._page_samples import Gallery, gallery
from reports._page_shell import SCHEMA
from reports._page_shell import render as shell
from reports._page_training import training
from reports._page_trend import figure
from reports.export import summary
from reports.thumbnails import Folder
from reports.trend import History

_LOW_COVERAGE = 0.99


def render(
    folder: Path | str,
    baseline: Path | str | None = None,
    images: str | Path = "embed",
    *,
    history: Path | None = None,
    train_log: Path | None = None,
    price: prices.Prices | None = None,
) -> str:
    """Return the page of a run, against a baseline where one is given.

    `images` is `none`, `embed` (look in the folder that the data came from) or a folder. `history`
    is a gate's folder of baselines, whose runs of the task are drawn over time. `train_log` is the
    log of the training that made the model; without it one is looked for beside the model. Raises
    DataError for runs that cannot be shown or compared.
    """
    run = opened(folder)
    base = opened(baseline) if baseline is not None else None
    past = _history(run, history) if history is not None else None
    curves = _training(run, train_log)
    compared = against(base, run) if base else None
    sliced = tables.groups(run)
    by = flips.stratum(sliced)
    found = flips.ordered(
        flips.items(run.rows, compared.partners(base) if compared and base else None), by
    )
    place, where = _pictures(run, images)
    shown = gallery(found, run, base, place, list(sliced))
    pictures = where if place is None else _told(shown, found, where)
    values = {
        **_head(run, compared, price),
        **_outcomes(run),
        "past": past,
        "training": curves,
        "against": compared,
        "rule": flips.rule(
            len(shown.data), len(found), shown.pictured, by, paired=compared is not None
        ),
        "kinds": _kinds(found, paired=compared is not None),
        "pictures": pictures,
        "cards": shown.cards,
        "shown": len(shown.data),
        "data": _data(run, base, shown, sliced),
        "sections": _sections(compared, bool(sliced), past=bool(past), training=bool(curves)),
    }
    return shell("report.html.j2", values)


def _history(run: Run, home: Path) -> dict[str, Any]:
    """Return the figure of the task's blessed runs, or why there is none, and what is left out."""
    found = History(home, [run.checked.task])
    trend = found.trend(run.checked.task, run.checked)
    drawn = figure(trend) if trend else None
    told = "" if drawn else f"Fewer than two runs of {run.checked.task} to draw a line through."
    return {"figure": drawn, "told": told, "left_out": found.left_out}


def _training(run: Run, asked: Path | None) -> dict[str, Any] | None:
    """Return the training curves of the model; None where no log was asked for and none found."""
    path = asked or training_log.find(run.info)
    if path is None:
        return None
    try:
        log = training_log.read(path, run.info)
    except DataError as error:
        if asked is not None:
            raise
        return {"told": str(error)}  # it was only found; the run can be shown without it
    return {"curves": training(log, run), "log": log, "asked": asked is not None, "told": ""}


def _head(run: Run, compared: Against | None, price: prices.Prices | None) -> dict[str, Any]:
    """Return what the top and the foot of the page say."""
    info = run.info
    line = _headline(run)
    chance = info["task"]["chance"] if line.name == run.headline else None
    before = compared.lines[0].before if compared and compared.lines else None
    axis = _lead_scale(line, chance, before)
    return {
        "title": f"{info['task']['name']} · {run.model}",
        "task": info["task"],
        "source": info["source"],
        "limit": info["limit"],
        "model": run.model,
        "run_id": info["id"],
        "lead": line,
        "lead_scale": axis,
        "lead_marks": _marks(axis, line, chance, before),
        "quality": facts.quality(run),
        "total": run.record.counts["total"],
        "notes": info["task"]["notes"],
        "warnings": _warnings(run, line),
        "command": facts.command(run),
        "provenance": facts.provenance(run, price),
    }


def _headline(run: Run) -> tables.Line:
    """Return the headline, or the first metric with a value where the headline has none."""
    lines = [line for table in tables.metrics(run) for line in table.lines]
    if not lines:
        raise DataError(
            f"{run.record.folder}: the record holds no metrics; there is nothing to show"
        )
    own = next((line for line in lines if line.headline), lines[0])
    if own.value is not None:
        return own
    last = own.name.rpartition(".")[2]
    whole = [line for line in lines if line.value is not None and line.n == line.asked]
    same = [line for line in whole if line.name.rpartition(".")[2] == last]
    return next(iter([*same, *whole]), own)


def _lead_scale(line: tables.Line, chance: float | None, before: float | None) -> Scale | None:
    if line.value is None:
        return None
    parts = [line.value, line.low, line.high, chance, before]
    parts += [0.0, 100.0] if line.percent and 0 <= line.value <= 100 else []
    found = scale(parts, most=5)
    return replace(found, width=560.0) if found else None


def _marks(
    axis: Scale | None, line: tables.Line, chance: float | None, before: float | None
) -> list[dict[str, Any]]:
    """Return the lines that the headline is read against, with texts that do not run together."""
    if axis is None:
        return []
    marks = [("chance", "chance", chance), ("zero", "baseline", before)]
    found = [(kind, text, value) for kind, text, value in marks if value is not None]
    found.sort(key=lambda mark: mark[2])
    anchors = ("end", "start") if len(found) == 2 else ("middle",)
    return [
        {"kind": kind, "at": value, "text": f"{text} {show(value, 1)}", "anchor": anchor}
        for (kind, text, value), anchor in zip(found, anchors, strict=False)
    ]


def _warnings(run: Run, line: tables.Line) -> list[str]:
    found = []
    counts = run.record.counts
    done = counts.get("scored", 0) + counts.get("unparsed", 0)
    if done < _LOW_COVERAGE * counts["total"]:
        found.append(
            f"Only {share(done, counts['total'])} of what was asked has a score. The rest is left "
            "out of every number here, neither right nor wrong."
        )
    if line.name != run.headline:
        found.append(
            f"The headline {run.headline} has no value, because a part of it has no answers; "
            f"shown above is {line.name}, which is whole."
        )
    if (run.info["environment"].get("git") or {}).get("dirty"):
        found.append("The run was made with uncommitted changes to Sightline.")
    if run.role:
        found.append(f"This model is a {run.role}: it only says what a number is worth.")
    return found


def _outcomes(run: Run) -> dict[str, Any]:
    name, sliced = tables.slices(run)
    return {
        "metrics": tables.metrics(run),
        "slice_name": name[:1].upper() + name[1:],
        "slices": sliced,
        "confusion": tables.confusion(run),
        "histogram": tables.scores(run),
        "calibration": tables.calibration(run),
    }


def _pictures(run: Run, images: str | Path) -> tuple[Folder | None, str]:
    """Return where to look for pictures, and what the page says about it."""
    named = any(not isinstance(part, str) for row in run.rows[:1000] for part in row["prompt"])
    if not named:
        return None, "The prompts hold no pictures."
    if images == "none":
        return None, "Pictures were left out (--images none)."
    if images != "embed":
        return Folder(Path(images)), ""
    address = Path(str(run.info["source"]["address"]))
    if not address.is_dir():
        return (
            None,
            "No pictures: the folder that the data came from is not here (--images FOLDER).",
        )
    return Folder(address), ""


def _told(shown: Gallery, found: Sequence[flips.Item], where: str) -> str:
    if not shown.pictured:
        return "No pictures: no file with the name and the pixels that the run saw was found."
    if shown.pictured < len(shown.data):
        return "Other pictures are left out: not found, not what the run saw, or no room (15 MB)."
    return where


def _kinds(found: Sequence[flips.Item], *, paired: bool) -> list[tuple[str, int]]:
    counts = Counter(item.kind for item in found)
    return [
        (kind, counts[kind]) for kind in (flips.PAIRED if paired else flips.ALONE) if counts[kind]
    ]


def _data(
    run: Run, base: Run | None, shown: Gallery, sliced: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """Return what the script shows and what the export buttons write."""
    return {
        "schema": SCHEMA,
        "run": summary(run.record) | {"id": run.info["id"]},
        "baseline": summary(base.record) | {"id": base.info["id"]} if base else None,
        "slices": list(sliced),
        "rows": shown.data,
        "pictures": {name: list(asdict(small).values()) for name, small in shown.pictures.items()},
    }


def _sections(
    compared: Against | None, sliced: bool, *, past: bool, training: bool
) -> list[tuple[str, str]]:
    return [
        *([("baseline", "Baseline")] if compared else []),
        *([("history", "History")] if past else []),
        ("metrics", "Metrics"),
        *([("slices", "Slices")] if sliced else []),
        *([("training", "Training")] if training else []),
        ("answers", "Answers"),
        ("provenance", "Provenance"),
    ]
