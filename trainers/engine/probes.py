"""Probes during training: greedy replies of the model as it is, scored, written into the log.

Unlike a benchmark (evaluate.py) they are asked in the training process: nothing is loaded. Asking
draws no random number and leaves weights, gradients and modes as they were: a run with probes is
the run without them. Prompts are made by the harness's own reader, from the template that the
checkpoint is saved with. May import torch at the top.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from harness.engine import batch
from harness.engine.choose import Ending
from harness.engine.inputs import Reader
from harness.engine.lm import LM
from harness.errors import DataError, UsageError
from harness.types import Decoding, Image, Sample
from trainers.engine import model as models
from trainers.engine.log import Display, Log
from trainers.probing import Probes, read, score

DECODING = Decoding(max_tokens=48)
TOGETHER = 16
"""Probes in one forward pass."""


def ask(ready: models.Ready, probes: Probes, images: Path, autocast: Any) -> list[str]:
    """Return the model's greedy replies to `probes`.

    Args:
        ready: The model in training.
        probes: What to ask.
        images: Folder that the probes' image paths start from.
        autocast: Makes the context that training computes in.

    Raises:
        DataError: A picture of a probe cannot be read.
    """
    reader = Reader(ready.processor, ready.image_token, True, None)
    samples = [
        Sample(probe.id, (Image(probe.image, images / probe.image), probe.question))
        for probe in probes.probes
    ]
    texts: list[str] = []
    with _asking(ready), torch.no_grad(), autocast():
        lm = LM(ready.plain, reader.tokenizer, reader.image_token)
        eos = frozenset(models.end_tokens(ready.processor))
        ending = Ending(eos | lm.eos, (), DECODING.max_tokens, lm.decode)
        for start in range(0, len(samples), TOGETHER):
            groups = [reader.group([(i, one)], False) for i, one in
                      enumerate(samples[start : start + TOGETHER])]  # fmt: skip
            for group in groups:
                if group.errors:
                    raise DataError(f"a probe cannot be asked: {next(iter(group.errors.values()))}")
            paths = [path for group in groups for path in group.paths]
            found = batch.generate(lm, paths, DECODING, ending)
            for path in paths:
                cut = ending.cut(found[path].tokens)
                texts.append(cut[0] if cut else "")
    return texts


@contextmanager
def _asking(ready: models.Ready) -> Iterator[None]:
    """Put the model into the state for generating, and back."""
    model, plain = ready.model, ready.plain
    training = model.training
    side = ready.processor.tokenizer.padding_side
    language = getattr(plain, "language_model", None) or plain.model.language_model
    attention = language.config._attn_implementation
    model.eval()
    if attention == "packed":  # it reads whole packed rows only
        language.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.train(training)
        ready.processor.tokenizer.padding_side = side
        language.set_attn_implementation(attention)


class Probing(TrainerCallback):  # type: ignore[misc]
    """Asks the probes at every checkpoint and at the end."""

    def __init__(self, training: Any, path: str, log: Log, display: Display) -> None:
        """Read the probes now, not after hours. Raises DataError, UsageError."""
        self.training, self.log, self.display = training, log, display
        self.probes = read(Path(path))
        folder = training.rows.dataset.encoder.pictures.folder
        if folder is None:
            raise UsageError("probes need --images: the folder of their pictures")
        self.images: Path = folder
        missing = [p.image for p in self.probes.probes if not (folder / p.image).is_file()]
        if missing:
            raise DataError(
                f"{path}: {len(missing)} pictures of probes are not in {folder}: "
                f"{', '.join(missing[:3])}"
            )
        recipe = training.recipe
        if training.args.world_size > 1 and recipe.parallel != "ddp":
            raise UsageError(f"probes need whole weights, and parallel is {recipe.parallel}")
        self._last = -1

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask at a checkpoint."""
        self._ask(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask at the end, unless the last step was a checkpoint."""
        self._ask(state.global_step)

    def _ask(self, step: int) -> None:
        if step == self._last:
            return
        self._last = step
        training = self.training
        replies = ask(training.ready, self.probes, self.images, training.accelerator.autocast)
        line = event(step, self.probes, replies)
        self.log.add(line)
        said = line["eval"]["metrics"]
        self.display.say(
            f"step {step:,}: probes: "
            + ", ".join(f"{k} {v:.1f}" for k, v in said.items() if v is not None)
        )


def event(step: int, probes: Probes, replies: Sequence[str]) -> dict[str, Any]:
    """Return the line of train_log.jsonl for replies at a step."""
    metrics = {
        name: None if value is None else round(value, 4)
        for name, value in score(probes, replies).items()
    }
    return {
        "step": step,
        "eval": {
            "task": "probes", "metric": "iou", "value": metrics["iou"],
            "n": len(probes.probes), "metrics": metrics,
        },
    }  # fmt: skip
