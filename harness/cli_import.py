"""The verb `import`: a log of another tool becomes a run folder.

Added to the command line by harness/cli.py. Imports typer; the rest inside.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from harness.importing import Result


def import_(
    log: Annotated[Path, typer.Argument(help="sample log, prediction table, or their folder")],
    tool: Annotated[
        str | None,
        typer.Option("--from", help="lmms-eval, vlmevalkit, lm-eval, inspect; default: looked at"),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="our task; default: from the log's name")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="folder of the official files, or hf:...")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="run folder; default runs/TASK-MODEL-TIME")
    ] = None,
    answers: Annotated[
        str, typer.Option(help="raw: score the words; extracted: what the tool took out of them")
    ] = "raw",
    extra: Annotated[
        str, typer.Option(help="rows of samples that the task does not have: error or ignore")
    ] = "error",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no tables")] = False,
) -> None:
    """Make a run of another tool's log, scored by our rules; show where the scores differ."""
    from harness import api, importing

    if out is None:
        found = importing.read_log(log, tool)
        name, _ = importing.task_of(found, task)
        out = api.default_folder(name, found.model or found.tool)
    made = importing.import_log(
        log, out, tool=tool, task=task, data=data, answers=answers, extra=extra
    )
    if not quiet:
        _print(made)
        print(f"\nrecord: {out}\nnext: sightline show {out}")
    counts = made.record.counts
    if not counts["scored"] + counts["unparsed"] + counts["unjudged"]:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(name="import")(import_)


def _print(made: "Result") -> None:
    from harness.cli import console, print_record
    from harness.importers import _differences as differing
    from reports.table import printable

    log = made.log
    head = f"{log.tool} {log.version or '(version unknown)'}, task {log.task}, model {log.model}"
    print(printable(head))
    guess = " (known by that name)" if made.task_guessed else ""
    print(printable(f"our task {made.record.run['task']['name']}{guess}; rows placed {made.how}"))
    for note in made.notes:
        print(printable(f"note: {note}"))
    print()
    print_record(made.record)
    out = console()
    if made.aggregates:
        print("\nnumbers, in per cent where ours are: the tool's own, its rule applied here, ours")
        out.print(_numbers(made.aggregates))
    found = differing.lines(made.differences)
    print("\nsamples by how the two scores agree")
    out.print(_lines(found))


def _numbers(found: Any) -> Any:
    from rich.table import Table
    from rich.text import Text

    from reports.table import number, printable

    table = Table("metric", box=None, pad_edge=False, header_style="bold")
    for title in ("there", "its rule", "here"):
        table.add_column(title, justify="right")
    table.add_column("")
    for one in found:
        values = (number(value) for value in (one.there, one.rule, one.here))
        table.add_row(Text(printable(one.name, 40)), *values, Text(printable(one.note)))
    return table


def _lines(found: Any) -> Any:
    from rich.table import Table
    from rich.text import Text

    from reports.table import printable

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("samples", justify="right")
    for title in ("there", "here", "why", "for example"):
        table.add_column(title, overflow="fold")
    for line in found:
        first = line.examples[0]
        example = "" if line.kind == "same" else f"{first.id}: {first.said}"
        why = line.why or "the same score"
        cells = (line.there, line.here, why, example)
        table.add_row(f"{line.rows:,}", *(Text(printable(cell, 220)) for cell in cells))
    return table
