"""What all runs do alike, chat model or objective: processes, folder, arguments, benchmarks.

The layout of the folder is in loop.py. May import torch at the top.
"""

import gc
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from harness.errors import MissingExtra, RunStopped, UsageError
from trainers.engine import evaluate, muon
from trainers.engine.log import Display, Log, read
from trainers.engine.manifest import Manifest
from trainers.recipe import Common

TRACKERS = {"trackio": "trackio", "tensorboard": "tensorboard", "wandb": "wandb"}
_PATIENCE = timedelta(hours=12)  # other processes wait while the first one reads or evaluates


@dataclass(frozen=True)
class Result:
    """What a run left."""

    out: Path
    model: Path
    """The finished model's directory."""
    steps: int
    loss: float | None
    """Of the last logged step."""
    run: Mapping[str, Any]
    """As in run.json."""

    @property
    def log(self) -> list[dict[str, Any]]:
        """Return the lines of train_log.jsonl."""
        return read(self.out / "train_log.jsonl")


def spawned() -> bool:
    """Return whether this process is one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def processes() -> Iterator[Any]:
    """Join the processes of a run, as accelerate's PartialState, and part from them at its end.

    Processes that end while gloo's threads still run are aborted by the C++ runtime: all wait for
    each other, then let go of the group. After an error nobody waits. A group that the caller
    made is the caller's to destroy.
    """
    import torch.distributed as distributed
    from accelerate import PartialState

    given = distributed.is_available() and distributed.is_initialized()
    cpu = not torch.cuda.is_available()
    state = PartialState(cpu=cpu, timeout=_PATIENCE) if spawned() else PartialState(cpu=cpu)
    try:
        yield state
    except BaseException:
        if not given and distributed.is_initialized() and distributed.get_backend() == "gloo":
            _part()
        raise
    if not given and distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        _part()


def _part() -> None:
    """Destroy the group of processes, with all that holds on to it."""
    import torch.distributed as distributed
    from accelerate.state import AcceleratorState

    gc.collect()  # sharded weights in reference cycles keep the group's threads
    distributed.destroy_process_group()
    AcceleratorState._reset_state(reset_partial_state=True)


def can_report(recipe: Common) -> None:
    """Raise MissingExtra where a package that `recipe` names is not here."""
    from importlib.util import find_spec

    for name in recipe.report_to:
        if find_spec(TRACKERS[name]) is None:
            raise MissingExtra(name, f"report_to: {name}", f"pip install {TRACKERS[name]}")
    if recipe.parallel in ("zero2", "zero3") and spawned() and find_spec("deepspeed") is None:
        raise MissingExtra("deepspeed", f"parallel: {recipe.parallel}", "pip install deepspeed")


def before(out: Path, resumed: bool, first: bool) -> dict[str, Any] | None:
    """Return what the run to go on with wrote when it began; None for a new run.

    Raises:
        UsageError: `out` is not empty, or holds no run to go on with, or a complete one.
    """
    path = out / "run.json"
    if not resumed:
        if first and out.exists() and any(out.iterdir()):
            raise UsageError(f"{out} is not empty; choose a new --out, or go on with --resume")
        return None
    if not path.is_file():
        raise UsageError(f"{out} holds no run to go on with (it has no run.json)")
    found = dict(json.loads(path.read_text(encoding="utf-8")))
    if found["status"] == "complete":
        raise UsageError(f"the run in {out} is complete; its model is {out / 'model'}")
    return found


def write(folder: Path, run: Mapping[str, Any]) -> None:
    """Write run.json, whole or not at all."""
    part = folder / "run.json.part"
    part.write_text(json.dumps(dict(run), indent=1), encoding="utf-8")
    part.replace(folder / "run.json")


def step_of(checkpoint: Path | None) -> int | None:
    """Return the step that a checkpoint was made at."""
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else None


def device() -> str:
    """Return the name of the device that trains."""
    return (
        torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine() + " CPU"
    )


def arguments(
    recipe: Common, out: Path, *, steps: int, accumulation: int = 1, **options: Any
) -> Any:
    """Return transformers' arguments for `recipe`, with more `options`."""
    from transformers import TrainingArguments

    cuda = torch.cuda.is_available()
    kind: str = "constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule
    if recipe.schedule == "cosine" and recipe.min_lr:
        kind = "cosine_with_min_lr"
        options["lr_scheduler_kwargs"] = {"min_lr": recipe.min_lr}
    chosen = {
        "output_dir": str(out),
        "per_device_train_batch_size": recipe.micro_batch,
        "gradient_accumulation_steps": accumulation,
        "max_steps": steps,
        "learning_rate": recipe.lr,
        "lr_scheduler_type": kind,
        "warmup_steps": recipe.warmup,
        "weight_decay": recipe.weight_decay,
        "adam_beta1": recipe.betas[0],
        "adam_beta2": recipe.betas[1],
        "adam_epsilon": recipe.eps,
        "optim": "adamw_torch" if recipe.optimizer == muon.NAME else recipe.optimizer,
        "max_grad_norm": recipe.max_grad_norm,
        "bf16": recipe.precision == "bf16",
        "tf32": True if cuda and recipe.precision != "fp32" else None,
        "use_cpu": not cuda,
        "seed": recipe.seed,
        "logging_steps": recipe.log_every,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if recipe.save_every else "no",
        "save_steps": recipe.save_every or 500,
        "report_to": list(recipe.report_to) or "none",
        "run_name": f"{recipe.name} {out.name}",
        "dataloader_pin_memory": cuda,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "disable_tqdm": True,
        "activation_checkpointing": recipe.activation_checkpointing,
        "ddp_find_unused_parameters": False,
    }
    return TrainingArguments(**(chosen | options))


def benchmarks(
    recipe: Common, folder: Path, out: Path, step: int, base: str, log: Log, display: Display
) -> list[dict[str, Any]]:
    """Run the recipe's benchmarks on the model in `folder`; return and log a line for each."""
    found = []
    for line in evaluate.run(recipe, folder, out, step, base):
        log.add(line)
        told = line["eval"]
        said = told.get("error") or f"{told['metric']} {told['value']}"
        display.say(f"step {line['step']:,}: {told['task']}: {said}")
        found.append(line)
    return found


def free(training: Any) -> None:
    """Let go of gradients and optimizer states: a benchmark's process may need the memory."""
    training.optimizer = training.lr_scheduler = None
    training.model_wrapped = training.model
    training.model.zero_grad(set_to_none=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def refuse_undeclared(changes: Manifest, folder: Path, display: Display) -> None:
    """Raise RunStopped where tensors changed that must not; say which were declared and did not."""
    if changes.undeclared:
        raise RunStopped(
            f"{len(changes.undeclared)} tensors changed though the recipe does not train them: "
            f"{', '.join(changes.undeclared[:4])}; {folder} is kept to look at"
        )
    if changes.unchanged:
        display.say(f"note: declared and unchanged: {', '.join(changes.unchanged[:8])}")
