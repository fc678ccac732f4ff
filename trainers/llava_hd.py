"""LLaVA-1.5-HD: the picture in tiles at the encoder's own size, merged, after a global view.

Dissertation, section 4.3, "Scaling to Higher Resolutions", and 4.4, "Global context". Its training
code was never released, so most details beside the geometry are inferred and listed. The bare name
is stage 2. Geometry and model: trainers/engine/llava_hd.py; its checkpoints carry that file.
"""

from harness.errors import UsageError, unknown
from trainers._llava_common import (
    CODE,
    DISSERTATION,
    LANGUAGE,
    LLAVA15,
    NEWLINE,
    PROJECTOR,
    REQUIRED,
    SCHEDULE,
    recipe,
    rows,
)
from trainers.llava15 import MIXTURE, TASKS, parts
from trainers.recipe import Recipe

VARIANTS = {
    "stage1": "the connector alone at 224 pixels, as LLaVA-1.5's",
    "stage2": "13B at 448 pixels, global view and tiles; the same as 'llava_hd'",
    "stage2-7b": "the 7B model of the ablation, with the global view",
    "tiles-only": "the 7B model of the ablation, without the global view",
    "newline": "with transformers' LLaVA-NeXT class alone: row ends, padding cut away",
}
TABLE = {
    "VQAv2": 81.8,
    "GQA": 64.7,
    "VizWiz": 57.5,
    "SQA-I": 71.0,
    "TextVQA": 62.5,
    "POPE random": 87.5,
    "POPE popular": 86.4,
    "POPE adversarial": 85.0,
    "MME": 1500.1,
    "MMB": 68.8,
    "MMB-CN": 61.9,
    "SEED": 62.6,
    "LLaVA-Wild": 72.0,
    "MM-Vet": 39.4,
}
ABLATION = {
    "tiles-only": ("high-res patch only", {"GQA": 62.9, "MME": 1425.8, "MM-Vet": 31.9}),
    "stage2-7b": ("+global context", {"GQA": 63.8, "MME": 1497.5, "MM-Vet": 35.1}),
}
TILE = 224
UNVERIFIED = (
    "the encoder is CLIP ViT-L/14 at 224 pixels: 448 is no multiple of 336",
    "the global view comes first, as in the released LLaVA-NeXT code",
    "data, batch, rate and schedule as LLaVA-1.5's; stage 1 at 224 pixels",
)


def make(variant: str = "", *, resolution: int = 448) -> Recipe:
    """Make the recipe.

    Args:
        variant: one of VARIANTS; "" is stage2.
        resolution: side of the canvas in pixels; a multiple of 224.

    Raises:
        UsageError: an unknown name, or a canvas that is not made of whole tiles.
    """
    variant = variant or "stage2"
    if variant not in VARIANTS:
        raise unknown("variant of llava_hd", variant, VARIANTS)
    if resolution <= 0 or resolution % TILE:
        raise UsageError(f"resolution={resolution}: must be a multiple of {TILE}, as 448 or 672")
    if variant == "stage1":
        from trainers import llava15

        return llava15.make("stage1-mlp-224").changed(
            {"name": "llava_hd/stage1", "summary": VARIANTS[variant], "unverified": UNVERIFIED}
        )
    return _stage2(variant, resolution)


def tokens(resolution: int = 448, patch: int = 14, global_view: bool = True) -> int:
    """Return how many tokens a picture becomes."""
    return (resolution // patch) ** 2 + ((TILE // patch) ** 2 if global_view else 0)


def _stage2(variant: str, resolution: int) -> Recipe:
    size = "7b" if variant in ABLATION else "13b"
    stock = variant == "newline"
    builder = parts(TILE, size, "mlp", connector_weights=REQUIRED) | {
        "kind": "llava_next" if stock else "llava_hd"
    }
    if not stock:
        builder["global_view"] = variant != "tiles-only"
    row, values = ABLATION.get(variant, ("LLaVA-1.5-13B-HD", TABLE))
    table = "4.4, global context" if variant in ABLATION else "4.3 and 4.4"
    deviation = (
        "row ends are learned vectors and padding is cut away: not what the dissertation says, "
        "but a checkpoint of a class that transformers has",
    )
    return recipe(
        name=f"llava_hd/{variant}",
        summary=VARIANTS[variant],
        paper=LLAVA15,
        builder="llava",
        builder_options=builder,
        model_types=("llava_next",) if stock else ("llava_hd",),
        needs=("projector_hidden_act=gelu", f"vision_config.image_size={TILE}"),
        trainable=(PROJECTOR, *LANGUAGE, *((NEWLINE,) if stock else ())),
        mixture=MIXTURE,
        template="v1",
        images={"aspect": "anyres", "size": TILE, "grid": ((resolution, resolution),)},
        batch_size=128,
        micro_batch=8,
        epochs=1,
        lr=2e-5,
        sampler="modality",
        parallel="zero3",
        targets=rows(table, row, values, TASKS) if resolution == 448 and not stock else (),
        sources=(
            f"{DISSERTATION}, sections 4.3 and 4.4, figure 4.2: geometry, global context",
            f"{CODE}, scripts/v1_5/finetune.sh: rates and batch of LLaVA-1.5",
        ),
        unverified=(*UNVERIFIED, *(deviation if stock else ())),
        **{**SCHEDULE, "max_length": 2048 + tokens(resolution) - tokens(TILE, global_view=False)},
    )
