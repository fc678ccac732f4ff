"""The verb `world`: make a folder of rendered scenes with every benchmark's files.

Added to the command line by harness/cli.py. Imports typer and harness.errors; the rest inside.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import UsageError


def world(
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to make")],
    scenes: Annotated[
        int, typer.Option("--scenes", "-n", help="pictures, four fifths train, one fifth test")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="same seed, same world")] = 0,
    shift: Annotated[
        list[str] | None,
        typer.Option(help="change test scenes: colours, crowded, small, dark; repeatable"),
    ] = None,
    only: Annotated[
        str, typer.Option(help="formats to write, by commas: gqa,pope; default all")
    ] = "",
    size: Annotated[str, typer.Option(help="pixels of a picture, WIDTHxHEIGHT")] = "320x240",
    simple: Annotated[
        bool, typer.Option("--simple", help="few things of few kinds: for small models")
    ] = False,
    workers: Annotated[int, typer.Option(help="processes that render")] = 2,
    replace: Annotated[
        bool, typer.Option("--replace", help="throw away the world that is in --out")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress, no table")] = False,
) -> None:
    """Make a world of rendered scenes in every benchmark's own format, train and test apart."""
    from harness.world import build

    asked = [name.strip() for name in only.split(",") if name.strip()]
    if only and not asked:
        raise UsageError("--only takes names of formats by commas, e.g. gqa,pope")
    made = build.make(
        out,
        scenes,
        seed,
        [name.strip() for words in shift or [] for name in words.split(",") if name.strip()],
        asked,
        workers,
        _size(size),
        replace=replace,
        simple=simple,
        say=(lambda line: None) if quiet else (lambda line: print(line, file=sys.stderr)),
    )
    if not quiet:
        print(_table(out, [name for name in build.formats() if not asked or name in asked]))
        train, test = len(made.split("train")), len(made.split("test"))
        print(
            f"\nworld: {out} ({train:,} train and {test:,} test scenes, {len(made.clips):,} clips)"
        )
        print(f"next: {_next(out, asked)}")


def _size(text: str) -> tuple[int, int]:
    wide, _, high = text.lower().partition("x")
    if not (wide.isdecimal() and high.isdecimal()):
        raise UsageError(f"--size takes WIDTHxHEIGHT in pixels, e.g. 320x240; found '{text}'")
    return int(wide), int(high)


def _table(out: Path, names: list[str]) -> str:
    from harness.find import entries
    from harness.world import build

    tasks = {entry.name for entry in entries("task")}
    stored = build.manifest(out)["formats"]
    lines = []
    for name in names:
        use = f"sightline run -t {name} -d {out / name} -m ..." if name in tasks else "for training"
        count, size = stored[name]["files"], stored[name]["bytes"] / 1e6
        lines.append(f"  {name:<16} {count:>7,} files {size:>8.1f} MB   {use}")
    return "\n".join(lines)


def _next(out: Path, asked: list[str]) -> str:
    name = asked[0] if asked and "pope" not in asked else "pope"
    return f"sightline check {name} -d {out / name}"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(world)
