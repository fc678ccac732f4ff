"""`train(recipe, ...)`: the one way a recipe is carried out, and the folder that it leaves.

    OUT/model/            the finished model: from_pretrained reads it; README.md, run.json
    OUT/checkpoint-N/     what --resume goes on from; a model directory too (an adapter with lora)
    OUT/adapter/          with lora: the adapter by itself
    OUT/train_log.jsonl   one line per logged step
    OUT/run.json          recipe, data, versions, manifest, status
    OUT/index.npz         lengths of the records, so that going on is quick
    OUT/eval/             run folders of benchmarks on checkpoints

May import torch at the top.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import environment
from trainers import probing
from trainers.engine import (
    card,
    groups,
    indexing,
    leak,
    manifest,
    model,
    records,
    resume,
    runs,
    samples,
)
from trainers.engine.collate import Rows
from trainers.engine.log import Display, Log, read
from trainers.engine.runs import Result as Result
from trainers.engine.sampler import Plan
from trainers.recipe import Recipe

CONFIGS = Path(__file__).resolve().parent / "configs"


@dataclass
class Prepared:
    """Model, data and plan of a run, before its first step."""

    ready: model.Ready
    dataset: samples.Dataset
    index: samples.Index
    plan: Plan


def train(
    recipe: Recipe,
    source: str | Path | model.Builder | None,
    data: str | Path,
    out: str | Path,
    *,
    images: str | Path | None = None,
    resumed: bool = False,
    quiet: bool = False,
) -> Result:
    """Carry out `recipe`.

    Args:
        recipe: What to do.
        source: Directory or hub name of the model to start from, a builder, or None for the
            recipe's own builder.
        data: File of records, or the folder that holds the recipe's sets of records.
        out: Where everything goes. Must be new, unless `resumed`.
        images: Folder that image paths start from.
        resumed: Go on with the run in `out`; the result is that of a run never interrupted.
        quiet: No progress.

    Raises:
        UsageError: The recipe or the options do not fit.
        DataError: Records, pictures or the checkpoint are not what they must be.
        RunStopped: The loss is not finite, or tensors changed that must not.
    """
    from harness.engine.load import quiet as no_bars

    with no_bars(), runs.processes() as state:
        return _train(recipe, source, Path(data), Path(out), images, resumed, quiet, state)


def _train(
    recipe: Recipe, source: Any, data: Path, out: Path, images: Any, resumed: bool, quiet: bool,
    state: Any,
) -> Result:  # fmt: skip
    from transformers import set_seed

    first = state.is_main_process
    display = Display(quiet or not first)
    runs.can_report(recipe)
    if recipe.probes:
        probing.read(Path(recipe.probes))  # what is wrong with it is said before anything is made
    before = runs.before(out, resumed, first)
    state.wait_for_everyone()
    out.mkdir(parents=True, exist_ok=True)
    set_seed(recipe.seed)
    checkpoint = resume.latest(out) if resumed and first else None
    state.wait_for_everyone()
    checkpoint = resume.latest(out) if resumed else checkpoint
    found = records.read(recipe, data)
    if before:
        resume.same_run(before, recipe, found.describe(), state.num_processes)
    ready = _model(recipe, source, checkpoint, before)
    done = _prepare(recipe, ready, found, images, out, state, display)
    for note in found.notes:
        display.say(f"note: {note}")
    if first and not checkpoint:
        count = leak.check(recipe, found, Path(images) if images else None, done.index.kept)
        if count:
            display.say(f"{count:,} training pictures are none of the evaluated ones")
        elif not leak.watched(recipe):
            display.say("note: no benchmark's pictures are kept out; name some with hold_out")
    header = before or _header(recipe, ready, done, found, state.num_processes)
    header.setdefault("kept_out", sorted({task for task, _ in leak.watched(recipe)}))
    if first and not before:
        runs.write(out, header)
    log = Log(out, after=runs.step_of(checkpoint)) if first else None
    return _run(recipe, done, header, out, log, display, checkpoint)


def _run(
    recipe: Recipe, done: Prepared, header: dict[str, Any], out: Path,
    log: Log | None, display: Display, checkpoint: Path | None,
) -> Result:  # fmt: skip
    from trainers.engine.trainer import Training

    rows = Rows(done.dataset, done.index)
    args = arguments(recipe, done.plan, out)
    training = Training(done.ready, done.plan, rows, args, log, display)
    if checkpoint:
        training.restore(resume.progress(checkpoint))
    if recipe.evaluate and log is not None:
        training.add_callback(_evaluator(training, out, log, header["base"]))
    if recipe.probes and log is not None:
        from trainers.engine.probes import Probing

        training.add_callback(Probing(training, recipe.probes, log, display))
    try:
        training.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except BaseException as error:
        display.end()
        if log is not None:
            told = f"{type(error).__name__}: {error}"
            runs.write(out, {**header, "status": "stopped", "error": told})
        raise
    return _finish(recipe, done, training, header, out, log, display)


def _finish(
    recipe: Recipe, done: Prepared, training: Any, header: dict[str, Any], out: Path,
    log: Log | None, display: Display,
) -> Result:  # fmt: skip
    """Save the finished model, compare its tensors with what was declared, evaluate, describe."""
    state = training.accelerator.get_state_dict(training.model_wrapped)
    folder = out / "model"
    lines = read(out / "train_log.jsonl")
    steps = [line for line in lines if "loss" in line]
    run = {
        **header,
        "status": "complete",
        "steps": training.state.global_step,
        "samples": training.totals["samples"],
        "tokens": training.totals["tokens"],
        "dropped": training.totals["dropped"],
        "seconds": round(training.seconds, 3),
        "loss": steps[-1]["loss"] if steps else None,
        "device": runs.device(),
    }
    if log is None:
        return Result(out, folder, run["steps"], run["loss"], run)
    after = manifest.checksums(_once(done.ready, state))
    changes = manifest.Manifest(header["checksums"], after, frozenset(done.ready.members))
    run["manifest"] = changes.describe()
    del run["checksums"]
    if hasattr(done.ready.model, "peft_config"):
        done.ready.model.save_pretrained(out / "adapter")
        state = None
    dtype = recipe.save_dtype
    if dtype == "auto":
        dtype = "float32" if recipe.precision == "fp32" else "bfloat16"
    model.export(done.ready, folder, dtype, state)
    runs.free(training)
    runs.benchmarks(recipe, folder, out, run["steps"], run["base"], log, display)
    evals = [line for line in read(out / "train_log.jsonl") if "eval" in line]
    (folder / "README.md").write_text(card.write(recipe, run, evals), encoding="utf-8")
    training.state.save_to_json(str(folder / "trainer_state.json"))
    runs.write(out, run)
    runs.write(folder, run)
    runs.refuse_undeclared(changes, folder, display)
    return Result(out, folder, run["steps"], run["loss"], run)


def arguments(recipe: Recipe, plan: Plan, out: Path) -> Any:
    """Return transformers' arguments for `recipe`."""
    several = plan.world > 1
    options: dict[str, Any] = {}
    if several and recipe.parallel == "fsdp2":
        options["fsdp"] = True
        options["fsdp_config"] = json.loads((CONFIGS / "fsdp2.json").read_text("utf-8"))
        options["fsdp_config"]["activation_checkpointing"] = recipe.activation_checkpointing
        options["activation_checkpointing"] = False
    elif several and recipe.parallel in ("zero2", "zero3"):
        options["deepspeed"] = str(CONFIGS / f"{recipe.parallel}.json")
    return runs.arguments(recipe, out, steps=plan.total, accumulation=plan.accumulation, **options)


