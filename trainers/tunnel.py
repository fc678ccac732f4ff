"""The papers in miniature: what is trained, on what, and which way the numbers should go.

`make wind-tunnel` (benchmarks/wind_tunnel.py) carries this out. From one base model (small.py)
come, for each seed: stage 1 with either connector, and arms that differ in one thing each and see
the same number of records. What should follow is taken from the papers' tables. Sizes are tiny, so
only directions can be looked for, and a direction that does not show is printed as such.
Imports the engine inside functions; may import harness.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from harness.errors import DataError
from trainers import small
from trainers.codecs import codec
from trainers.locating import Locating, read_instances, records
from trainers.small_lessons import read


@dataclass(frozen=True)
class Arm:
    """One model of the wind tunnel."""

    name: str
    connector: str
    data: str
    """Which records (`write_data`); empty: stage 1 only."""
    why: str


ARMS = (
    Arm("untuned", "linear", "", "stage 1 only: table 3.4, no instruction tuning"),
    Arm("instruct", "linear", "instruct", "LLaVA: instructions; table 4.2, rung 0"),
    Arm("vqa", "linear", "vqa", "and short-answer questions without a format: rung 1"),
    Arm("format", "linear", "format", "and the format sentence: rung 2"),
    Arm("mlp", "mlp", "format", "and the MLP connector: rung 3"),
    Arm("locvlm", "mlp", "locvlm", "half of the records replaced by LocVLM's objectives"),
)


@dataclass(frozen=True)
class Direction:
    """What a paper says: the metric of `cand` is higher than that of `base`."""

    base: str
    cand: str
    task: str
    metric: str
    source: str
    higher: bool = True


DIRECTIONS = (
    Direction("untuned", "format", "gqa", "accuracy", "table 3.4's order: tuning over none"),
    Direction("untuned", "format", "pope", "adversarial.accuracy", "table 3.4's order"),
    Direction("untuned", "instruct", "llava_bench", "all", "dissertation, table 3.4: 21.5 to 85.1"),
    Direction("instruct", "vqa", "gqa", "accuracy", "table 4.2, rung 1"),
    Direction("vqa", "format", "gqa", "accuracy", "table 4.2, rung 2 (MME +126.8, GQA -0.2)"),
    Direction("vqa", "format", "pope", "adversarial.accuracy", "table 4.2, rung 2 (MME +126.8)"),
    Direction("format", "mlp", "gqa", "accuracy", "table 4.2, rung 3 (GQA +0.5)"),
    Direction("mlp", "locvlm", "coco_spatial", "left_right", "LocVLM, table 4"),
    Direction("mlp", "locvlm", "coco_spatial", "above_below", "LocVLM, table 4"),
    Direction("mlp", "locvlm", "refcoco", "mean.meteor", "LocVLM, tables 10 and 11"),
    Direction("mlp", "locvlm", "hallucination", "accuracy", "LocVLM, table 8"),
    Direction("mlp", "locvlm", "pope", "adversarial.accuracy", "LocVLM, table 9"),
)


@dataclass(frozen=True)
class Plan:
    """How long arms are trained and how much is asked."""

    size: str
    """Of the base: small.SIZES."""
    stage1_steps: int
    steps: int
    batch: int
    pictures: Mapping[str, int] = field(default_factory=dict)
    """Pictures that a task asks about; all where it is not named."""


PLANS = {
    "tiny": Plan("tiny", 10, 20, 4, {"gqa": 5, "pope": 5, "refcoco": 5, "hallucination": 10}),
    "mini": Plan(
        "mini", 30, 450, 8, {"gqa": 150, "pope": 100, "refcoco": 30, "hallucination": 150}
    ),
    "brief": Plan("mini", 30, 40, 8, {"gqa": 40, "pope": 40, "refcoco": 20, "hallucination": 60}),
    "small": Plan("small", 400, 2000, 8, {"refcoco": 150}),
}
PICTURES = {
    "instruct": "instruct",
    "vqa": "instruct",
    "format": "instruct",
    "locvlm": "instruct",
    "captions": "stage1",
}
"""Records to the folder of the world that their pictures are in."""


def write_data(world: Path, out: Path, seed: int = 0) -> dict[str, Path]:
    """Write the records of every arm below `out`; return their files.

    All have the same number of records. `vqa` is `format` without the sentence that says what form
    an answer has, and nothing else; `locvlm` has LocVLM's in the place of every second record.
    """
    instruct = read(world / "instruct" / "llava_instruct.json")
    mix = read(world / "instruct" / "mix.json")
    short = [row for row in mix if row["id"].split("/")[0] in ("vqav2", "gqa")]
    if not short:
        raise DataError(f"{world}/instruct/mix.json: no records of vqav2 or gqa")
    draw = Random(seed)
    instruct, short = (draw.sample(rows, len(rows)) for rows in (instruct, short))
    count = min(len(instruct), len(short))
    long = count // 4  # a short answer has two tokens: fewer of them would hardly count
    mixed = [*instruct[:long], *(small.once(row) for row in short[: count - long])]
    located = _located(world, seed)
    draw.shuffle(mixed)
    locvlm = [*mixed[::2], *draw.sample(located, min(len(located), count // 2))]
    made = {
        "instruct": instruct[:count],
        "vqa": [_bare(row) for row in mixed],
        "format": mixed,
        "locvlm": locvlm,
        "captions": read(world / "stage1" / "chat.json"),
    }
    out.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, rows in made.items():
        files[name] = out / f"{name}.json"
        files[name].write_text(json.dumps(rows), encoding="utf-8")
    return files


def _bare(record: Any) -> Any:
    return small.turns(record, lambda place, text: text.replace(small.SHORT, ""))


def _located(world: Path, seed: int) -> list[Any]:
    """Return LocVLM's records of the world, with the captions of single objects as pseudo-data."""
    folder = world / "regions"
    pictures, kinds = read_instances(folder / "instances_train2014.json")
    told = {
        (str(row["image_id"]), int(row["annotation_id"])): str(
            row.get("relational", row["caption"])
        )
        for row in read(folder / "unique_objects.json")
    }
    present = {kind for picture in pictures for kind in picture.kinds}
    coder = codec("ivb", bins=224, frame="image")  # the frame that tasks/refcoco.py tells boxes in
    how = Locating(coder, "bbox", turns=6, each=3, seed=seed)
    made = list(records(pictures, [kind for kind in kinds if kind in present], how, told))
    for row in made:  # the same picture as in instruct/
        row["image"] = f"coco/train2017/{int(row['image'].split('_')[-1].split('.')[0]):012d}.jpg"
    return made


