"""LSKD in miniature: a teacher that errs at a stated rate, a critic, students with and without it.

benchmarks/wind_tunnel_lskd.py carries this out. In the order of what happens:

    base/              a small BLIP-2 that tells true from false statements about what can be seen
                       of drawn regions (tunnel_lskd_base.py); its pictures are in nothing below
    corpus/            triples of the rule-based oracle, and which of them are false; labels of two
                       simulated annotators of the triples of half of the pictures
    critic/            trained on these, from the base
    pool/              the other half, scored; all that students learn from comes from here
    data/ARM.jsonl     equally many triples for each arm
    SEED/ARM/          students, from the same base with the same number of steps

The oracle's rate is the paper's: people accept 45 % of its corpus. Sizes are tiny: only directions
can be looked for. Imports torch and the engine inside functions.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from harness.errors import DataError
from trainers.localized import filter as sieve
from trainers.localized import labels, oracle, triples
from trainers.localized.triples import Triple
from trainers.tunnel import Direction
from trainers.tunnel_lskd_told import is_seen, told

FORMATS = ("vcr", "sherlock", "visualcomet", "region_captions", "stage1")
PIXELS = (192, 144)
"""Of a scene."""
HALLUCINATION = 0.55
"""Share of the oracle's triples that are false."""
NOISE = 0.05
"""Of the annotators."""
JUDGED = 0.5
"""Share of the pictures whose triples are labelled for the critic."""
PREFIX = "question: "
"""Before every text, of base, critic and students alike."""


@dataclass(frozen=True)
class Arm:
    """One choice of triples to train on."""

    name: str
    why: str


ARMS = (
    Arm("unfiltered", "drawn by lot from the pool"),
    Arm("filtered", "those that the critic scores highest; Figure 4's right end"),
    Arm("truth", "true ones alone, drawn by lot: as good as a critic can make it"),
)
TASKS = ("vcr", "sherlock", "visualcomet")
_ASKED = (
    ("vcr", "answer", "VCR Q2A 56.1, 59.0"),
    ("vcr", "rationale", "VCR QA2R 49.8, 56.4"),
    ("sherlock", "corr", "Sherlock 19.5, 29.7"),
    ("visualcomet", "acc@50", "VisualCOMET 39.0, 40.3"),
)
DIRECTIONS = (
    *(Direction("base", "filtered", t, m, f"table 3, {said}") for t, m, said in _ASKED),
    *(Direction("unfiltered", "filtered", t, m, "figure 4") for t, m, _ in _ASKED),
    *(Direction("unfiltered", "truth", t, m, "our control") for t, m, _ in _ASKED),
)


@dataclass(frozen=True)
class Plan:
    """How much there is of everything."""

    scenes: int
    per_image: int
    """Triples of a picture."""
    tower_steps: int
    """Of 16 pictures."""
    base_steps: int
    critic_steps: int
    steps: int
    """Of every student."""
    batch: int
    kept: float
    """Share of the pool that the filter keeps; every arm gets so many triples."""
    asked: Mapping[str, int]
    """Pictures that a task asks about, at most."""


PLANS = {
    "tiny": Plan(60, 6, 4, 3, 3, 3, 4, 0.5, {"vcr": 4, "sherlock": 4, "visualcomet": 2}),
    "mini": Plan(
        3000, 8, 2500, 800, 600, 150, 32, 0.3, {"vcr": 100, "sherlock": 160, "visualcomet": 60}
    ),
    "small": Plan(
        8000, 8, 6000, 2000, 800, 300, 64, 0.2, {"vcr": 400, "sherlock": 800, "visualcomet": 200}
    ),
}
LR = {"base": 2e-4, "critic": 2e-4, "student": 2e-4}
"""With Muon, whose matrices have ten times as much. Five times these undo the start of
tunnel_lskd_start.py before anything is learned (docs/decisions/011-lskd-critic.md)."""

# ---- Models ----


def make_base(world: Path, corpus: Path, out: Path, plan: Plan, seed: int = 0) -> Path:
    """Make the base of everything, or go on with what is there; return the model.

    Args:
        world: Of `sightline world`, with FORMATS.
        corpus: Its words are in the vocabulary.
        out: Where to.
        plan: Steps and batch.
        seed: Of all weights and orders.
    """
    from trainers import tunnel_lskd_base as base

    statements = told(world, out / "told", seed)
    if not (out / "start" / "config.json").exists():
        lessons = base.lessons(world, seed)
        tower = base.train_tower(lessons, plan.tower_steps, seed)
        texts = chain(base.statements([statements, corpus]), base.asked(world))
        base.new_model(out / "start", tower, lessons, texts, seed)
    model = out / "run" / "model"
    if not (model / "config.json").exists():
        images = world / "region_captions" / "VG_100K"
        changes = {
            "max_steps": plan.base_steps,
            "lr": LR["base"],
            "options.qa_weight": 0.0,
            "options.r_weight": 0.0,
        }
        train("critic-frozen", changes, plan, out / "start", statements, images, out / "run", seed)
    return model


def critic(base: Path, labelled: Path, world: Path, out: Path, plan: Plan, seed: int = 0) -> Path:
    """Train the critic on labelled triples; return the model."""
    changes = {"max_steps": plan.critic_steps, "lr": LR["critic"]}
    return train("critic-frozen", changes, plan, base, labelled, world / "images", out, seed)


