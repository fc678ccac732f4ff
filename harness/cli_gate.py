"""The verbs `compare`, `gate`, `bless` and `waive`.

Added to the command line by harness/cli.py. `gate` has exit codes of its own, because a program
reads them: 0 pass, 1 regressed, 2 undecided, 3 not comparable, 4 our own fault, 64 usage. Imports
typer and harness.errors; the rest inside.
"""

import os
import sys
import traceback
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from harness.errors import DataError, SightlineError, UsageError

if TYPE_CHECKING:
    from reports.gate.config import Config

Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", help="aspect that may differ, as advice only; repeat"),
]
Home = Annotated[
    Path | None, typer.Option("--baselines", help="folder of blessed baselines, waivers, ledger")
]
File = Path | None
DEFAULT_HOME = Path("baselines")
NOT_COMPARABLE, INTERNAL, USAGE = 3, 4, 64


class GateCommand(TyperCommand):
    """A command whose usage errors exit with 64: 2 means that the gate is undecided."""

    def make_context(self, *args: Any, **more: Any) -> Any:
        """Parse the command line."""
        try:
            return super().make_context(*args, **more)
        except Exception as error:
            if getattr(error, "exit_code", None) == 2:
                error.exit_code = USAGE  # type: ignore[attr-defined]
            raise


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command()(compare)
    app.command(cls=GateCommand)(gate)
    app.command()(bless)
    app.command()(waive)


def compare(
    base: Annotated[
        str, typer.Argument(help="a run folder, a folder of them, or the address of a store")
    ],
    cand: Annotated[str, typer.Argument(help="the same of the candidate")],
    allow: Allow = None,
    seed: Annotated[int, typer.Option(help="seed of the resampling")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """Compare two runs item by item: what changed, how sure that is, which items flipped.

    Several runs of one model on one task count as one: the mean of each item comes first.
    """
    from reports import compare as report
    from reports import compare_text
    from reports.repeats import load_all

    before, after = (load_all([place], allow or ()) for place in (base, cand))
    found = report.compare_all(before, after, allow=allow or (), seed=seed)
    print(compare_text.to_json(found) if as_json else compare_text.text(found))


def gate(
    candidates: Annotated[
        list[str] | None,
        typer.Argument(help="runs of the candidate: folders, folders of them, store addresses"),
    ] = None,
    config: Annotated[Path, typer.Option("--config", "-c", help="gate.yaml or gate.toml")] = Path(
        "gate.yaml"
    ),
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="blessed name or run folders, before the file's; repeat"),
    ] = None,
    baselines: Home = None,
    allow: Allow = None,
    junit: Annotated[File, typer.Option(help="write JUnit XML here")] = None,
    sarif: Annotated[File, typer.Option(help="write SARIF here")] = None,
    json: Annotated[File, typer.Option(help="write JSON here")] = None,
    markdown: Annotated[
        File, typer.Option(help="write Markdown here; $GITHUB_STEP_SUMMARY is added to by itself")
    ] = None,
    html: Annotated[File, typer.Option(help="write one HTML page here")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="say what the gate can see and what it costs")
    ] = False,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="make faults in copies and see whether it rings")
    ] = False,
    price_in: Annotated[float, typer.Option(help="--plan: price of a million prompt tokens")] = 0.0,
    price_out: Annotated[float, typer.Option(help="--plan: of a million reply tokens")] = 0.0,
) -> None:
    """Pass, stop or say that nobody can tell: is the candidate worse than the blessed baseline?"""
    code = INTERNAL
    try:
        made = _config(config, candidates or [], baseline, baselines, allow)
        home = _home(config, made, baselines)
        if plan:
            _plan(made, home, candidates or [], price_in, price_out)
            code = 0
        elif self_test:
            code = _self_test(made, home, candidates or [])
        else:
            code = _attempt(
                made, home, candidates or [], config, junit, sarif, json, markdown, html
            )
    except SightlineError as error:
        print(f"sightline: error: {error}", file=sys.stderr)
        code = _code(error)
    except Exception:  # an exit code of 1 would say "regressed"
        traceback.print_exc()
        print("sightline: this is a fault of the gate, not of the candidate", file=sys.stderr)
    sys.stdout.flush()
    raise typer.Exit(code)


def _code(error: SightlineError) -> int:
    if isinstance(error, UsageError):
        return USAGE
    return NOT_COMPARABLE if isinstance(error, DataError) else INTERNAL


def _config(
    path: Path,
    candidates: list[str],
    baseline: list[str] | None,
    baselines: Path | None,
    allow: list[str] | None,
) -> "Config":
    from harness.find import entries
    from reports.comparable import check_names
    from reports.gate import config

    known = {entry.name for entry in entries("task")}
    made = config.load(path, known=known)
    changes: dict[str, Any] = {}
    if baseline:
        changes["baseline"] = baseline[0] if len(baseline) == 1 else tuple(baseline)
    elif made.baseline:
        changes["baseline"] = _relative(made.baseline, path, _home(path, made, baselines))
    changes["rejudged"] = {task: _beside(path, run) for task, run in made.rejudged.items()}
    changes["anchors"] = {
        task: anchor.model_copy(
            update={"run": _beside(path, anchor.run), "labels": _beside(path, anchor.labels)}
        )
        for task, anchor in made.anchors.items()
    }
    if allow:
        changes["allow"] = tuple(dict.fromkeys([*made.allow, *check_names(allow)]))
    return made.model_copy(update=changes)


