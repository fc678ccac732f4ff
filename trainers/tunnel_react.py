"""REACT in miniature: a small CLIP, a pool with related pairs in it, the modes of table 2.6.

benchmarks/wind_tunnel_react.py carries this out. In the order of what happens:

    base/start, base/run   a CLIP of random weights, trained on captions of half of a world and on
                           half of the pairs below that are related to a set
    data/pool/             pairs: the other half of the world, all training pictures of the sets
    data/retrieved/        what trainers/retrieval finds in it by the names of the sets' classes
    data/drawn/            as many pairs of the pool, drawn by lot: the control
    data/real/             MNIST, CIFAR-10 and DTD as the task elevater reads them, where there are

Pairs and real sets: tunnel_react_data.py. That the base has read of the pool is as in table 2.1,
where OpenCLIP learned from LAION and pairs are retrieved from LAION (docs/decisions/010). No
evaluated picture is in the pool, and that is checked twice: by retrieval (file and looks) and by
the engine before the base and every arm (file). Sizes are tiny: only directions can be looked for.
Imports torch, transformers, engine and retrieval inside functions.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from harness.types import Task
from trainers.tunnel import Direction
from trainers.tunnel_react_data import SIDE, Pair, write_tar

DATA = ("stage1", "region_captions", "elevater")
"""Formats of the world that are needed."""
PIXELS = (192, 144)
"""Of a scene."""


@dataclass(frozen=True)
class Arm:
    """One way to customise the base."""

    name: str
    mode: str
    """Of trainers/engine/gated.py."""
    data: str
    """Folder below data/."""
    why: str


ARMS = (
    Arm("gated-image", "locked-text-gated-image", "retrieved", "table 2.6: 68.6, the paper's"),
    Arm("locked-text", "locked-text", "retrieved", "table 2.6: 66.9"),
    Arm("full", "full", "retrieved", "table 2.6: 64.3"),
    Arm("locked-image", "locked-image", "retrieved", "table 2.6: 63.7"),
    Arm("drawn", "locked-text-gated-image", "drawn", "gated-image on pairs drawn by lot"),
)
_LIFT = "table 2.2: 56.8 to 60.6"
_ROWS = (
    ("locked-image", "full", "table 2.6: 63.7, 64.3"),
    ("full", "locked-text", "table 2.6: 64.3, 66.9"),
    ("locked-text", "gated-image", "table 2.6: 66.9, 68.6"),
    ("locked-image", "gated-image", "table 2.6: 63.7, 68.6"),
    ("drawn", "gated-image", "our control: as many pairs drawn by lot"),
)
"""Rows of table 2.6 from the lowest up, and its ends."""


def directions(groups: Mapping[str, Sequence[str]]) -> list[Direction]:
    """Return what is looked for on groups of sets.

    Args:
        groups: Names of the sets of `world` and, where there are any, of `real`.
    """
    means = {
        group: f"mean_of_{len(sets)}" if len(sets) > 1 else f"{sets[0]}.accuracy"
        for group, sets in groups.items()
        if sets
    }
    found = [Direction("base", "gated-image", "world", means["world"], _LIFT)]
    for name in groups.get("real", ()):
        found.append(Direction("base", "gated-image", "real", f"{name}.accuracy", _LIFT))
    for group, metric in means.items():
        found += [Direction(base, cand, group, metric, why) for base, cand, why in _ROWS]
    return found


@dataclass(frozen=True)
class Plan:
    """How much there is of everything."""

    scenes: int
    told: int
    """Scenes whose captions the base and the pool have; the others make the sets larger."""
    base_steps: int
    steps: int
    """Of every arm."""
    batch: int
    shown: int
    """Training pictures of a class of a real set in the pool, at most."""
    asked: Mapping[str, int]
    """Pictures of a set of the world, and of a real one, that are evaluated, at most."""
    pairs: int
    """Retrieved in all; the least K that finds so many is taken."""


PLANS = {
    "tiny": Plan(30, 30, 4, 3, 16, 4, {"world": 20, "real": 20}, 80),
    "mini": Plan(6000, 1400, 1500, 250, 64, 300, {"world": 1000, "real": 2500}, 5000),
    "small": Plan(6000, 6000, 6000, 1500, 128, 500, {"world": 1000, "real": 2500}, 10000),
}
LR = {"locked-text-gated-image": 1e-2, "locked-text": 1e-3, "full": 1e-3, "locked-image": 1e-3}
"""Ten to one, as the released script's (5e-4 and 5e-5, for batches of 4096)."""
BASE_LR = 1.5e-3
GATES = 2
MOST = 200
"""Pairs of a query, at most."""
NEAR_HELD = 2
"""Bits in which a picture of the pool may differ from an evaluated one and is left out."""
SIZES = {"hidden_size": 96, "intermediate_size": 384, "num_attention_heads": 4}
VISION: Mapping[str, Any] = {**SIZES, "num_hidden_layers": 4, "image_size": SIDE, "patch_size": 16}
TEXT: Mapping[str, Any] = {**SIZES, "num_hidden_layers": 2, "max_position_embeddings": 40}
APART = 5.0
"""Embeddings of words begin so many times as large as a CLIP's: a base that has read so little
would take words that it has hardly seen for one another."""
_SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "unk_token": "<unk>", "eos_token": "</s>"}

