"""transformers' Trainer, with what our runs need differently.

`Steps` is what chat models and objectives share: rates per group, checkpoints that count once they
are complete, the log. `Training` is the chat models': batches come from a plan (sampler.py) rather
than a sampler, the loss counts target tokens and computes logits only there, and weights are saved
under the names that they are read with. All else (accumulation, mixed precision, DDP, FSDP2,
DeepSpeed, schedules, RNG states) is transformers' and accelerate's. May import torch and
transformers at the top.
"""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback

from harness.errors import DataError, RunStopped
from trainers.engine import groups, muon, resume
from trainers.engine.collate import Collator, Rows
from trainers.engine.estimate import Cost
from trainers.engine.log import Display, Log
from trainers.engine.model import Ready, save_processor
from trainers.engine.sampler import Batches, Plan
from trainers.engine.samples import IGNORED
from trainers.recipe import Common

COUNTS = ("samples", "tokens", "squares", "targets", "pictures", "dropped")


class Steps(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """What every run does at its steps, whatever it trains."""

    counts: tuple[str, ...] = ("samples",)
    """What is counted in each step, over all devices, and kept in checkpoints."""

    def __init__(
        self, recipe: Common, members: Mapping[str, groups.Member], log: Log | None,
        display: Display, **options: Any,
    ) -> None:  # fmt: skip
        """Take a log on the first process only; `options` are the Trainer's own."""
        self.optimizer: Any = None
        self.recipe, self.members = recipe, members
        self.file, self.display = log, display
        self.totals = dict.fromkeys(self.counts, 0)
        self.window = dict.fromkeys(self.counts, 0)
        self.seconds = 0.0
        self.rates: dict[str, float] = {}
        self.start_clock()
        super().__init__(callbacks=[_Watch(self)], **options)
        self.loss_is_scaled_for_ga = True
        from transformers.trainer_callback import PrinterCallback

        self.remove_callback(PrinterCallback)

    def floating_point_ops(self, inputs: Any) -> int:
        """Return nothing: throughput is counted in the log's lines."""
        return 0

    # ---- Optimizer ----

    def create_optimizer(self, model: Any = None) -> Any:
        """Make the optimizer over the declared parameters and nothing else."""
        if self.optimizer is None:
            owner = self.model if model is None else model
            made = groups.optimizer_groups(owner, self.members)
            groups.check(made, self.members)
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, owner)
            if self.recipe.optimizer == muon.NAME:
                kind = muon.MuonAdamW
                options = {"inner": muon.inner(owner)} | muon.options(options)
            self.optimizer = kind(made, **options)
        return self.optimizer

    # ---- Checkpoints ----

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save everything, declare it complete when all processes are done, drop old ones."""
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            out = Path(self.args.output_dir)
            folder = out / f"checkpoint-{self.state.global_step}"
            state = {"step": self.state.global_step, "seconds": self.seconds, **self.totals}
            resume.mark(folder, state)
            resume.rotate(out, self.recipe.keep)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load nothing: `from_pretrained` has restored the weights, and they were compared.

        transformers' own way would look for them under names that the files do not have, and
        train on from random ones. Shards were cut from the restored weights.
        """

    def restore(self, before: Mapping[str, Any]) -> None:
        """Take over the counts of a run that goes on."""
        self.seconds = before["seconds"]
        self.totals = {name: before[name] for name in self.counts}

    # ---- Log ----

    def start_clock(self) -> None:
        """Begin to measure anew; what passed since the last line is not the training's time."""
        self._since = time.monotonic()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write a line for a logged step; nothing for what the Trainer sums up at the end."""
        if "loss" not in logs:
            return
        line = self._line(logs)
        if self.file is not None:
            self.file.add(line)
            self.display.step(line)
        self.window = dict.fromkeys(self.counts, 0)
        super().log({k: v for k, v in _flat(line) if v is not None}, start_time)
        if not math.isfinite(logs["loss"]):
            raise RunStopped(
                f"the loss is {logs['loss']} at step {line['step']}; the last checkpoint is "
                "intact. Lower the learning rate, or lengthen the warm-up"
            )

    def _summed(self) -> dict[str, int]:
        """Return this window's counts over all devices, and add them to the totals."""
        values = torch.tensor([float(self.window[n]) for n in self.counts], device=self.args.device)
        values = values.double() if values.device.type != "mps" else values
        if self.args.world_size > 1:
            values = self.accelerator.reduce(values, "sum")
        found = {name: int(x) for name, x in zip(self.counts, values.tolist(), strict=True)}
        for name in self.counts:
            self.totals[name] += found[name]
        return found

    def _passed(self) -> float:
        """Return the seconds of this window, and add them to the run's."""
        now = time.monotonic()
        passed, self._since = max(now - self._since, 1e-9), now
        self.seconds += passed
        return passed

    def _line(self, logs: Mapping[str, float]) -> dict[str, Any]:
        """Return a line of the log."""
        raise NotImplementedError


