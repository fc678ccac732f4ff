"""The verbs `report`, `board` and `query`: pages and tables of finished runs.

Added to the command line by harness/cli.py. Imports typer and harness.errors; the rest inside.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from harness.errors import UsageError

Baseline = Annotated[
    Path | None, typer.Option("--baseline", "-b", help="a run folder to compare with")
]


def report(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    baseline: Baseline = None,
    out: Annotated[
        Path | None, typer.Option(help="file to write; default report.html in the run folder")
    ] = None,
    images: Annotated[
        str, typer.Option(help="embed (from the data folder), none, or a folder of pictures")
    ] = "embed",
) -> None:
    """Write one HTML file about a run: metrics, slices, answers, provenance."""
    from reports.page import render

    page = render(run, baseline, images)
    _write(out or run / "report.html", page)


def board(
    runs: Annotated[list[Path], typer.Argument(help="run folders, or folders of run folders")],
    out: Annotated[Path | None, typer.Option(help="HTML file to write")] = None,
    baseline: Baseline = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="show it on this machine and follow the folders")
    ] = False,
    port: Annotated[int, typer.Option(help="where --serve listens on 127.0.0.1; 0: any")] = 8000,
) -> None:
    """Rank runs on one HTML page, with ranks that say what the data can tell apart."""
    if serve == (out is not None):
        raise UsageError("board needs --out FILE or --serve, one of them")
    if out is not None:
        from leaderboards.build import render

        _write(out, render(runs, baseline))
        return
    from leaderboards.serve import HOST, Live, server

    with server(Live(runs, baseline), port) as listening:
        print(f"http://{HOST}:{listening.server_address[1]}/", flush=True)
        try:
            listening.serve_forever()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)


def query(
    sql: Annotated[str, typer.Argument(help="SQL over the tables `runs` and `rows`")],
    runs: Annotated[
        list[Path] | None, typer.Option("--runs", "-r", help="run folders; default runs/")
    ] = None,
    format: Annotated[Literal["table", "csv", "json"], typer.Option(help="how to print")] = "table",
) -> None:
    """Ask the rows of run folders in SQL (DuckDB)."""
    from leaderboards.query import query as ask

    frame = ask(sql, *(runs or [Path("runs")]))
    if format == "csv":
        frame.to_csv(sys.stdout, index=False)
    elif format == "json":
        print(frame.to_json(orient="records", indent=1, date_format="iso"))
    else:
        _print(frame)


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command line."""
    for verb in (report, board, query):
        app.command()(verb)


def _write(path: Path, page: str) -> None:
    data = page.encode("utf-8")
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    print(f"{path}  {len(data) / 1e6:.1f} MB")


def _print(frame: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness.cli import console
    from reports.table import printable

    table = Table(*map(str, frame.columns), box=None, pad_edge=False, header_style="bold")
    for values in frame.itertuples(index=False):
        table.add_row(*(Text(printable(str(value), 120)) for value in values))
    console().print(table)
