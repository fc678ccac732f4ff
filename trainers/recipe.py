"""The nouns of training, on one page: what a recipe says. Read this before any recipe.

A recipe is data: the model it starts from, the records it reads, the text it makes of them, which
weights may change and how. It is complete (a run is a function of recipe, base model and records)
and typed; keys that do not exist are refused with the near ones. `Recipe` is for chat models,
`ObjectiveRecipe` for losses of other kinds; how either is carried out is in trainers/engine. A file
of trainers/ has VARIANTS and `make(variant, **options)` that returns one of them.
Imports pydantic, harness.errors and trainers._keys only.
"""

import ast
import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from harness.errors import unknown
from trainers._keys import Part as Part
from trainers._keys import changed
from trainers._keys import check as check

_HOME = Path(__file__).resolve().parent
Template = Literal["plain", "v0", "v1", "mistral", "chatml", "checkpoint"]
"""`checkpoint`: the chat template that the base model has; it must mark what is generated."""


class Slot(Part):
    """One set of records of a mixture."""

    name: str
    """How reports call it; the folder or file name below --data when `file` is empty."""
    file: str = ""
    """Records below --data: .json, .jsonl, or a folder of such shards. Empty: NAME.json, NAME.jsonl
    or the folder NAME, whichever is there."""
    images: str = ""
    """Folder below --images that this slot's image paths start from."""
    fraction: float = Field(1.0, gt=0, le=1)
    """Share of the records that is taken, drawn from the seed and the record's id."""
    repeat: int = Field(1, ge=1)
    """How often each record is seen in an epoch."""
    records: int | None = None
    """Number of records as published; a difference is reported, not refused."""
    license: str = ""
    suffix: str = ""
    """Added on its own line to every human turn: a response-format sentence."""


class ImageSettings(Part):
    """How a picture becomes pixels; written into the saved processor, so that it is asked alike."""

    aspect: Literal["checkpoint", "pad", "square", "anyres"] = "checkpoint"
    """`checkpoint`: the processor's own. `pad`: to a square with the mean colour, then resized.
    `square`: the short side resized, then the centre cut out. `anyres`: the processor's grid."""
    size: int | None = Field(None, gt=0)
    """Pixels of a side (of a tile, for anyres); None: the processor's."""
    grid: tuple[tuple[int, int], ...] = ()
    """Canvas sizes (height, width) for anyres; empty: the processor's."""
    position: Literal["first", "keep", "random"] = "first"
    """Where the picture stands in its turn: before the words, as the record has it, or by lot of
    (seed, epoch, id)."""
    cache: Literal["none", "ram"] = "none"
    """`ram` keeps processed pixels in memory after the first time."""
    video: int = Field(0, ge=0)
    """Tokens for the moments of a record's video (trainers/engine/video.py); 0: no videos."""
    frames: int = Field(100, ge=1)
    """Most frames of a video that are shown."""


class Group(Part):
    """Parameters with their own learning rate."""

    name: str
    pattern: str
    """Regular expression searched in parameter names."""
    lr: float = Field(gt=0)
    weight_decay: float | None = None
    """None: the recipe's."""


class Lora(Part):
    """Low-rank adapters, through peft."""

    r: int = Field(128, ge=1)
    alpha: float = 256
    dropout: float = Field(0.05, ge=0, lt=1)
    pattern: str = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
    """Regular expression that the whole name of a linear layer must match."""


class Target(Part):
    """A number of the paper that this run should move."""

    table: str
    row: str
    metric: str
    value: float
    task: str = ""
    """Our task for it, as `pope`; empty: none."""


class Evaluation(Part):
    """A benchmark that is run on checkpoints, with the same scorers as a release."""

    task: str
    data: str = ""
    """Folder of the official files; relative to the working directory."""
    limit: int | None = Field(None, ge=1)
    metric: str = ""
    """What is shown; empty: the task's headline."""
    options: Mapping[str, str | int | float | bool] = {}
    """Model options of `sightline run`, as {"dtype": "bfloat16"}."""