class Training(Steps):
    """Carries out a plan on a ready model."""

    counts = COUNTS

    def __init__(
        self, ready: Ready, plan: Plan, rows: Rows, args: Any, log: Log | None, display: Display
    ) -> None:
        """Take a log on the first process only."""
        self.ready, self.plan, self.rows = ready, plan, rows
        trained = groups.pictured(ready.members)
        blank = rows.dataset.encoder.pictures.blank if trained else None
        packing = plan.recipe.packing
        collator = Collator(ready.image_token, ready.pad_token, packing, blank)
        self.cost = Cost(ready.plain)
        super().__init__(
            plan.recipe,
            ready.members,
            log,
            display,
            model=ready.model,
            args=args,
            data_collator=collator,
            train_dataset=rows,
            processing_class=ready.processor,
        )

    # ---- Data ----

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the micro-batches of this process."""
        loader = DataLoader(
            self.rows,  # rows are asked for by tuples
            batch_sampler=Batches(self.plan),
            collate_fn=self.data_collator,
            num_workers=self.recipe.workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=False,
        )
        return self.accelerator.prepare(loader)

    def num_examples(self, dataloader: Any) -> int:
        """Return the samples of an epoch."""
        return len(self.rows)

    # ---- Loss ----

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """Return the target tokens of the whole step, over all devices."""
        count = torch.tensor(sum(b["facts"]["targets"] for b in batch_samples), device=device)
        if self.args.world_size > 1:
            count = self.accelerator.gather(count[None]).sum()
        return count

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:  # fmt: skip
        """Return this micro-batch's part of the step's loss."""
        inputs = dict(inputs)
        facts, labels = inputs.pop("facts"), inputs.pop("labels")
        self._count(facts)
        shifted = labels[:, 1:]
        at = (shifted != IGNORED).any(dim=0).nonzero().squeeze(1)
        if not len(at):
            at = torch.zeros(1, dtype=torch.long, device=labels.device)
        if self.plan.recipe.precision == "bf16_pure":
            inputs = {k: v.bfloat16() if _is_float(v) else v for k, v in inputs.items()}
        logits = model(**inputs, logits_to_keep=at, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]).float(),
            shifted[:, at].reshape(-1),
            ignore_index=IGNORED,
            reduction="sum",
        )
        if self.plan.recipe.loss_norm == "token_local":
            return loss / max(facts["targets"], 1) / self.args.gradient_accumulation_steps
        return loss * self.args.world_size / num_items_in_batch.clamp(min=1)

    # ---- Checkpoints ----

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Save weights under the model's own names: under others, nothing would be restored."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        adapted = hasattr(model, "peft_config")
        names = {} if adapted else {"save_original_format": False}
        model.save_pretrained(folder, state_dict=state_dict, **names)
        save_processor(self.ready.processor, folder)

    # ---- Log ----

    def _line(self, logs: Mapping[str, float]) -> dict[str, Any]:
        found, passed = self._summed(), self._passed()
        self._refuse_many_dropped()
        flops = self.cost.flops(found["tokens"], found["squares"], found["targets"],
                                found["pictures"])  # fmt: skip
        peak = self.cost.peak(self.args.device) * self.args.world_size
        return {
            "step": self.state.global_step,
            "epoch": round(self.totals["samples"] / max(len(self.rows), 1), 4),
            "samples": self.totals["samples"],
            "tokens": self.totals["tokens"],
            "loss": logs["loss"],
            "grad_norm": logs.get("grad_norm"),
            "lr": dict(self.rates),
            "tokens_per_s": round(found["tokens"] / passed, 1),
            "mfu": round(flops / passed / peak, 4) if peak else None,
            "target_fraction": round(found["targets"] / max(found["tokens"], 1), 4),
            "dropped": self.totals["dropped"],
            "seconds": round(self.seconds, 3),
        }

    def _count(self, facts: Mapping[str, Any]) -> None:
        for name in COUNTS:
            self.window[name] += len(facts[name]) if name == "dropped" else facts[name]
        for error in facts["dropped"]:
            self.display.say(f"left out: {error}")
            if self.file is not None:
                self.file.add({"step": self.state.global_step, "left_out": error})

    def _refuse_many_dropped(self) -> None:
        dropped, seen = self.totals["dropped"], self.totals["samples"]
        if dropped > max(1, self.plan.recipe.bad_cap * len(self.rows)):
            raise DataError(
                f"{dropped:,} of the {seen:,} samples seen could not be read, more than `bad_cap: "
                f"{self.plan.recipe.bad_cap}` allows; {self.file.path if self.file else 'the log'} "
                "names them"
            )


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Rates before each step, parameters without gradient after the first backward pass."""

    def __init__(self, training: Steps) -> None:
        self.training = training
        self._checked = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.training.start_clock()
        self.training.display.begin(state.max_steps, state.global_step)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        training = self.training
        found = getattr(training.optimizer, "param_groups", [])
        training.rates = {g.get("name", str(i)): g["lr"] for i, g in enumerate(found)}
        if not self._checked and training.recipe.parallel == "ddp":
            self._checked = True
            model = training.accelerator.unwrap_model(training.model)
            groups.refuse_unreached(groups.without_gradient(model, training.members))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.training.display.end()


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _flat(line: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return a line for trackers that take numbers only."""
    out = []
    for name, value in line.items():
        if isinstance(value, Mapping):
            out += [(f"{name}/{key}", inner) for key, inner in value.items()]
        else:
            out.append((name, value))
    return out