# ---- Models ----


def new_clip(texts: Iterable[str], out: Path, seed: int = 0) -> Path:
    """Write a CLIP of random weights, with a tokenizer whose words are those of `texts`."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({}, unk_token="<unk>"))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    words = {w for text in texts for w, _ in raw.pre_tokenizer.pre_tokenize_str(text.lower())}
    known = {word: at for at, word in enumerate((*_SPECIAL.values(), *sorted(words)))}
    raw.model = models.WordLevel(known, unk_token="<unk>")
    ends = [(_SPECIAL[name], known[_SPECIAL[name]]) for name in ("bos_token", "eos_token")]
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A $B </s>", special_tokens=ends
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, model_max_length=TEXT["max_position_embeddings"], **_SPECIAL
    )
    ids = {name: getattr(tokenizer, f"{name}_id") for name in ("pad_token", "bos_token")}
    text = {**TEXT, **{f"{name}_id": at for name, at in ids.items()}}
    text |= {"eos_token_id": tokenizer.eos_token_id, "vocab_size": len(known)}
    torch.manual_seed(seed)
    config = CLIPConfig(text_config=text, vision_config=dict(VISION), projection_dim=96)
    model = CLIPModel(config)
    with torch.no_grad():
        model.text_model.embeddings.token_embedding.weight.mul_(APART)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    side = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=side).save_pretrained(out)
    return out


def train_base(data: Path, out: Path, plan: Plan, held: Sequence[str] = (), seed: int = 0) -> Path:
    """Train a CLIP from random weights on the base's pairs; return the model.

    Args:
        data: Where base/ and texts.txt are.
        out: Where start/ and run/ go.
        plan: Steps and batch.
        held: TASK=DATA whose pictures must not be trained on.
        seed: Of the weights and of the order of pairs.
    """
    texts = (data / "texts.txt").read_text(encoding="utf-8").splitlines()
    start = new_clip(texts, out / "start", seed)
    changes = {"max_steps": plan.base_steps, "lr": BASE_LR, "hold_out": list(held)}
    return _train("full", changes, plan, start, data / "base", out / "run", seed)


def customise(
    arm: Arm, base: Path, data: Path, held: Sequence[str], out: Path, plan: Plan, seed: int
) -> Path:
    """Train one arm; return the model.

    Args:
        arm: What and on what.
        base: The model of `train_base`.
        data: Where the folders of pairs are.
        held: TASK=DATA whose pictures must not be trained on.
        out: Where the run goes.
        plan: Steps and batch.
        seed: Of the order of pairs and of new weights.
    """
    changes = {"max_steps": plan.steps, "lr": LR[arm.mode], "hold_out": list(held)}
    return _train(arm.mode, changes, plan, base, data / arm.data, out, seed)


def _train(
    mode: str, changes: Mapping[str, Any], plan: Plan, start: Path, data: Path, out: Path, seed: int
) -> Path:
    from trainers.engine.objective_loop import train
    from trainers.recipe import ObjectiveRecipe, find

    small = {
        "batch_size": plan.batch,
        "micro_batch": plan.batch,
        "epochs": 1000,
        "warmup": 0.1,
        "optimizer": "muon",  # half the steps of AdamW's, for the base and for all modes
        "max_grad_norm": 1.0,
        "seed": seed,
        "precision": "fp32",
        "activation_checkpointing": False,
        "workers": 0,
        "save_every": 0,
        "keep": 1,
        "options.gates": GATES,
        "options.augment": "none",
        "options.loss": "clip",
        "options.check_pictures": "none",
    }
    if (out / "run.json").exists():
        shutil.rmtree(out)  # cut off; the caller looks whether the model is there
    recipe = find(f"react/{mode}", {**small, **changes})
    assert isinstance(recipe, ObjectiveRecipe)
    return train(recipe, start, data, out, quiet=True).model


# ---- Retrieval ----


def retrieve(base: Path, tasks: Mapping[str, Task], data: Path, plan: Plan) -> dict[str, Any]:
    """Ask the pool for the classes of all tasks by their names (t2t); return what was found.

    Args:
        base: The model that embeds.
        tasks: Evaluated tasks by the name of their group (world, real).
        data: Has pool/; gets features/, retrieved/, and drawn/ with as many pairs by lot.
        plan: How many are asked for.
    """
    from trainers.retrieval import dedupe, embed, queries
    from trainers.retrieval.encode import Encoder
    from trainers.retrieval.features import Features
    from trainers.retrieval.pool import shards
    from trainers.retrieval.retrieve import Asked, Sources
    from trainers.retrieval.retrieve import retrieve as stage

    pool, encoder = shards(data / "pool"), Encoder(f"transformers:{base}")
    embed.embed(pool, encoder, data / "features", workers=1, say=_quiet)
    features = Features(data / "features")
    wanted = tuple(
        queries.Query(f"{group} {query.label}", query.template, query.text)
        for group, task in tasks.items()
        for query in queries.of_task(task).all
    )
    held = dedupe.held_out(list(tasks.values()), NEAR_HELD)
    # Digits of few pixels look the same to a perceptual hash: duplicates go by file alone.
    asked = Asked(
        ("t2t",), MOST, plan.pairs, exact=True, near=-1, near_held=NEAR_HELD
    )  # fmt: skip
    found = stage(
        Sources(features, pool, None), encoder, queries.Queries(wanted, "class names"), held,
        asked, data / "retrieved", say=_quiet,
    )  # fmt: skip
    _by_lot(pool, features, held, data / "drawn", int(found["kept"]))
    return {name: found[name] for name in ("k_used", "kept", "dropped")} | _shares(data)


def _by_lot(pool: Sequence[Any], features: Any, held: Any, out: Path, count: int) -> None:
    """Write pairs of the pool drawn by lot, held-out ones and files that are there left out."""
    from trainers.retrieval import dedupe

    facts = list(features.facts(range(features.rows)).values())
    facts = Random("drawn").sample(facts, len(facts))
    kept = dedupe.sift(facts, held, -1).kept[:count]
    keys = {facts[at]["key"] for at in kept}
    pairs = [
        Pair(pair.key, pair.caption, pair.image, "png" if pair.image[:1] == b"\x89" else "jpg")
        for shard in pool
        for pair in shard.pairs()
        if pair.key in keys
    ]
    write_tar(out / "00000.tar", pairs)


def _shares(data: Path) -> dict[str, dict[str, int]]:
    """Return how many pairs of the pool, and of those retrieved, are of which kind."""
    import pyarrow.parquet as pq

    pool = pq.read_table(data / "features" / "shards" / "00000" / "pairs.parquet")["key"]
    got = pq.read_table(data / "retrieved" / "manifest.parquet")["source_key"]
    return {
        name: dict(sorted(Counter(key.rpartition("-")[0] for key in keys.to_pylist()).items()))
        for name, keys in (("pool", pool), ("retrieved", got))
    }


def _quiet(line: str) -> None:
    """Say nothing."""
