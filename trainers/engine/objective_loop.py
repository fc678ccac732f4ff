"""`train(recipe, ...)` for recipes with an objective; what it leaves is laid out as in loop.py.

    OUT/checkpoint-N/state.safetensors   the objective's whole state_dict, with optimizer and RNG
    OUT/model/                           what the objective exports; README.md, run.json

May import torch at the top.
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from harness import environment
from harness.errors import DataError, UsageError
from trainers.engine import groups, leak, manifest, objective_card, resume, runs
from trainers.engine.estimate import memory
from trainers.engine.log import Display, Log, read
from trainers.engine.objective import Objective, Pictured, make
from trainers.engine.objective_plan import ObjectivePlan
from trainers.engine.runs import Result
from trainers.recipe import ObjectiveRecipe


def train(
    recipe: ObjectiveRecipe,
    source: str | Path | None,
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
        source: Directory or hub name of the model to start from; None where the objective makes
            its own.
        data: As the objective reads it.
        out: Where everything goes. Must be new, unless `resumed`.
        images: Folder that image paths start from.
        resumed: Go on with the run in `out`; the result is that of a run never interrupted.
        quiet: No progress.

    Raises:
        UsageError: The recipe or the options do not fit.
        DataError: Data or the checkpoint are not what they must be.
        RunStopped: The loss is not finite, or tensors changed that must not.
    """
    from harness.engine.load import quiet as no_bars

    with no_bars(), runs.processes() as state:
        return _train(recipe, source, Path(data), Path(out), images, resumed, quiet, state)


def forecast(
    recipe: ObjectiveRecipe, source: Any, data: Any, images: Any, devices: int
) -> list[str]:
    """Return what a run would take, as lines for people.

    Raises:
        UsageError, DataError: As a run would.
    """
    from harness.engine.load import quiet as no_bars

    with no_bars():
        objective = _make(recipe, source, Path(data), images)
    members = declare(objective, recipe)
    plan = ObjectivePlan(recipe, len(objective), devices)
    weights = list(objective.model.named_parameters())
    total = sum(w.numel() for _, w in weights)
    trained = sum(w.numel() for name, w in weights if name in members)
    held = sum(w.numel() * w.element_size() for _, w in weights)
    moments = memory(total, trained, "fp32", 1)["gradients_and_optimizer"]
    two = plan.pieces > 1 and hasattr(objective, "loss_of")
    each = min(recipe.micro_batch, recipe.batch_size)
    lines = [
        f"recipe {recipe.name}: {source or 'its own model'}",
        f"items    {len(objective):,}",
        f"steps    {plan.total:,} of {recipe.batch_size} items: {plan.pieces} forward passes of "
        f"{each} on each of {devices}" + (", made twice" if two else ""),
        f"weights  {total:,}, of which {trained:,} train, in "
        f"{len({m.group for m in members.values()})} groups",
        f"memory   {held / 2**30:.2f} GiB of weights and {moments / 2**30:.2f} GiB of gradients "
        "and optimizer states on each device; activations come on top and depend on micro_batch",
    ]
    if recipe.a100_hours:
        lines.append(f"published {recipe.a100_hours:g} A100 hours")
    facts = objective.describe()
    return lines + [f"{key:<8} {value}" for key, value in facts.items() if _plain(value)]


def declare(objective: Objective, recipe: ObjectiveRecipe) -> dict[str, groups.Member]:
    """Return what `recipe` trains of the objective's members, and set `requires_grad` accordingly.

    A group of the recipe takes members whose name its pattern is found in, or that the objective
    put into the group of that name. What has fewer than two dimensions never decays: biases, norms,
    gates, scales.

    Raises:
        DataError: A pattern or a group matches nothing, a member is no parameter, or nothing would
            be trained.
    """
    weights = dict(objective.model.named_parameters())
    buffers = {name for name, _ in objective.model.named_buffers()}
    absent = sorted(set(objective.members) - set(weights) - buffers)
    if absent:
        raise DataError(f"members that the model does not have: {', '.join(absent[:4])}")
    possible = [name for name in objective.members if name in weights]
    chosen = _matching(possible, recipe.trainable, "trainable")
    chosen -= _matching(possible, recipe.frozen, "frozen")
    if not chosen:
        raise DataError("nothing would be trained: all that `trainable` names is `frozen`")
    members = {}
    for name, weight in weights.items():
        weight.requires_grad_(name in chosen)
        if name not in chosen:
            continue
        wanted = objective.members[name]
        group = next((g for g in recipe.groups if re.search(g.pattern, name)), None)
        group = group or next((g for g in recipe.groups if g.name == wanted), None)
        decay = recipe.weight_decay
        if group and group.weight_decay is not None:
            decay = group.weight_decay
        rate = group.lr if group else recipe.lr
        decay = decay if weight.ndim > 1 else 0.0
        members[name] = groups.Member(name, group.name if group else groups.BASE, rate, decay)
    used = {member.group for member in members.values()}
    for group in recipe.groups:
        if group.name not in used:
            raise DataError(f"the group '{group.name}' ({group.pattern}) has nothing that trains")
    return members