@dataclass(frozen=True)
class Setting:
    """What all arms share."""

    world: Path
    base: small.Base
    plan: Plan
    files: Mapping[str, Path]
    """From `write_data`."""


def stage1(setting: Setting, connector: str, seed: int, out: Path) -> Path:
    """Train a connector on captions in front of the base's language model; return the model."""
    from trainers.engine.loop import train

    name = {"linear": "llava/stage1", "mlp": "llava15/stage1-mlp-224"}[connector]
    changes = {
        "mixture": "",
        "template": "v1",
        "max_steps": setting.plan.stage1_steps,
        "batch_size": setting.plan.batch,
        "lr": 2e-3,
        "optimizer": setting.base.optimizer,
    }
    recipe = small.tuned(name, changes, seed)
    start = small.new_model(setting.base, connector, seed, out.with_name(f"{out.name}-start"))
    images = setting.world / PICTURES["captions"]
    return train(recipe, start, setting.files["captions"], out, images=images, quiet=True).model


def stage2(setting: Setting, arm: Arm, start: Path, seed: int, out: Path) -> Path:
    """Train connector and language model on the arm's records; return the model."""
    from trainers.engine.loop import train

    name = {"linear": "llava/stage2", "mlp": "llava15/rung3"}[arm.connector]
    changes = {
        "mixture": "",
        "template": "v1",
        "max_steps": setting.plan.steps,
        "hold_out": [f"{task}={setting.world / task}" for task in ("gqa", "pope")],
        "batch_size": setting.plan.batch,
        "lr": setting.base.lr,
        "optimizer": setting.base.optimizer,
    }
    recipe = small.tuned(name, changes, seed)
    images = setting.world / PICTURES[arm.data]
    return train(recipe, start, setting.files[arm.data], out, images=images, quiet=True).model
