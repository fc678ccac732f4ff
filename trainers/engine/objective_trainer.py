"""Steps of an objective: its loss in one pass or two, gradients averaged over processes.

One batch of the loader is what this process sees of a whole step. The model is not wrapped for
several processes: parts of it that one loss leaves out, methods other than `forward` and a second
pass over the same batch are all in order, and one mean over processes after the last backward pass
gives what DistributedDataParallel would. May import torch and transformers at the top.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from harness.errors import DataError
from trainers.engine import groups
from trainers.engine.log import Display, Log
from trainers.engine.objective import Cached, Objective, Scheduled, Watched
from trainers.engine.objective_plan import Items, ObjectivePlan, Shares
from trainers.engine.trainer import Steps

STATE = "state.safetensors"
"""File of a checkpoint with the whole state_dict."""
_BUCKET = 2**25  # numbers of gradient that are sent at once


class ObjectiveTraining(Steps):
    """Carries out a plan on an objective."""

    def __init__(
        self, objective: Objective, members: Mapping[str, groups.Member], plan: ObjectivePlan,
        args: Any, log: Log | None, display: Display,
    ) -> None:  # fmt: skip
        """Take a log on the first process only."""
        self.objective, self.plan = objective, plan
        self.parts: dict[str, float] = {}
        self._steps = 0
        args._n_gpu = min(args.n_gpu, 1)  # one process, one device: nothing is wrapped
        super().__init__(
            plan.recipe,
            members,
            log,
            display,
            model=objective.model,
            args=args,
            train_dataset=Items(objective),
        )
        # Without it, accelerate would wrap the model for several processes.
        self.accelerator.prepare_model = partial(
            self.accelerator.prepare_model, evaluation_mode=True
        )
        self.add_callback(_After(objective))

    # ---- Data ----

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return what this process sees of each step; skipping steps reads no item."""
        return DataLoader(
            self.train_dataset,  # items are asked for by entries
            batch_sampler=Shares(self.plan, self.args.process_index),
            collate_fn=self._pieces,
            num_workers=self.recipe.workers,
            pin_memory=self.args.dataloader_pin_memory,
            generator=torch.Generator(),  # else each start draws from the global one
        )

    def num_examples(self, dataloader: Any) -> int:
        """Return the items of an epoch."""
        return len(self.objective)

    def _pieces(self, items: Sequence[Any]) -> dict[str, Any]:
        parts = self.plan.cut(items)
        return {
            "pieces": [self.objective.collate(part) for part in parts],
            "sizes": [len(part) for part in parts],
        }

    # ---- Rates ----

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Follow the objective's own schedule where it has one, else the recipe's."""
        own = self.objective
        if isinstance(own, Scheduled) and own.rate(0, num_training_steps) is not None:
            chosen = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                chosen, lambda step: own.rate(step, num_training_steps) or 0.0
            )
            self._created_lr_scheduler = True
            return self.lr_scheduler
        return super().create_scheduler(num_training_steps, optimizer)

    # ---- Steps ----

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Leave the gradient of the whole step in the parameters; return this process's loss."""
        model.train()
        pieces, sizes = inputs["pieces"], inputs["sizes"]
        self.window["samples"] += sum(sizes)
        twice = len(pieces) > 1 and isinstance(self.objective, Cached)
        loss = (self._two_passes if twice else self._one_pass)(model, pieces, sizes)
        self._steps += 1
        if self.args.world_size > 1:
            self._average()
        return loss

    def _autocast(self) -> Any:
        wanted = self.recipe.precision == "bf16"
        return torch.autocast(self.args.device.type, torch.bfloat16, enabled=wanted)

    def _one_pass(self, model: Any, pieces: Sequence[Any], sizes: Sequence[int]) -> Tensor:
        """Go through the pieces; each counts by its items."""
        total = torch.zeros((), device=self.args.device)
        for piece, size in zip(pieces, sizes, strict=True):
            with self._autocast():
                loss, parts = self.objective.loss(model, self._prepare_inputs(piece))
            weight = size / sum(sizes)
            (loss * weight).backward()
            total += loss.detach().float() * weight
            self._note(parts, weight)
        return total

    def _two_passes(self, model: Any, pieces: Sequence[Any], sizes: Sequence[int]) -> Tensor:
        """Compute features, their gradient from the loss of all, then that of the weights.

        Both passes over a piece begin with the same random state, so that dropout is the same.
        """
        objective: Any = self.objective
        states, found = [], []
        with torch.no_grad():
            for piece in pieces:
                states.append(_random(self.args.device))
                with self._autocast():
                    found.append(objective.features(model, self._prepare_inputs(piece)))
        whole = {name: torch.cat([one[name] for one in found]) for name in found[0]}
        whole = {n: t.requires_grad_() if t.is_floating_point() else t for n, t in whole.items()}
        with self._autocast():
            loss, parts = objective.loss_of(model, whole)
        loss.backward()
        self._note(parts, 1.0)
        after, at = _random(self.args.device), 0
        for piece, size, state in zip(pieces, sizes, states, strict=True):
            _set_random(self.args.device, state)
            with self._autocast():
                again = objective.features(model, self._prepare_inputs(piece))
            felt = {n: t.grad[at : at + size] for n, t in whole.items() if t.grad is not None}
            moving = [name for name in felt if again[name].requires_grad]
            if moving:
                torch.autograd.backward([again[n] for n in moving], [felt[n] for n in moving])
            at += size
        _set_random(self.args.device, after)
        return loss.detach().float()

    def _average(self) -> None:
        """Replace each gradient by its mean over the processes."""
        import torch.distributed as distributed

        if not self.state.global_step:
            groups.refuse_unreached(groups.without_gradient(self.model, self.members))
        moved = [p for n, p in self.model.named_parameters() if groups.clean(n) in self.members]
        for weight in moved:
            if weight.grad is None:  # all processes must send the same
                weight.grad = torch.zeros_like(weight)
        for bucket in _buckets([weight.grad for weight in moved]):
            flat = torch.cat([grad.reshape(-1) for grad in bucket])
            distributed.all_reduce(flat)
            flat /= self.args.world_size
            for grad, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                grad.copy_(part.view_as(grad))

    def _note(self, parts: Mapping[str, float], weight: float) -> None:
        for name, value in parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + float(value) * weight

    # ---- Checkpoints ----

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Save the whole state_dict as it is."""
        from safetensors.torch import save_model

        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            save_model(self.objective.model, str(folder / STATE))

    # ---- Log ----

    def _line(self, logs: Mapping[str, float]) -> dict[str, Any]:
        found, passed = self._summed(), self._passed()
        objective = self.objective
        line = {
            "step": self.state.global_step,
            "epoch": round(self.totals["samples"] / max(len(objective), 1), 4),
            "samples": self.totals["samples"],
            "loss": logs["loss"],
            "grad_norm": logs.get("grad_norm"),
            "lr": dict(self.rates),
            "samples_per_s": round(found["samples"] / passed, 1),
            "seconds": round(self.seconds, 3),
            "parts": self._mean_parts(),
        }
        if isinstance(objective, Watched):
            line["state"] = objective.watched()
        return line

    def _mean_parts(self) -> dict[str, float]:
        """Return the mean of each part over this window's steps and over all devices."""
        names = sorted(self.parts)
        values = [self.parts[name] / max(self._steps, 1) for name in names]
        self.parts, self._steps = {}, 0
        if self.args.world_size > 1 and names:
            told = torch.tensor(values, dtype=torch.float64, device=self.args.device)
            values = self.accelerator.reduce(told, "mean").tolist()
        return dict(zip(names, values, strict=True))


class _After(TrainerCallback):  # type: ignore[misc]
    """Calls the objective after every step of the optimizer."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.objective.after_step()


def load_state(model: torch.nn.Module, folder: Path) -> None:
    """Load a checkpoint's state_dict into `model`, bit for bit.

    Raises:
        DataError: The file is not there, or its tensors are not those of `model`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(model, str(folder / STATE), strict=True)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{folder / STATE} does not hold this model's tensors: {error}") from error


def _buckets(grads: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return gradients in order, in groups of one type and of bounded size."""
    out: list[list[Tensor]] = []
    held = 0
    for grad in grads:
        if not out or out[-1][0].dtype != grad.dtype or held + grad.numel() > _BUCKET:
            out.append([])
            held = 0
        out[-1].append(grad)
        held += grad.numel()
    return out


def _random(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return torch's random states of the CPU and the device."""
    own = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), own


def _set_random(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
