"""The command line: parse, call, print. Every verb is a few lines over harness, tasks and reports.

Exit codes: 0 done, 1 the run stopped or nothing could be scored, 2 usage, 3 data, 4 our own fault,
130 interrupted. Start-up imports no torch, pandas or rich table: `--help` must be instant.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from harness import (
    cli_critic,
    cli_gate,
    cli_human,
    cli_import,
    cli_judge,
    cli_lskd,
    cli_react,
    cli_report,
    cli_store,
    cli_teach,
    cli_train,
    cli_world,
)
from harness.errors import SightlineError, UsageError

app = typer.Typer(
    help="Score vision-language models on benchmarks, as their authors score them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ModelName = Annotated[
    str, typer.Option("--model", "-m", help="KIND:ADDRESS, e.g. transformers:PATH, openai:gpt-4.1")
]
TaskName = Annotated[str, typer.Option("--task", "-t", help="a task or variant: pope, pope/lmms")]
Data = Annotated[
    str | None, typer.Option("--data", "-d", help="folder of the official files, or hf:OWNER/NAME")
]
Options = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="model option NAME=VALUE; repeatable")
]
Limit = Annotated[int | None, typer.Option(help="only the first N samples")]
Seed = Annotated[int, typer.Option(help="seed of sampling and guessing")]
RunFolder = Annotated[str, typer.Argument(help="a run folder, or a run in a store (s3://...)")]


def main() -> None:
    """Run the command line; errors of ours are one line and an exit code."""
    try:
        app(standalone_mode=True)
    except SightlineError as error:
        print(f"sightline: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("sightline: interrupted; go on with --resume", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output went away, e.g. `| head`
        sys.stderr.close()
        sys.exit(0)


@app.command(name="list")
def list_(what: Annotated[Literal["tasks", "models", "all"], typer.Argument()] = "all") -> None:
    """List tasks with their variants, and ways to reach a model."""
    from harness.find import entries

    for kind in ("task", "model"):
        if what not in (f"{kind}s", "all"):
            continue
        print(f"{kind}s:")
        for entry in entries(kind):
            print(f"  {entry.name:<14} {entry.summary}")
            for variant, summary in entry.variants.items():
                print(f"    {entry.name}/{variant}  {summary}")


@app.command()
def run(
    model: ModelName,
    task: TaskName,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option(help="run folder; default runs/TASK-MODEL-TIME")
    ] = None,
    option: Options = None,
    limit: Limit = None,
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    max_failures: Annotated[float, typer.Option(help="share of samples that may fail")] = 0.01,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be asked")] = False,
    measure: Annotated[
        int, typer.Option(help="samples that --dry-run asks to measure speed; 0: none")
    ] = 16,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress, no table")] = False,
    judge: cli_judge.Judges = None,
    judge_option: cli_judge.JudgeOptions = None,
    repeats: cli_judge.Repeats = 1,
    budget: cli_judge.Budget = None,
    price_in: cli_judge.PriceIn = None,
    price_out: cli_judge.PriceOut = None,
    token_budget: cli_judge.TokenBudget = None,
    cache: cli_judge.CacheFolder = None,
    no_cache: cli_judge.NoCache = False,
) -> None:
    """Ask a model the questions of a task and keep every answer; let judges score open ones."""
    from harness import api, progress
    from harness import run as loop
    from harness.find import make_model, make_task

    if out is not None and ":/" in str(out):
        raise UsageError("--out is a folder; `sightline push` puts a finished run into a store")
    if resume and out is None:
        raise UsageError("--resume needs --out: the run folder to go on with")
    made_task = make_task(task, data)
    judging = cli_judge.how_or_none(
        *(made_task, judge, judge_option, repeats, budget, price_in, price_out, token_budget),
        *(cache, no_cache),
    )
    options = parse_options(option or [])
    made_model = make_model(model, options)
    planned = loop.plan(
        made_task, made_model, address=model, options=options, limit=limit, seed=seed
    )
    if dry_run:
        from harness.dry import describe

        print(describe(planned, measure))
        if judging:
            print(cli_judge.forecast(planned, judging))
        return
    watcher = None if quiet else progress.Bar() if sys.stderr.isatty() else progress.Lines()
    folder = out or api.default_folder(made_task.name, made_model.name)
    record = loop.run(planned, folder, resume=resume, max_failures=max_failures, watcher=watcher)
    if judging:
        record = cli_judge.carry_out(folder, made_task, judging, quiet=quiet)
    if not quiet:
        print_record(record)
        print(f"\nrecord: {folder}\nnext: {cli_judge.next_step(record, folder)}")
    if not record.counts["scored"] + record.counts["unparsed"]:
        raise typer.Exit(1)


app.command()(cli_judge.judge)
app.command()(cli_train.train)
app.add_typer(cli_teach.app, name="teach")
app.add_typer(cli_lskd.app, name="lskd")
app.add_typer(cli_react.app, name="react")
app.add_typer(cli_critic.app, name="critic")
app.add_typer(cli_human.app, name="human")
app.command(name="judge-agreement")(cli_judge.agreement)
cli_gate.register(app)
cli_report.register(app)
cli_import.register(app)
cli_store.register(app)
cli_world.register(app)


@app.command()
def show(
    run: RunFolder,
    failed: Annotated[int, typer.Option(help="how many failed samples to list")] = 10,
) -> None:
    """Show the metrics of a run with intervals, coverage and unparsed answers."""
    from harness.record import read

    print_record(read(run), failed)


@app.command()
def check(
    task: Annotated[str, typer.Argument(help="a task or variant")],
    data: Data = None,
    images: Annotated[bool, typer.Option(help="open every image")] = True,
) -> None:
    """Check a task on its data without a model: ids, images, oracle 100, floors at chance."""
    from harness.check import check_task

    good = True
    for name, ok, detail in check_task(task, data, images=images):
        good &= ok
        print(f"{'ok  ' if ok else 'FAIL'}  {name}: {detail}", flush=True)
    if not good:
        raise typer.Exit(3)


@app.command()
def export(
    run: RunFolder,
    json: Annotated[bool, typer.Option("--json", help="the summary: counts and metrics")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="one line per sample")] = False,
    parquet: Annotated[bool, typer.Option("--parquet", help="one row per sample")] = False,
    out: Annotated[Path | None, typer.Option(help="file to write; default standard output")] = None,
) -> None:
    """Write a run in a format that other programs read."""
    from harness.record import read
    from reports import export as formats

    chosen = [name for name, on in (("json", json), ("csv", csv), ("parquet", parquet)) if on]
    if len(chosen) != 1:
        raise UsageError("export needs exactly one of --json, --csv and --parquet")
    record = read(run)
    if parquet:
        if out is None:
            raise UsageError("--parquet needs --out FILE: it is not text")
        formats.to_parquet(record, out)
    elif out is None:
        formats.TEXT_FORMATS[chosen[0]](record, sys.stdout)
    else:
        with out.open("w", encoding="utf-8", newline="") as file:
            formats.TEXT_FORMATS[chosen[0]](record, file)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="where everything goes")] = Path("demo"),
    tiny: Annotated[
        bool, typer.Option("--tiny", help="a minute, models that learn little")
    ] = False,
    published: Annotated[
        bool, typer.Option("--published", help="a real text model and replayed predictions")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="--published: folder with 'pope' and 'scienceqa'")
    ] = None,
    hub: Annotated[bool, typer.Option("--hub", help="--published: data from the Hub")] = False,
) -> None:
    """Make a world, train two small models, score, compare and gate them, in ten minutes."""
    if published:
        _published(out, data, hub)
        return
    if data is not None or hub:
        raise UsageError("--data and --hub go with --published; the demo makes its own world")
    from harness import demo as steps

    steps.run(out, "tiny" if tiny else "full")
    print(f"open: {out / 'board.html'} and {out / 'report.html'}\nnext: sightline list")


def _published(out: Path, data: Path | None, hub: bool) -> None:
    from harness import demo_published as steps
    from harness import progress

    watcher = progress.Bar if sys.stderr.isatty() else progress.Lines
    records = steps.run(out, data, hub=hub, watcher=watcher)
    print()
    console().print(_summary(records))
    real = [record for record in records if "transformers" in record.run["model"]["address"]]
    best = (real or records)[0].folder
    print(f"\nrecords: {out}/\nnext: sightline show {best}\n      sightline list")


def parse_options(words: list[str]) -> dict[str, Any]:
    """Return NAME=VALUE words as a dict; true/false and numbers become what they say."""
    options: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"--option takes NAME=VALUE, found '{word}'")
        options[name.replace("-", "_")] = _value(value)
    return options


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def print_record(record: Any, failed: int = 10) -> None:
    """Print a run as a table."""
    from reports.table import show as table

    console().print(table(record, failed=failed))


def console() -> Any:
    """Make the console that tables are printed on."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 160  # a log has no width to fit into
    return Console(highlight=False, width=width)


def _summary(records: list[Any]) -> Any:
    from reports.table import overview

    return overview(records)


if __name__ == "__main__":
    main()