def _train(
    recipe: ObjectiveRecipe, source: Any, data: Path, out: Path, images: Any, resumed: bool,
    quiet: bool, state: Any,
) -> Result:  # fmt: skip
    from transformers import set_seed

    first = state.is_main_process
    display = Display(quiet or not first)
    runs.can_report(recipe)
    before = runs.before(out, resumed, first)
    state.wait_for_everyone()
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = resume.latest(out) if resumed and first else None
    state.wait_for_everyone()
    checkpoint = resume.latest(out) if resumed else checkpoint
    set_seed(recipe.seed)
    objective = _make(recipe, source, data, images)
    set_seed(recipe.seed)  # steps draw the same, however much making the objective drew
    members = declare(objective, recipe)
    plan = ObjectivePlan(recipe, len(objective), state.num_processes)
    header = before or _header(recipe, objective, source, state.num_processes)
    _agree(objective, header, before, recipe, state)
    if first and not checkpoint:
        header["kept_out"] = _kept_out(recipe, objective, display)
    if first and not before:
        runs.write(out, header)
    if checkpoint:
        from trainers.engine.objective_trainer import load_state

        load_state(objective.model, checkpoint)
    log = Log(out, after=runs.step_of(checkpoint)) if first else None
    return _run(recipe, objective, members, plan, header, out, log, display, checkpoint)


def _run(
    recipe: ObjectiveRecipe, objective: Objective, members: Mapping[str, groups.Member],
    plan: ObjectivePlan, header: dict[str, Any], out: Path, log: Log | None, display: Display,
    checkpoint: Path | None,
) -> Result:  # fmt: skip
    from trainers.engine.objective_trainer import ObjectiveTraining

    if recipe.compile:
        from harness.engine.load import compile_parts

        compile_parts(objective.model)
    # Autocast is the steps' own, and a batch of the loader is a whole step.
    own = {"bf16": False, "per_device_train_batch_size": plan.share}
    args = runs.arguments(recipe, out, steps=plan.total, **own)
    training = ObjectiveTraining(objective, members, plan, args, log, display)
    if checkpoint:
        training.restore(resume.progress(checkpoint))
    if recipe.evaluate and log is not None:
        training.add_callback(_evaluator(training, out, log, header["base"]))
    try:
        training.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except BaseException as error:
        display.end()
        if log is not None:
            told = f"{type(error).__name__}: {error}"
            runs.write(out, {**header, "status": "stopped", "error": told})
        raise
    return _finish(recipe, training, header, out, log, display)


def _finish(
    recipe: ObjectiveRecipe, training: Any, header: dict[str, Any], out: Path, log: Log | None,
    display: Display,
) -> Result:  # fmt: skip
    """Export the finished model, compare tensors with what was declared, evaluate, describe."""
    folder = out / "model"
    steps = [line for line in read(out / "train_log.jsonl") if "loss" in line]
    run = {
        **header,
        "status": "complete",
        "steps": training.state.global_step,
        "samples": training.totals["samples"],
        "seconds": round(training.seconds, 3),
        "loss": steps[-1]["loss"] if steps else None,
        "device": runs.device(),
    }
    if log is None:
        return Result(out, folder, run["steps"], run["loss"], run)
    after = manifest.checksums(_state(training.objective))
    declared = {*training.members, *_moving_buffers(training.objective)}
    changes = manifest.Manifest(header["checksums"], after, frozenset(declared))
    run["manifest"] = changes.describe()
    del run["checksums"]
    _export(training.objective, folder)
    runs.free(training)
    runs.benchmarks(recipe, folder, out, run["steps"], run["base"], log, display)
    evals = [line for line in read(out / "train_log.jsonl") if "eval" in line]
    card = objective_card.write(recipe, run, evals, folder)
    (folder / "README.md").write_text(card, encoding="utf-8")
    training.state.save_to_json(str(folder / "trainer_state.json"))
    runs.write(out, run)
    runs.write(folder, run)
    runs.refuse_undeclared(changes, folder, display)
    return Result(out, folder, run["steps"], run["loss"], run)


def _make(recipe: ObjectiveRecipe, source: Any, data: Path, images: Any) -> Objective:
    if not data.exists():
        raise DataError(f"--data: there is no {data}")
    base = Path(source) if source is not None else None
    return make(recipe, base, data, Path(images) if images is not None else None)


