"""The verbs `push` and `pull`: finished runs into a store and back.

Added to the command line by harness/cli.py. Imports typer; the rest inside.
"""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(push)
    app.command()(pull)


def push(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    store: Annotated[str, typer.Argument(help="a folder, or an address as s3://team/runs")],
    name: Annotated[str, typer.Option(help="its name there; default: that of the folder")] = "",
) -> None:
    """Put a finished run where the team finds it; it never changes there."""
    from harness import store as shared

    address, new = shared.push(run, store, name)
    print(address if new else f"{address}  (was there already with the same contents)")


def pull(
    address: Annotated[str, typer.Argument(help="a run in a store, as s3://team/runs/pope-7b")],
    out: Annotated[Path | None, typer.Option(help="run folder; default runs/NAME")] = None,
) -> None:
    """Copy a run of a store into a run folder, to judge it or to work on it."""
    from harness import store

    found = store.opened(address)
    print(store.pull(address, out or Path("runs") / found.name))
