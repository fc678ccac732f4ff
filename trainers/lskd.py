"""LSKD: a critic that filters a corpus of triples about regions, and students trained on it.

Park et al. 2023, Localized Symbolic Knowledge Distillation for Visual Commonsense Models. Start
from a Blip2ForImageTextRetrieval (critic, discriminative) or a Blip2ForConditionalGeneration.

    sightline train lskd/critic --model BLIP2 --data LABELS --images IMAGES --out CRITIC
    sightline train lskd/discriminative --model BLIP2 --data KEPT --images IMAGES --out STUDENT
"""

from collections.abc import Mapping
from typing import Any

from harness.errors import unknown
from trainers.recipe import ObjectiveRecipe, Target, check

VARIANTS = {
    "critic": "all losses (Table 1, last row); the same as 'lskd'",
    "critic-binary": "Table 1, first row: the matching loss alone",
    "critic-qa": "Table 1: and the rating of question and answer",
    "critic-rationale": "Table 1: and the rating of the rationale",
    "critic-frozen": "ours, for small machines: the vision tower frozen, its outputs kept",
    "discriminative": "BLIP-2's first stage on the corpus; only the Q-Former trains",
    "generative-t5": "BLIP-2 with an encoder-decoder language model; only the Q-Former trains",
    "generative-llama": "MiniGPT-4's kind, with a decoder; the Q-Former and the projection train",
}
PAPER = (
    "Park et al. 2023, Localized Symbolic Knowledge Distillation for Visual Commonsense Models "
    "(arXiv 2312.04837)"
)
CODE = "github jamespark3922/lskd"
TOWER = r"(.*\.)?vision_model\.(embeddings|encoder)\..*"
"""The vision tower without the norm after it, which LAVIS leaves outside its frozen part."""
COMMON: dict[str, Any] = {
    "lr": 1e-5,
    "weight_decay": 0.05,
    "betas": (0.9, 0.999),
    "schedule": "cosine",
    "optimizer": "adamw_torch",
    "precision": "bf16",
    "save_every": 1000,
}
OPTIMISER = "AdamW with weight decay 0.05 as in the code; the paper says Adam and no decay"
TABLE_1: dict[str, tuple[float, float, float]] = {
    "critic-binary": (64.7, 64.2, 64.3),
    "critic-qa": (66.3, 65.2, 65.7),
    "critic-rationale": (66.0, 64.3, 64.8),
    "critic": (66.8, 65.7, 66.0),
}
"""Precision, recall and F1 of the critic."""
TABLE_3 = (
    ("VCR", "Q2A", 59.0, "vcr"),
    ("VCR", "QA2R", 56.4, "vcr"),
    ("VCR", "Q2AR", 33.4, "vcr"),
    ("Sherlock", "comparison", 29.7, "sherlock"),
    ("VisualCOMET", "Acc@50", 40.3, "visualcomet"),
    ("A-OKVQA", "multiple choice", 68.9, "aokvqa"),
    ("SNLI-VE", "classification", 40.3, "snli_ve"),
    ("Visual7W", "telling", 79.5, "visual7w"),
)
WEIGHTS: dict[str, Mapping[str, Any]] = {
    "critic": {},
    "critic-frozen": {"cache_features": True, "augment": "none"},
    "critic-binary": {"qa_weight": 0.0, "r_weight": 0.0},
    "critic-qa": {"r_weight": 0.0},
    "critic-rationale": {"qa_weight": 0.0},
}
"""Options of the critics."""


def make(variant: str = "") -> ObjectiveRecipe:
    """Return a recipe of LSKD; see VARIANTS. Raises UsageError for others."""
    variant = variant or "critic"
    if variant in WEIGHTS:
        fields = _critic(variant)
    elif variant == "discriminative":
        fields = _discriminative()
    elif variant in ("generative-t5", "generative-llama"):
        fields = _generative(variant)
    else:
        raise unknown("variant of lskd", variant, VARIANTS)
    whole = {"name": f"lskd/{variant}", "summary": VARIANTS[variant], "paper": PAPER, **fields}
    return check(ObjectiveRecipe, {**COMMON, **whole}, f"recipe lskd/{variant}")


def _critic(variant: str) -> dict[str, Any]:
    frozen = variant == "critic-frozen"
    found = TABLE_1.get(variant)
    names = ("precision", "recall", "F1")
    return {
        "objective": "trainers.localized.critic:make",
        "options": WEIGHTS[variant],
        "frozen": (TOWER,) if frozen else (),
        "batch_size": 256,
        "micro_batch": 16,
        "epochs": 10,
        "warmup": 0.0,
        "save_dtype": "float32",
        "activation_checkpointing": not frozen,
        "targets": tuple(
            Target(table="Table 1", row=variant, metric=name, value=value)
            for name, value in zip(names, found or (), strict=False)
        ),
        "sources": ("section 2.3 and 3", f"{CODE}, blip2_critic.py"),
        "unverified": (
            "no training configuration of the critic was released",
            OPTIMISER,
            "cosine without warm-up; layer-wise decay of LAVIS's retrieval recipe is not used",
            "10 epochs are the paper's most; which was taken is not said",
            "the scale of the regression labels (see `critic labels --scale`)",
            "crops keep all drawn regions and nothing is flipped; the authors' variation of the "
            "critic's pictures is not known (options.augment)",
            "Table 1 may give means over both classes or those of the accepted; `critic curve` "
            "gives both",
        ),
    }


def _discriminative() -> dict[str, Any]:
    return {
        "objective": "trainers.localized.student:make",
        "batch_size": 256,
        "micro_batch": 64,
        "save_dtype": "float32",
        "max_steps": 10_000,
        "warmup": 1000,
        "min_lr": 1e-6,
        "targets": tuple(
            Target(table="Table 3", row=f"BLIP-2 ViT-G + LSKD, {row}", metric=metric, value=value,
                   task=task)
            for row, metric, value, task in TABLE_3
        ),
        "sources": ("sections 2.4 and 3", f"{CODE}, projects/blip2/train"),
        "unverified": (
            OPTIMISER,
            "10,000 steps of 256 as in the paper; the released file says 50,000 of 64 on each "
            "device",
            "1,000 steps of warm-up: the paper gives no number, the released file none that works",
        ),
    }  # fmt: skip


def _generative(variant: str) -> dict[str, Any]:
    llama = variant == "generative-llama"
    unsaid = ("whether the projection trains is not said; here it does",) if llama else ()
    return {
        "objective": "trainers.localized.generative:make",
        "batch_size": 64,
        "micro_batch": 16,
        "max_steps": 20_000,
        "warmup": 1000,
        "min_lr": 1e-6,
        "sources": ("sections 2.4 and 3.4", CODE),
        "unverified": (
            OPTIMISER,
            "1,000 steps of warm-up: the paper gives no number",
            *unsaid,
        ),
    }
