"""A run folder as a table for the terminal: value, interval, n, coverage, unparsed."""

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from harness.record import Record
from reports import comparable


def printable(text: str, width: int = 0) -> str:
    """Return text that cannot steer a terminal: control characters become visible escapes.

    `width` cuts the result and ends it with an ellipsis; 0 keeps all.
    """
    cut = text[: width * 2 + 1] if width else text
    shown = "".join(
        c if unicodedata.category(c)[0] != "C" else c.encode("unicode_escape").decode() for c in cut
    )
    return shown[: width - 1] + "…" if width and len(shown) > width else shown


def number(value: float | None, digits: int = 2) -> str:
    """Return a value for a table; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def show(record: Record, *, failed: int = 10) -> Any:
    """Return a rich renderable: what was run, its metrics, what went wrong and notes."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    run, counts = record.run, record.counts
    lines: list[Any] = [Text(line) for line in _heading(run, counts)]
    table = Table("metric", box=None, pad_edge=False, header_style="bold")
    for title in ("value", "95 % interval", "n", "of", "clusters"):
        table.add_column(title, justify="right")
    for name, m in record.metrics.items():
        style = "bold" if name == run["task"]["headline"] else ""
        known = m["low"] is not None
        interval = f"{number(m['low'])} to {number(m['high'])}" if known else "-"
        counts_of = (f"{m[key]:,}" for key in ("n", "asked", "clusters"))
        cells: list[Any] = [Text(printable(name)), number(m["value"]), interval, *counts_of]
        table.add_row(*cells, style=style)
    lines += ["", table, ""] if record.metrics else [""]
    lines += [Text(f"note: {printable(note)}") for note in run["task"]["notes"]]
    lines += [Text(line) for line in _trouble(record, failed)]
    return Group(*lines)


def _heading(run: Mapping[str, Any], counts: Mapping[str, int]) -> list[str]:
    source = run["source"]
    where = f"{source['address']}" + (f" ({source['version']})" if source["version"] else "")
    limit = f", first {run['limit']:,} samples only" if run["limit"] else ""
    done = counts.get("scored", 0) + counts.get("unparsed", 0)
    total = counts["total"]
    parts = [f"coverage {100 * done / total:.1f} % ({done:,} of {total:,})"]
    for name in ("unparsed", "failed", "missing", "unjudged"):
        if counts.get(name):
            parts.append(f"{name} {counts[name]:,}")
    return [
        printable(f"{run['task']['name']}  {run['model']['address']}  [{run['status']}{limit}]"),
        printable(
            f"data {where}; scorer {run['task']['scorer']}; headline {run['task']['headline']}"
        ),
        ", ".join(parts) + (f"; {run['seconds']:.1f} s" if run.get("seconds") else ""),
        *_judging(run),
    ]


def _judging(run: Mapping[str, Any]) -> list[str]:
    """Return who judged, how much of it could be read, and what it took."""
    section = run.get("judging")
    if not section or "counts" not in section:
        return []
    counts = section["counts"]
    judges = " and ".join(judge["address"] for judge in section["judges"])
    votes = f", {section['votes']} votes each" if section["votes"] > 1 else ""
    bad = [f"{counts[name]:,} {name}" for name in ("unreadable", "open") if counts[name]]
    tokens = section["tokens_in"] + section["tokens_out"]
    took = [f"{section['calls']:,} calls"] if section["calls"] else []
    took += [f"{counts['cached']:,} verdicts from the cache"] if counts["cached"] else []
    took += [f"{tokens:,} tokens"] if tokens else []
    took += [f"price {section['cost']:.4f}"] if section["cost"] is not None else []
    took.append(f"{section['seconds']:.1f} s")
    read = [f"{counts['readable']:,} of {counts['verdicts']:,} readable", *bad]
    rubric = f"{section['rubric']['name']}@{section['rubric']['version']}"
    return [printable(f"judged by {judges}{votes}; {rubric}; {', '.join(read)}; {', '.join(took)}")]


def _trouble(record: Record, most: int) -> list[str]:
    counts, lines = record.counts, []
    if record.run.get("error"):
        lines.append(printable(f"stopped: {record.run['error']}"))
    wrong = counts.get("failed", 0) + counts.get("missing", 0) + counts.get("unjudged", 0)
    if not wrong or not most:
        return lines
    for row in record.rows():
        if row["status"] in ("failed", "missing", "unjudged"):
            lines.append(printable(f"{row['status']}: {row['id']}: {row['error']}", 200))
            most -= 1
            if not most:
                break
    shown = len(lines) - bool(record.run.get("error"))
    return lines + ([f"… and {wrong - shown:,} more"] if wrong > shown else [])


def overview(records: Iterable[Record]) -> Any:
    """Return one line per run: task, model, headline with interval, coverage."""
    from rich.table import Table
    from rich.text import Text

    table = Table("task", "model", "metric", box=None, pad_edge=False, header_style="bold")
    for title in ("value", "95 % interval", "n", "of"):
        table.add_column(title, justify="right")
    for record in records:
        run = record.run
        name = run["task"]["headline"]
        if record.metrics[name]["value"] is None:  # a partial replay: the first part that is whole
            whole = (k for k, m in record.metrics.items() if m["n"] == m["asked"] and m["n"])
            name = next((k for k in whole if k.endswith(name.rpartition(".")[2])), name)
        m = record.metrics[name]
        interval = f"{number(m['low'])} to {number(m['high'])}" if m["low"] is not None else "-"
        short = comparable.short(run["model"]["address"])
        table.add_row(
            Text(printable(run["task"]["name"])),
            Text(printable(short, 48)),
            Text(printable(name)),
            number(m["value"]),
            interval,
            f"{m['n']:,}",
            f"{m['asked']:,}",
        )
    return table