class Common(Part):
    """What every training run states, whatever it trains."""

    name: str
    """FILE/VARIANT, as `llava15/stage2`."""
    summary: str = ""
    paper: str = ""

    # What trains
    trainable: tuple[str, ...] = (".*",)
    """Regular expressions; a parameter whose whole name matches one of them is trained."""
    frozen: tuple[str, ...] = ()
    """Exceptions from `trainable`, matched alike."""

    # The data
    hold_out: tuple[str, ...] = ()
    """TASK or TASK=DATA whose pictures must not be among the training pictures (by file hash)."""

    # The optimisation
    batch_size: int = Field(128, ge=1)
    """Samples of an optimizer step, over all devices."""
    micro_batch: int = Field(16, ge=1)
    """Samples (rows, when packing) of one forward pass on one device."""
    epochs: float = Field(1, gt=0)
    max_steps: int = Field(0, ge=0)
    """Stop after so many optimizer steps; 0: after `epochs`. The schedule ends there."""
    lr: float = Field(2e-5, gt=0)
    groups: tuple[Group, ...] = ()
    """First match wins; the others have `lr`. Biases and norms never decay."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    min_lr: float = Field(0.0, ge=0)
    """Where the cosine ends, for the recipe's `lr`; groups end at the same share of theirs."""
    warmup: float = Field(0.03, ge=0)
    """Below 1: share of the steps; from 1 on: steps."""
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    optimizer: str = "adamw_torch"
    """Any `optim` of transformers' TrainingArguments, or `muon` (trainers/engine/muon.py)."""
    max_grad_norm: float = Field(1.0, ge=0)
    """0: not clipped."""
    seed: int = 42

    # The machine
    precision: Literal["bf16", "bf16_pure", "fp32"] = "bf16"
    """`bf16`: float32 weights that train, bfloat16 ones that do not, bfloat16 arithmetic.
    `bf16_pure`: everything bfloat16, the optimizer included."""
    parallel: Literal["ddp", "fsdp2", "zero2", "zero3"] = "ddp"
    """How several devices share the work; one device ignores it."""
    activation_checkpointing: bool = False
    compile: bool = False
    workers: int = Field(0, ge=0)
    """Processes that prepare batches ahead; 0: none."""

    # What is kept
    save_every: int = Field(0, ge=0)
    """Optimizer steps between checkpoints; 0: none but the finished model, so nothing to resume."""
    keep: int = Field(2, ge=1)
    """Checkpoints that stay."""
    save_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the finished model; auto: float32 for fp32, else bfloat16. Checkpoints are exact."""
    log_every: int = Field(1, ge=1)
    report_to: tuple[Literal["trackio", "tensorboard", "wandb"], ...] = ()
    """Beside train_log.jsonl, which is always written."""
    evaluate: tuple[Evaluation, ...] = ()
    """Run on every checkpoint and on the finished model."""

    # What is known about it
    a100_hours: float | None = None
    """Published cost."""
    targets: tuple[Target, ...] = ()
    sources: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    """What the paper does not say and was chosen here; printed in the card."""

    @field_validator("trainable", "frozen", mode="after")
    @classmethod
    def _compiles(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        import re

        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"'{pattern}' is no regular expression: {error}") from error
        return patterns

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if len({group.name for group in self.groups}) < len(self.groups):
            raise ValueError("two groups have the same name")
        if self.optimizer == "muon" and self.parallel != "ddp":
            raise ValueError(
                f"`optimizer: muon` steps whole matrices, which `parallel: {self.parallel}` cuts "
                "into shards; take `parallel: ddp` or another optimizer"
            )
        return self

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Return this recipe with `changes`, keys of inner parts written as `lora.r`.

        A mapping given for an inner part (`{"images": {"size": 336}}`) changes the named keys of it
        and leaves the others. Raises UsageError naming near keys, or saying what is wrong.
        """
        data = changed(type(self), self.model_dump(), changes)
        return check(type(self), data, f"recipe {self.name}")