def _header(
    recipe: ObjectiveRecipe, objective: Objective, source: Any, world: int
) -> dict[str, Any]:
    return {
        "schema": 1,
        "status": "running",
        "recipe": recipe.model_dump(mode="json"),
        "base": str(source) if source is not None else recipe.objective,
        "world": world,
        "data": json.loads(json.dumps(objective.describe())),
        "items": len(objective),
        "ids": _digest(objective.ids()),
        "environment": environment.capture(),
        "checksums": manifest.checksums(_state(objective)),
    }


def _agree(
    objective: Objective, header: Mapping[str, Any], before: Mapping[str, Any] | None,
    recipe: ObjectiveRecipe, state: Any,
) -> None:  # fmt: skip
    """Raise unless this run began as it goes on, and alike in every process."""
    if before:
        facts = json.loads(json.dumps(objective.describe()))
        resume.same_run(before, recipe, facts, state.num_processes)
        if before["ids"] != _digest(objective.ids()):
            raise UsageError("--resume: the items are not those that the run began with")
        if before["checksums"] != manifest.checksums(_state(objective)):
            raise UsageError("--resume: --model is not the model that the run began with")
    if state.num_processes > 1:
        import torch.distributed as distributed

        own = _digest([json.dumps(header["checksums"], sort_keys=True), header["ids"]])
        every: list[Any] = [None] * state.num_processes
        distributed.all_gather_object(every, own)
        if len(set(every)) > 1:
            raise DataError("the processes do not begin with the same weights and items")


def _kept_out(recipe: ObjectiveRecipe, objective: Objective, display: Display) -> list[str]:
    """Return the tasks whose pictures were looked for among the objective's.

    Raises:
        DataError: One was found.
        UsageError: The recipe names tasks and the objective cannot show its pictures.
    """
    tasks = leak.watched(recipe)
    if not tasks:
        display.say("note: no benchmark's pictures are kept out; name some with hold_out")
        return []
    if not isinstance(objective, Pictured):
        if recipe.hold_out:
            raise UsageError(f"hold_out: {recipe.objective} cannot show its pictures to compare")
        display.say("note: pictures of `evaluate` were not looked for among those trained on")
        return []
    against = leak.evaluated(tasks)
    found, count = [], 0
    for name, picture in objective.pictures():
        count += 1
        size = picture.stat().st_size if isinstance(picture, Path) else len(picture)
        if known := against.get(size):
            read_ = picture.read_bytes() if isinstance(picture, Path) else picture
            if hit := known.get(sha256(read_).hexdigest()):
                found.append(f"{name} is {hit}")
    if found:
        raise DataError(
            f"{len(found)} training pictures are pictures of evaluated tasks: "
            f"{'; '.join(found[:3])}. Take them out; nothing was trained"
        )
    display.say(f"{count:,} training pictures are none of the evaluated ones")
    return sorted({task for task, _ in tasks})


def _evaluator(training: Any, out: Path, log: Log, base: str) -> Any:
    from transformers import TrainerCallback

    class Evaluator(TrainerCallback):  # type: ignore[misc]
        """Runs the recipe's benchmarks on every checkpoint but the last: that is the model."""

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == state.max_steps:
                return
            step, recipe = state.global_step, training.recipe
            folder = out / "exported" / f"checkpoint-{step}"
            random = torch.get_rng_state()
            _export(training.objective, folder)
            for line in runs.benchmarks(recipe, folder, out, step, base, log, training.display):
                state.log_history.append({"step": line["step"], **line["eval"]})
            shutil.rmtree(folder.parent)
            torch.set_rng_state(random)
            training.start_clock()

    return Evaluator()


def _export(objective: Objective, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    mode = objective.model.training
    with torch.no_grad():
        objective.export(folder)
    objective.model.train(mode)


def _state(objective: Objective) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every tensor under one name; what shares memory goes by the name that trains."""
    owned = {id(weight) for weight in objective.model.parameters()}
    names = {name for name, _ in objective.model.named_parameters()}
    for name, tensor in objective.model.state_dict(keep_vars=True).items():
        if name in names or id(tensor) not in owned:
            yield groups.clean(name), tensor


def _moving_buffers(objective: Objective) -> set[str]:
    return {name for name, _ in objective.model.named_buffers() if name in objective.members}


def _matching(names: Iterable[str], patterns: tuple[str, ...], what: str) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        matched = {name for name in names if re.fullmatch(pattern, name)}
        if not matched:
            heads = dict.fromkeys(".".join(name.split(".")[:2]) for name in names)
            raise DataError(
                f"`{what}: {pattern}` matches nothing that the objective trains: {', '.join(heads)}"
            )
        found |= matched
    return found


def _digest(words: Any) -> str:
    digest = sha256()
    for word in words:
        digest.update(f"{len(word)} {word}".encode())
    return digest.hexdigest()[:16]


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)
