"""The verb `train`: carry out a recipe, go on with a run, or say what it would cost.

Added to the command line by harness/cli.py. torch is loaded once a recipe is to be carried out or
estimated, not before. Imports typer and harness.errors; the rest inside.
"""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import RunStopped, UsageError


def train(
    recipe: Annotated[
        str | None, typer.Argument(help="a recipe or variant: llava15/stage2; none: list them")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML file of the recipe's keys")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="KEY=VALUE, as lora.r=16; repeatable")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="directory of the model to start from")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", "-d", help="file of records, or the folder of them")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="folder that image paths start from")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="where the run goes; default trained/RECIPE-TIME")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say steps, tokens, memory and time")
    ] = False,
    devices: Annotated[int, typer.Option(min=1, help="processes, one for each device")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress")] = False,
) -> None:
    """Train a model by a recipe; the result is a directory that `transformers:DIR` scores."""
    from trainers.recipe import ObjectiveRecipe, find

    if recipe is None:
        _list()
        return
    found = find(recipe, _changes(config, changes or []))
    if data is None:
        raise UsageError("train needs --data: the file of records, or the folder of them")
    if resume and out is None:
        raise UsageError("--resume needs --out: the folder of the run to go on with")
    if dry_run:
        if isinstance(found, ObjectiveRecipe):
            from trainers.engine.objective_loop import forecast as forecast_objective

            lines = forecast_objective(found, model, data, images, devices)
        else:
            from trainers.engine.estimate import forecast

            lines = forecast(found, model, data, images, devices)
        print("\n".join(lines))
        return
    folder = out or Path("trained") / f"{found.name.replace('/', '-')}-{_now()}"
    if devices > 1:
        _spawn(devices, folder)
        return
    given: Any = {"images": images, "resumed": resume, "quiet": quiet}
    if isinstance(found, ObjectiveRecipe):
        from trainers.engine.objective_loop import train as carry_out_objective

        result = carry_out_objective(found, model, data, folder, **given)
    else:
        from trainers.engine.loop import train as carry_out

        result = carry_out(found, model, data, folder, **given)
    if not quiet and os.environ.get("RANK", "0") == "0":
        print(
            f"model: {result.model}\nlog: {folder / 'train_log.jsonl'}\n"
            f"next: sightline run --model transformers:{result.model} --task TASK --data DATA"
        )


def _list() -> None:
    from trainers.recipe import names

    print("recipes:")
    for name, variants in names().items():
        for variant, summary in variants.items():
            print(f"  {name + '/' + variant:<28} {summary}")


def _changes(config: Path | None, words: list[str]) -> dict[str, Any]:
    """Return the keys that a file and the command line change; the command line wins."""
    import yaml

    found: dict[str, Any] = {}
    if config is not None:
        try:
            read = yaml.safe_load(config.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise UsageError(f"--config {config}: {error}") from error
        if not isinstance(read, dict):
            raise UsageError(f"--config {config}: it must hold keys of a recipe with their values")
        found |= {str(key): _number(value) for key, value in read.items()}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"--set takes KEY=VALUE, found '{word}'")
        try:
            found[key] = _number(yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise UsageError(f"--set {key}: {error}") from error
    return found


def _number(value: Any) -> Any:
    """Read 2e-5 as a number, in any depth: YAML wants 2.0e-5."""
    if isinstance(value, dict):
        return {key: _number(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_number(one) for one in value]
    if isinstance(value, str) and value[:1] in "+-.0123456789":
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _spawn(devices: int, folder: Path) -> None:
    """Start the same command once for each device, through torch's launcher."""
    words = list(sys.argv[1:])
    for name in ("--devices", "--out"):
        words = _without(words, name)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"]
    command = [sys.executable, *launcher, "-m", "harness", *words, "--out", str(folder)]
    code = subprocess.run(command).returncode
    if code:
        raise RunStopped(f"a process ended with exit code {code}; what it said is above")


def _without(words: list[str], name: str) -> list[str]:
    """Return command-line `words` without the option `name` and its value."""
    out, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word == name:
            skip = True
        elif not word.startswith(f"{name}="):
            out.append(word)
    return out


def _now() -> str:
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