class Recipe(Common):
    """All of one training run of a chat model except where its files lie."""

    # The model
    builder: str = ""
    """File in trainers/builders whose `build(recipe, **builder_options)` makes the model when no
    --model is given; empty: there must be one."""
    builder_options: Mapping[str, Any] = {}
    model_types: tuple[str, ...] = ()
    """`model_type`s of a base that this recipe can go on with; empty: any."""
    needs: tuple[str, ...] = ()
    """Statements about the base's configuration that must hold, as `projector_hidden_act=gelu` or
    `vision_config.image_size=336`; a checkpoint that does not match is refused."""
    lora: Lora | None = None
    """With it, `trainable` names what is trained besides the adapters, and may be empty."""

    # The data
    data: tuple[Slot, ...] = ()
    """Empty: all records of the file at --data."""
    mixture: str = ""
    """Name of a file in trainers/mixtures, in place of `data`."""
    fraction: float = Field(1.0, gt=0, le=1)
    """Share of every slot."""
    template: Template = "v1"
    system: str | None = None
    """System message; None: the template's own; "" for none."""
    header_loss: bool = False
    """v0 only: the assistant's header is a target too, as in the released code."""
    images: ImageSettings = Field(default_factory=lambda: ImageSettings.model_validate({}))
    max_length: int = Field(2048, ge=8)
    """Tokens of a sample with its image tokens. Longer ones lose text at the end, never a part of
    an image."""
    on_bad: Literal["refuse", "skip"] = "refuse"
    """What a record that cannot be trained on does: ends the run, or is counted and left out."""
    bad_cap: float = Field(0.01, ge=0, le=1)
    """Share of records that may be left out under `skip`."""

    # The steps
    loss_norm: Literal["token_global", "token_local"] = "token_global"
    """`token_global`: the loss is summed over the step and divided by the step's target tokens.
    `token_local`: mean of the means of each micro-batch, as the released code computes it."""
    sampler: Literal["random", "modality", "sequential"] = "modality"
    """`modality`: batches with images and batches without, balanced by length."""
    packing: bool = False
    """Several samples in one row, which cannot see each other."""
    pack_length: int = Field(0, ge=0)
    """Tokens of a packed row; 0: max_length."""
    attention: str = "sdpa"
    """transformers' attention implementation; with packing, `sdpa` becomes `packed` (ours)."""
    streaming: bool = False
    """Read records from disk when they are needed; only their offsets stay in memory."""
    probes: str = ""
    """File of `sightline teach probes`: places that are asked for at every checkpoint and at the
    end (trainers/engine/probes.py); relative to the working directory."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.data and self.mixture:
            raise ValueError("`data` and `mixture` exclude each other")
        if self.header_loss and self.template != "v0":
            raise ValueError("`header_loss` belongs to the template v0")
        if not self.trainable and self.lora is None:
            raise ValueError("nothing would be trained: `trainable` is empty and there is no lora")
        return self

    @property
    def row_length(self) -> int:
        """Tokens of a packed row."""
        return self.pack_length or self.max_length


class ObjectiveRecipe(Common):
    """All of one training run with a loss of its own (trainers/engine/objective.py)."""

    objective: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """MODULE:FUNCTION, imported when the run begins:
    `make(recipe, model: Path | None, data: Path, images: Path | None) -> Objective`."""
    options: Mapping[str, Any] = {}
    """Settings of the objective, which checks them itself: `check(ItsPart, recipe.options, ...)`.
    On the command line `--set options.KEY=VALUE`."""

    @model_validator(mode="after")
    def _can_be_carried_out(self) -> Self:
        if self.parallel != "ddp":
            raise ValueError("several devices share an objective as `parallel: ddp` alone")
        if self.precision == "bf16_pure":
            raise ValueError("an objective's weights stay float32: precision is bf16 or fp32")
        return self


def names() -> dict[str, dict[str, str]]:
    """Return the files of this folder that hold recipes, and their variants, without importing."""
    out = {}
    for path in sorted(_HOME.glob("[!_]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not any(isinstance(x, ast.FunctionDef) and x.name == "make" for x in tree.body):
            continue
        for node in tree.body:
            targets = [t.id for t in getattr(node, "targets", ()) if isinstance(t, ast.Name)]
            if isinstance(node, ast.Assign) and targets == ["VARIANTS"]:
                out[path.stem] = dict(ast.literal_eval(node.value))
    return out


def find(name: str, changes: Mapping[str, Any] | None = None) -> Recipe | ObjectiveRecipe:
    """Return the recipe called `name` ("llava15/stage2"), changed by `changes`.

    Changes that `make` of its file takes by name go there, all others are keys of the recipe.
    Raises UsageError with near names.
    """
    stem, _, variant = name.partition("/")
    known = names()
    if stem not in known:
        raise unknown("recipe", stem, known)
    if variant and variant not in known[stem]:
        raise unknown(f"variant of {stem}", variant, known[stem])
    make = import_module(f"trainers.{stem}").make
    parameters = inspect.signature(make).parameters.values()
    own = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD} - {"variant"}
    rest = {key: value for key, value in (changes or {}).items() if key not in own}
    recipe: Recipe | ObjectiveRecipe = make(
        variant, **{k: v for k, v in (changes or {}).items() if k in own}
    )
    return recipe.changed(rest)
