"""The verbs `report`, `board` and `query`: pages and tables of finished runs.

Added to the command line by harness/cli.py. Imports typer and harness.errors; the rest inside.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from harness.errors import UsageError

Baseline = Annotated[str | None, typer.Option("--baseline", "-b", help="a run to compare with")]

History = Annotated[
    Path | None,
    typer.Option(help="folder of blessed baselines: draws their runs of the task over time"),
]
PriceFile = Annotated[Path | None, typer.Option(help="YAML file of prices (docs/reports.md)")]


def report(
    run: Annotated[str, typer.Argument(help="a run folder, or a run in a store (s3://...)")],
    baseline: Baseline = None,
    out: Annotated[
        Path | None,
        typer.Option(help="file to write; default report.html in the run folder, or here"),
    ] = None,
    images: Annotated[
        str, typer.Option(help="embed (from the data folder), none, or a folder of pictures")
    ] = "embed",
    history: History = None,
    train_log: Annotated[
        Path | None,
        typer.Option(help="log of the training; default: train_log.jsonl beside the model"),
    ] = None,
    prices: PriceFile = None,
) -> None:
    """Write one HTML file about a run: metrics, slices, answers, provenance."""
    from harness.store import cache_folder, local
    from reports.page import render
    from reports.prices import read

    folder = local(run)
    page = render(
        folder, baseline and local(baseline), images, history=history, train_log=train_log,
        price=read(prices) if prices else None,
    )  # fmt: skip
    own = not folder.is_relative_to(cache_folder())
    _write(out or (folder if own else Path()) / "report.html", page)


def board(
    runs: Annotated[
        list[str], typer.Argument(help="run folders, folders of them, or addresses of stores")
    ],
    out: Annotated[Path | None, typer.Option(help="HTML file to write")] = None,
    baseline: Baseline = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="show it on this machine and follow the folders")
    ] = False,
    port: Annotated[int, typer.Option(help="where --serve listens on 127.0.0.1; 0: any")] = 8000,
    history: History = None,
    prices: PriceFile = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="what is known of a run or model, as RUN:KEY=VALUE; repeat"),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="YAML file of such labels")] = None,
) -> None:
    """Rank runs on one HTML page, with ranks that say what the data can tell apart."""
    if serve == (out is not None):
        raise UsageError("board needs --out FILE or --serve, one of them")
    extras = _extras(history, prices, label or [], labels)
    if out is not None:
        from leaderboards.build import render

        _write(out, render(runs, baseline, extras=extras))
        return
    from leaderboards.serve import HOST, Live, server

    with server(Live(runs, baseline, extras), port) as listening:
        print(f"http://{HOST}:{listening.server_address[1]}/", flush=True)
        try:
            listening.serve_forever()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)


def query(
    sql: Annotated[str, typer.Argument(help="SQL over the tables `runs` and `rows`")],
    runs: Annotated[
        list[str] | None,
        typer.Option("--runs", "-r", help="run folders or stores; default runs/; repeat"),
    ] = None,
    format: Annotated[Literal["table", "csv", "json"], typer.Option(help="how to print")] = "table",
) -> None:
    """Ask the rows of run folders in SQL (DuckDB)."""
    from leaderboards.query import query as ask

    frame = ask(sql, *(runs or ["runs"]))
    if format == "csv":
        frame.to_csv(sys.stdout, index=False)
    elif format == "json":
        print(frame.to_json(orient="records", indent=1, date_format="iso"))
    else:
        _print(frame)


def _extras(history: Path | None, prices: Path | None, said: list[str], labels: Path | None) -> Any:
    """Return what is put beside the runs of a board; the command line stands before the file."""
    from leaderboards import labels as known
    from leaderboards.build import Extras
    from reports.prices import read

    found = [*(known.read(labels) if labels else []), *known.parse(said)]
    return Extras(found, read(prices) if prices else None, history)


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
