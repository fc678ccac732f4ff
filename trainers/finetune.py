"""Fine-tune any LLaVA-like checkpoint on LLaVA records; everything can be changed.

No paper's run: what `sightline train finetune --model DIR --data FILE --images DIR --out OUT` does
with a checkpoint of yours. The defaults are those of LLaVA-1.5's stage 2 (scripts/v1_5/finetune.sh
of haotian-liu/LLaVA), its LoRA script for `finetune/lora`. Imports trainers.recipe.
"""

from typing import Any

from harness.errors import unknown
from trainers.recipe import Recipe

VARIANTS = {
    "full": "connector and language model, all weights",
    "connector": "the connector alone",
    "lora": "low-rank adapters on the language model, and the connector",
}
_PROJECTOR = r".*multi_modal_projector.*"
_LANGUAGE = r"(.*language_model.*|lm_head.*)"
_COMMON: dict[str, Any] = {
    "summary": "A checkpoint fine-tuned on own records.",
    "lr": 2e-5,
    "batch_size": 32,
    "micro_batch": 8,
    "sources": ("haotian-liu/LLaVA scripts/v1_5/finetune.sh, finetune_lora.sh",),
}
_OWN: dict[str, dict[str, Any]] = {
    "full": {"trainable": (_PROJECTOR, _LANGUAGE)},
    "connector": {"trainable": (_PROJECTOR,), "lr": 1e-3},
    "lora": {
        "trainable": (_PROJECTOR,),
        "lr": 2e-4,
        "lora": {"r": 128, "alpha": 256, "dropout": 0.05},
        "groups": ({"name": "projector", "pattern": "projector", "lr": 2e-5},),
    },
}


def make(variant: str = "", **options: Any) -> Recipe:
    """Return the recipe; `options` change any of its keys."""
    variant = variant or "full"
    if variant not in VARIANTS:
        raise unknown("variant of finetune", variant, VARIANTS)
    recipe = Recipe.model_validate({"name": f"finetune/{variant}", **_COMMON, **_OWN[variant]})
    return recipe.changed(options)