def _beside(file: Path, place: str) -> str:
    """Return a place that the file names as seen from here."""
    from harness.store import as_path

    at = as_path(place)
    return at if isinstance(at, str) else str(file.parent / at)


def _relative(found: str | tuple[str, ...], file: Path, home: Path) -> str | tuple[str, ...]:
    """Return run folders of the file as seen from here; a blessed name stays what it is."""
    if isinstance(found, str):
        blessed = (home / f"{found}.json").is_file()
        return found if blessed or not (file.parent / found).is_dir() else _beside(file, found)
    return tuple(_beside(file, place) for place in found)


def _home(path: Path, made: "Config", asked: Path | None) -> Path:
    return asked or path.parent / made.baselines


def _plan(
    made: "Config", home: Path, candidates: list[str], price_in: float, price_out: float
) -> None:
    from reports.gate import baselines as store
    from reports.gate import plan
    from reports.gate.evaluate import baseline_runs
    from reports.repeats import load_all

    entry, base = baseline_runs(made, home)
    history = [run for place in candidates for run in load_all([place], made.allow).values()]
    for older in store.all_of(home):
        if entry is None or older.digest != entry.digest:
            try:
                history += older.load().values()
            except DataError as error:  # an old run may be gone; it only sharpens the forecast
                print(f"not used: {error}", file=sys.stderr)
    found = plan.forecast(made, base, history, price_in=price_in, price_out=price_out)
    if not found:
        raise DataError("no gated task has a run in the baseline; there is nothing to plan")
    print(plan.text(found))


def _self_test(made: "Config", home: Path, candidates: list[str]) -> int:
    from reports.gate import selftest
    from reports.gate.evaluate import baseline_runs
    from reports.repeats import load_all

    base = {task: run.each[0] for task, run in baseline_runs(made, home)[1].items()}
    trials = list(selftest.faults(made, base, seed=made.seed))
    if not any(trial.found is not None for trial in trials):
        raise DataError("no gated task of the baseline can block; there is nothing to test")
    found = selftest.alarms(made, base, load_all(candidates, made.allow)) if candidates else None
    print(selftest.text(trials, found))
    if not found:
        print("      name a second run of the same model to measure noise and false alarms")
    return 0 if all(trial.ok for trial in trials) else INTERNAL


def _attempt(
    made: "Config",
    home: Path,
    candidates: list[str],
    config: Path,
    junit: File,
    sarif: File,
    json: File,
    markdown: File,
    html: File,
) -> int:
    from reports.gate import evaluate
    from reports.gate.outputs import github, text
    from reports.gate.outputs import html as as_html
    from reports.gate.outputs import json as as_json
    from reports.gate.outputs import junit as as_junit
    from reports.gate.outputs import markdown as as_markdown
    from reports.gate.outputs import sarif as as_sarif

    if not candidates:
        raise UsageError("name the candidate: run folders, or a folder that holds them")
    report = evaluate.attempt(made, candidates, home=home, today=date.today())
    print(text.write(report))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print(github.write(report), end="")
    made_of = (
        (junit, as_junit.write), (json, as_json.write), (markdown, as_markdown.write),
        (html, as_html.write),
        (sarif, lambda found: as_sarif.write(found, config.as_posix())),
    )  # fmt: skip
    for path, write in made_of:
        if path:
            _write(path, write(report))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        _write(Path(summary), as_markdown.write(report), add=True)
    return report.exit_code


def _write(path: Path, content: str, *, add: bool = False) -> None:
    try:
        with path.open("ab" if add else "wb") as file:  # a lone surrogate must not end the gate
            file.write(content.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise UsageError(f"{path}: the report cannot be written: {error}") from error


def bless(
    name: Annotated[str, typer.Argument(help="a new name, as llava-7b@2026-08")],
    runs: Annotated[
        list[str], typer.Argument(help="runs: folders, folders of them, or store addresses")
    ],
    why: Annotated[str, typer.Option(help="why this is the baseline")],
    major: Annotated[
        bool, typer.Option("--major", help="later releases are also held against this one")
    ] = False,
    baselines: Home = None,
) -> None:
    """Make runs the baseline of a gate, once and for all, under a new name."""
    from reports.gate import baselines as store

    entry = store.bless(baselines or DEFAULT_HOME, name, runs, why, major=major)
    tasks = ", ".join(str(run["task"]) for run in entry.runs)
    print(f"blessed {entry.name} ({entry.digest[:12]}): {tasks}")


def waive(
    task: Annotated[str, typer.Argument(help="the task that may be worse")],
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="last day, as 2026-12-31")],
    max_drop: Annotated[float, typer.Option(help="by how much it may fall")],
    why: Annotated[str, typer.Option(help="why")],
    baselines: Home = None,
) -> None:
    """Let a task be worse until a day; printed on every report, ends by itself."""
    from reports.gate import baselines as store

    home = baselines or DEFAULT_HOME
    print(f"waived: {store.waive(home, task, until.date(), max_drop, why, date.today())}")