def student(base: Path, corpus: Path, world: Path, out: Path, plan: Plan, seed: int) -> Path:
    """Train a student; return the model. No evaluated picture may be among its own."""
    held = [f"{task}={world / task}" for task in TASKS]
    changes = {"max_steps": plan.steps, "lr": LR["student"], "hold_out": held}
    return train("discriminative", changes, plan, base, corpus, world / "images", out, seed)


def train(
    variant: str, changes: Mapping[str, Any], plan: Plan, start: Path, data: Path, images: Path,
    out: Path, seed: int,
) -> Path:  # fmt: skip
    """Carry out a recipe of trainers/lskd.py at the size of a plan; return the model."""
    from trainers.engine.objective_loop import train as run
    from trainers.recipe import ObjectiveRecipe, find

    small = {
        "batch_size": plan.batch,
        "micro_batch": plan.batch,
        "epochs": 10_000,
        "warmup": 0.1,
        "optimizer": "muon",
        "min_lr": 0.0,
        "max_grad_norm": 1.0,
        "seed": seed,
        "precision": "fp32",
        "save_dtype": "float32",
        "activation_checkpointing": False,
        "workers": 0,
        "save_every": 0,
        "keep": 1,
        "options.image_size": None,
        "options.augment": "none",
        "options.cache_features": True,
        "options.regions": "mentioned",
        "options.prefix": PREFIX,
    }
    recipe = find(f"lskd/{variant}", {**small, **changes})
    assert isinstance(recipe, ObjectiveRecipe)
    return run(recipe, start, data, out, images=images, quiet=True).model


# ---- Data ----


def write_corpus(world: Path, out: Path, plan: Plan, seed: int = 0) -> dict[str, Any]:
    """Write the oracle's corpus and truth, labels for the critic, and the pool; return counts.

    Triples of pictures that the base has seen are left out. `labels.jsonl` has the labelled triples
    of JUDGED of the other pictures, `pool.jsonl` the triples of the rest, which carry `accept` from
    the truth so that a curve can be drawn.
    """
    oracle.corpus(
        world,
        out,
        hallucination=HALLUCINATION,
        per_image=plan.per_image,
        seed=seed,
        styles=("ids",),
    )  # fmt: skip
    rated = out / "ratings.jsonl"
    rows = oracle.annotate(out / "truth.jsonl", noise=NOISE, seed=seed)
    rated.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ratings, truth = labels.read(rated), _truth(out)
    every = [t for t in triples.read(out / "triples.jsonl") if not is_seen(t.id.partition("/")[0])]
    judged = {t.id for t in every if labels.evaluated(t.image, JUDGED, seed)}
    shown = [t for t in every if t.id in judged]
    pool = [
        replace(t, extra={**t.extra, "accept": int(truth[t.id]["true"])})
        for t in every
        if t.id not in judged
    ]
    return {
        "triples": len(every),
        "false": sum(not truth[t.id]["true"] for t in every),
        "errors": dict(sorted(Counter(truth[t.id]["error"] or "none" for t in every).items())),
        "labelled": triples.write(
            out / "labels.jsonl",
            labels.labelled(shown, {id: ratings[id] for id in judged}, "thirds"),
        ),
        "pool": triples.write(out / "pool.jsonl", pool),
    }


def _truth(corpus: Path) -> dict[str, Any]:
    from harness.record import read_lines

    return {row["id"]: row for row in read_lines(corpus / "truth.jsonl")}


def score(corpus: Path, critic: Path, world: Path, out: Path) -> dict[str, Any]:
    """Score the pool; return the critic's curve, overall and by kind of error."""
    from trainers.localized import curve
    from trainers.localized import score as scoring

    scored = scoring.score(corpus / "pool.jsonl", critic, world / "images", out).scored
    found = list(triples.read(scored))
    judged = curve.read(found)
    report = curve.report(judged)
    report["by_error"] = _by_error(corpus, found)
    return report


def _by_error(corpus: Path, found: Iterable[Triple]) -> dict[str, Any]:
    """Return the area under the ROC curve of each kind of error against all true triples."""
    from trainers.localized import curve

    kind = {id: row["error"] for id, row in _truth(corpus).items()}
    found = list(found)
    out = {}
    for name in sorted({error for error in kind.values() if error}):
        some = [t for t in found if kind[t.id] in (None, name)]
        number = sum(kind[t.id] == name for t in some)
        if 0 < number < len(some):
            out[name] = {"n": number, "area": curve.area(curve.read(some))}
    return out


def write_arms(pool: Path, out: Path, plan: Plan, seed: int) -> dict[str, dict[str, float]]:
    """Write OUT/ARM.jsonl with equally many triples each; return how many, and how many are true.

    Args:
        pool: Scored, with `accept` from the truth.
        out: Folder of a seed.
        plan: Which share is kept.
        seed: Of the lots.
    """
    from trainers.localized import curve

    found = list(triples.read(pool))
    threshold = curve.threshold_at(curve.read(found), plan.kept)
    kept = sum(sieve.kept(t, threshold) for t in found)
    true = {t.id for t in found if t.extra["accept"] == 1}
    count = min(kept, len(true))
    if not count:
        raise DataError(f"{pool}: nothing is kept at {plan.kept:.0%}")
    wanted = {
        "unfiltered": sieve._lot([t.id for t in found], count, seed),
        "filtered": sieve._lot([t.id for t in found if sieve.kept(t, threshold)], count, seed),
        "truth": sieve._lot(sorted(true), count, seed),
    }
    counts = {}
    for arm, ids in wanted.items():
        triples.write(out / f"{arm}.jsonl", (t for t in found if t.id in ids))
        counts[arm] = {"triples": len(ids), "true": len(ids & true) / len(ids)}
    return counts