def _model(
    recipe: Recipe, source: Any, checkpoint: Path | None, before: Mapping[str, Any] | None
) -> model.Ready:
    """Load the model of a run: from the checkpoint where there is one."""
    if checkpoint is None:
        return model.prepare(recipe, source)
    if recipe.lora is None:
        ready = model.prepare(recipe, checkpoint)
    else:
        ready = model.prepare(recipe, source)
        resume.load_adapter(ready.model, checkpoint)
    resume.verify(ready.model, checkpoint)
    ready.base = (before or {}).get("base", ready.base)
    return ready


def _prepare(
    recipe: Recipe, ready: model.Ready, found: records.Records, images: str | Path | None,
    out: Path, state: Any, display: Display,
) -> Prepared:  # fmt: skip
    folder = Path(images) if images is not None else None
    encoder = samples.Encoder(recipe, ready.processor, folder)
    dataset = samples.Dataset(found, encoder)
    path, key = out / "index.npz", indexing.key(recipe, found, encoder, folder)
    with state.main_process_first():
        index = indexing.known(path, key)
        if index is None:
            display.say(f"reading {len(found):,} records")
            index = dataset.index()
            indexing.keep(path, index, key)
    for reason, count in index.bad.items():
        display.say(f"left out, {reason}: {count:,}")
    return Prepared(ready, dataset, index, Plan(recipe, index, state.num_processes))


def _header(
    recipe: Recipe, ready: model.Ready, done: Prepared, found: records.Records, world: int
) -> dict[str, Any]:
    index = done.index
    return {
        "schema": 1,
        "status": "running",
        "recipe": recipe.model_dump(mode="json"),
        "base": ready.base,
        "world": world,
        "data": found.describe(),
        "notes": list(found.notes),
        "index": {"records": len(found), "kept": len(index.kept), "bad": dict(index.bad),
                  "examples": list(index.examples), "cut": index.cut,
                  "tokens": int(index.lengths.sum()), "targets": int(index.targets.sum())},
        "planned_steps": done.plan.total,
        "template": ready.processor.chat_template,
        "environment": environment.capture(),
        "checksums": manifest.checksums(_once(ready, ready.model.state_dict())),
    }  # fmt: skip


def _once(ready: model.Ready, state: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every tensor under one name: embeddings that are also the head have two."""
    tied = getattr(ready.plain, "all_tied_weights_keys", None) or {}
    for name, tensor in state.items():
        if (clean := groups.clean(name)) not in tied:
            yield clean, tensor


def _evaluator(training: Any, out: Path, log: Log, base: str) -> Any:
    from transformers import TrainerCallback

    class Evaluator(TrainerCallback):  # type: ignore[misc]
        """Runs the recipe's benchmarks on every checkpoint but the last: that is the model."""

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == state.max_steps:
                return
            folder = out / f"checkpoint-{state.global_step}"
            step, recipe = state.global_step, training.recipe
            for line in runs.benchmarks(recipe, folder, out, step, base, log, training.display):
                state.log_history.append({"step": line["step"], **line["eval"]})
            training.start_clock()

    return Evaluator()
