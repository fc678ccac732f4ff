"""LLaVA-NeXT: canvases of many shapes (AnyRes), the vision tower trained at a rate of its own.

Dissertation, section 4.7; released configurations of LLaVA-v1.6 and scripts of LLaVA-VL/LLaVA-NeXT.
The bare name is stage 2 of the 7B Vicuna model. Exports are LlavaNextForConditionalGeneration.
"""

from typing import Any

from harness.errors import unknown
from trainers._llava_common import (
    DISSERTATION,
    LANGUAGE,
    NEWLINE,
    NEXT,
    PROJECTOR,
    REQUIRED,
    SCHEDULE,
    TOWER,
    recipe,
    rows,
    unused,
)
from trainers.anyres import grid as canvases
from trainers.llava15 import TASKS
from trainers.recipe import Recipe

VARIANTS = {
    "stage1": "the connector alone: LLaVA-1.5's recipe, for a language model without one",
    "stage2": "Vicuna-1.5-7B; the same as 'llava_next'",
    "vicuna-13b": "Vicuna-1.5-13B",
    "mistral-7b": "Mistral-7B-Instruct, in its own template",
    "yi-34b": "Nous-Hermes-2-Yi-34B, in ChatML",
}
LANGUAGES = {
    "stage2": ("shapes:vicuna-7b", "v1"),
    "vicuna-13b": ("shapes:vicuna-13b", "v1"),
    "mistral-7b": ("shapes:mistral-7b", "mistral"),
    "yi-34b": ("shapes:yi-34b", "chatml"),
}
TABLE: dict[str, tuple[str, dict[str, float]]] = {
    "vicuna-13b": (
        "LLaVA-NeXT-13B",
        {
            "MMMU": 36.2,
            "MathVista": 35.3,
            "MMB": 70.0,
            "MMB-CN": 64.4,
            "MM-Vet": 48.4,
            "LLaVA-Wild": 87.3,
            "SEED-I": 71.9,
        },
    ),
    "yi-34b": (
        "LLaVA-NeXT-34B",
        {
            "MMMU": 51.1,
            "MathVista": 46.5,
            "MMB": 79.3,
            "MMB-CN": 79.0,
            "MM-Vet": 57.4,
            "LLaVA-Wild": 89.6,
            "SEED-I": 75.9,
        },
    ),
}
UNVERIFIED = (
    "rate and batch: LLaVA-1.5's 2e-5 and 128; later scripts have 1e-5, the archived Mixtral one "
    "5e-6 with 9 epochs",
    "the vision tower is trained, at 2e-6: from released configurations and issues #1214 and "
    "#1537; the dissertation does not say",
    "canvases: the released list stops at three tiles in a row; the dissertation's has four "
    "(grid=dissertation; 16 to 31 % of random sizes then choose another canvas)",
    "how many records of each set; 760K in all",
    "length: 4,096 in an archived script; a picture alone takes up to 2,928 tokens",
)


def make(variant: str = "", *, grid: str = "released", vision_layers: int = 24) -> Recipe:
    """Make the recipe.

    Args:
        variant: one of VARIANTS; "" is stage2.
        grid: released or dissertation.
        vision_layers: of the tower; its last layer shows nothing and is not trained.

    Raises:
        UsageError: an unknown name.
    """
    variant = variant or "stage2"
    if variant not in VARIANTS:
        raise unknown("variant of llava_next", variant, VARIANTS)
    chosen = canvases(grid)
    if variant == "stage1":
        from trainers import llava15

        changes = {"name": "llava_next/stage1", "summary": VARIANTS[variant], "paper": NEXT}
        return llava15.make("stage1").changed(changes)
    return _stage2(variant, chosen, vision_layers)


def _stage2(variant: str, chosen: tuple[tuple[int, int], ...], vision_layers: int) -> Recipe:
    language, template = LANGUAGES[variant]
    parts: dict[str, Any] = {
        "vision": "shapes:clip-l-14-336",
        "language": language,
        "connector": "mlp",
        "kind": "llava_next",
        "connector_weights": REQUIRED,
    }
    row, values = TABLE.get(variant, ("", {}))
    tasks = TASKS | {"SEED-I": "seed_bench"}
    return recipe(
        name=f"llava_next/{variant}",
        summary=VARIANTS[variant],
        paper=NEXT,
        builder="llava",
        builder_options=parts,
        model_types=("llava_next",),
        needs=("projector_hidden_act=gelu",),
        trainable=(PROJECTOR, NEWLINE, *LANGUAGE, TOWER),
        frozen=unused(vision_layers),
        groups=(
            {"name": "vision", "pattern": "vision_tower", "lr": 2e-6},
            {"name": "connector", "pattern": "multi_modal_projector|image_newline", "lr": 2e-5},
            {"name": "language", "pattern": "language_model|lm_head", "lr": 2e-5},
        ),
        mixture="llava-next-760k",
        template=template,
        images={"aspect": "anyres", "size": 336, "grid": chosen},
        batch_size=128,
        micro_batch=4,
        epochs=1,
        lr=2e-5,
        sampler="modality",
        parallel="zero3",
        a100_hours=768 if variant == "yi-34b" else None,
        targets=rows("4.7", row, values, tasks),
        sources=(
            f"{DISSERTATION}, section 4.7: AnyRes, data, 34B in about a day on 32 A100",
            "github LLaVA-VL/LLaVA-NeXT, scripts/train/direct_finetune_clip.sh: whole model, tower "
            "at 2e-6",
            "huggingface liuhaotian/llava-v1.6-vicuna-7b, config.json: canvases, mm_tunable_parts",
        ),
        unverified=UNVERIFIED,
        **{**SCHEDULE, "max_length": 4096},
    )
