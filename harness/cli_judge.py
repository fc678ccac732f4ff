"""The verbs `judge` and `judge-agreement`, and the options of `run` that are about judging.

Added to the command line by harness/cli.py. Imports typer and harness.errors; the rest inside.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.judging import How
    from harness.record import Record
    from harness.run import Plan
    from harness.types import Task

Judges = Annotated[
    list[str] | None,
    typer.Option("--judge", "-j", help="KIND:ADDRESS of the model that judges; repeat for a panel"),
]
JudgeOptions = Annotated[
    list[str] | None,
    typer.Option("--judge-option", help="option of the judges NAME=VALUE, as base_url=...; repeat"),
]
Repeats = Annotated[int, typer.Option(help="votes of each judge per answer")]
Budget = Annotated[float | None, typer.Option(help="money that judging may take, at most")]
PriceIn = Annotated[float | None, typer.Option(help="price of a million tokens in the prompt")]
PriceOut = Annotated[float | None, typer.Option(help="price of a million tokens in the reply")]
TokenBudget = Annotated[int | None, typer.Option(help="tokens that judging may take, at most")]
CacheFolder = Annotated[
    Path | None, typer.Option("--cache", help="folder of verdicts that runs share")
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="neither read nor keep verdicts")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress, no table")]


def how(
    judges: list[str] | None,
    judge_option: list[str] | None,
    repeats: int,
    budget: float | None,
    price_in: float | None,
    price_out: float | None,
    token_budget: int | None,
    cache: Path | None,
    no_cache: bool,
    fresh: bool = False,
) -> "How":
    """Return the options of judging as one thing. Raises UsageError."""
    from harness.cli import parse_options
    from harness.find import make_model
    from harness.judge_budget import Budget as Limits
    from harness.judge_cache import default_folder
    from harness.judging import How, Judge

    if cache and no_cache:
        raise UsageError("--cache and --no-cache exclude each other")
    options = parse_options(judge_option or [])
    return How(
        [Judge(make_model(address, options), address, options) for address in judges or []],
        repeats,
        Limits(budget, token_budget, price_in, price_out),
        None if no_cache else cache or default_folder(),
        fresh,
    )


def judge(
    run: Annotated[str, typer.Argument(help="a run folder")],
    judge: Judges = None,
    judge_option: JudgeOptions = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="the run's data; default: where they were")
    ] = None,
    repeats: Repeats = 1,
    budget: Budget = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    token_budget: TokenBudget = None,
    cache: CacheFolder = None,
    no_cache: NoCache = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="ask anew what this judge said before")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be asked")] = False,
    quiet: Quiet = False,
) -> None:
    """Judge the answers of a finished run; its model is not asked again."""
    from harness import judging
    from harness.find import make_task
    from harness.record import read

    record = read(run)
    judging.may_judge(record)
    task = make_task(record.run["task"]["name"], data or record.run["source"]["address"])
    judging.rubric_of(task)
    asked = how(
        *(judge, judge_option, repeats, budget, price_in, price_out, token_budget),
        *(cache, no_cache, fresh),
    )
    if dry_run:
        print(f"would judge {run} with {' and '.join(found.address for found in asked.judges)}")
        print("\n".join(judging.preview(run, task, asked)))
        return
    record = carry_out(run, task, asked, quiet=quiet)
    if not quiet:
        from harness.cli import print_record

        print_record(record)
    if not record.counts["scored"] + record.counts["unparsed"]:
        raise typer.Exit(1)


def agreement(
    sources: Annotated[
        list[str],
        typer.Argument(help="run folders, verdict files of them, or csv files of people's labels"),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """Compare judges with people or with each other: agreement, kappa, bias, price, time."""
    from reports import agreement as report

    found = report.compare([report.load(source) for source in sources])
    if as_json:
        print(report.to_json(found))
    else:
        from harness.cli import console

        console().print(report.show(found))


def how_or_none(task: "Task", judges: list[str] | None, *more: Any) -> "How | None":
    """Return how `run` shall judge, or None. Raises UsageError for a task that needs no judge."""
    if not judges:
        return None
    from harness.judging import rubric_of

    rubric_of(task)
    return how(judges, *more)


def forecast(planned: "Plan", judging: "How") -> str:
    """Return what judging a run that is only planned would take."""
    from harness.judging import forecast as lines

    return "\n".join(lines(planned.task, planned.samples, judging))


def carry_out(folder: Path | str, task: "Task", judging: "How", *, quiet: bool) -> "Record":
    """Judge a run folder with a progress display."""
    from harness import progress
    from harness.judging import judge as judge_run

    watcher = None if quiet else progress.Bar() if sys.stderr.isatty() else progress.Lines()
    return judge_run(folder, task, judging, watcher)


def next_step(record: "Record", folder: Path) -> str:
    """Return the command that comes next: judging, where answers wait for it."""
    waiting = record.counts.get("unjudged", 0)
    if waiting and record.run["task"].get("judge") and "judging" not in record.run:
        return f"sightline judge {folder} --judge KIND:ADDRESS  ({waiting:,} answers wait for it)"
    return f"sightline show {folder}"
