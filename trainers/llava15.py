"""LLaVA-1.5: an MLP connector, 336 pixels padded to a square, academic data with format prompts.

Dissertation, chapter 4 (arXiv 2310.03744). The bare name is stage 2 of the 7B model. `rungN` are
the rows of table 4.2, each from the stage 1 that it needs.

    sightline train llava15/stage1 --data DATA --images IMAGES --out ONE --config parts.yaml
    sightline train llava15/stage2 --data DATA --images IMAGES --out TWO --model ONE
"""

from typing import Any

from harness.errors import unknown
from trainers._llava_common import (
    CODE,
    DISSERTATION,
    FIRST_LAYER,
    LANGUAGE,
    LLAVA15,
    PROJECTOR,
    REQUIRED,
    SCHEDULE,
    lora,
    recipe,
    rows,
)
from trainers.recipe import Recipe, Target

VARIANTS = {
    "stage1": "7B: the connector alone, 558K captions",
    "stage1-13b": "13B: the connector alone, 558K captions",
    "stage2": "7B: connector and language model, 665K instructions; the same as 'llava15'",
    "stage2-13b": "13B: connector and language model; table 4.2, rung 9",
    "lora": "7B stage 2 with adapters on the language model",
    "stage1-linear-224": "what rungs 0 to 2 start from: a linear connector at 224 pixels",
    "stage1-mlp-224": "what rungs 3 to 5 start from: an MLP connector at 224 pixels",
    "rung0": "table 4.2: LLaVA's own instructions, linear, 224 pixels",
    "rung1": "table 4.2: and VQAv2",
    "rung2": "table 4.2: and the response-format sentence",
    "rung3": "table 4.2: and the MLP connector",
    "rung4": "table 4.2: and OK-VQA, A-OKVQA, OCR-VQA, TextCaps",
    "rung5": "table 4.2: and regions",
    "rung6": "table 4.2: and 336 pixels",
    "rung7": "table 4.2: and GQA",
    "rung8": "table 4.2: and ShareGPT; the same data and model as stage2",
    "rung9": "table 4.2: and 13B; the same as stage2-13b",
    "fraction-0.1": "figure 4.4: a tenth of the mixture",
    "fraction-0.2": "figure 4.4: two tenths",
    "fraction-0.3": "figure 4.4: three tenths",
    "fraction-0.4": "figure 4.4: four tenths",
    "fraction-0.5": "figure 4.4: half of the mixture; at least 98 % of the scores stay",
}
MIXTURE = "llava15-665k"
RUNGS: dict[str, tuple[str, str, int, str, dict[str, float]]] = {
    "rung0": ("llava15-rung0", "linear", 224, "7b", {"MME": 809.6, "MM-Vet": 25.5}),
    "rung1": ("llava15-rung1", "linear", 224, "7b", {"GQA": 47.0, "MME": 1197.0, "MM-Vet": 27.7}),
    "rung2": ("llava15-rung2", "linear", 224, "7b", {"GQA": 46.8, "MME": 1323.8, "MM-Vet": 26.3}),
    "rung3": ("llava15-rung2", "mlp", 224, "7b", {"GQA": 47.3, "MME": 1355.2, "MM-Vet": 27.8}),
    "rung4": ("llava15-rung4", "mlp", 224, "7b", {"GQA": 50.0, "MME": 1377.6, "MM-Vet": 29.6}),
    "rung5": ("llava15-rung5", "mlp", 224, "7b", {"GQA": 50.3, "MME": 1426.5, "MM-Vet": 30.8}),
    "rung6": ("llava15-rung5", "mlp", 336, "7b", {"GQA": 51.4, "MME": 1450.0, "MM-Vet": 30.3}),
    "rung7": ("llava15-rung7", "mlp", 336, "7b", {"GQA": 62.0, "MME": 1469.2, "MM-Vet": 30.7}),
    "rung8": (MIXTURE, "mlp", 336, "7b", {"GQA": 62.0, "MME": 1510.7, "MM-Vet": 31.1}),
    "rung9": (MIXTURE, "mlp", 336, "13b", {"GQA": 63.3, "MME": 1531.3, "MM-Vet": 36.1}),
}
"""Mixture, connector, pixels, language model, and the numbers of table 4.2."""
TASKS = {
    "VQAv2": "vqav2",
    "GQA": "gqa",
    "VizWiz": "vizwiz",
    "SQA-I": "scienceqa/img",
    "TextVQA": "textvqa",
    "POPE random": "pope",
    "POPE popular": "pope",
    "POPE adversarial": "pope",
    "MME": "mme",
    "MMB": "mmbench",
    "SEED": "seed_bench",
    "LLaVA-Wild": "llava_bench",
    "MM-Vet": "mm_vet",
}
FINAL = {
    "7b": {
        "VQAv2": 78.5,
        "GQA": 62.0,
        "VizWiz": 50.0,
        "SQA-I": 66.8,
        "TextVQA": 58.2,
        "POPE random": 87.3,
        "POPE popular": 86.1,
        "POPE adversarial": 84.2,
        "MME": 1510.7,
        "MMB": 64.3,
        "MMB-CN": 58.3,
        "SEED": 58.6,
        "LLaVA-Wild": 65.4,
        "MM-Vet": 31.1,
    },
    "13b": {
        "VQAv2": 80.0,
        "GQA": 63.3,
        "VizWiz": 53.6,
        "SQA-I": 71.6,
        "TextVQA": 61.3,
        "POPE random": 87.1,
        "POPE popular": 86.2,
        "POPE adversarial": 84.5,
        "MME": 1531.3,
        "MMB": 67.7,
        "MMB-CN": 63.6,
        "SEED": 61.6,
        "LLaVA-Wild": 72.5,
        "MM-Vet": 36.1,
    },
}
"""Tables 4.3 and 4.4."""
HOURS = {("stage1", "7b"): 28, ("stage2", "7b"): 80, ("stage1", "13b"): 44, ("stage2", "13b"): 160}
"""A100-hours: README of the repository, on eight."""
UNVERIFIED = (
    "order of the questions of one image, and which of several answers (issue #1632): seeded lots, "
    "majority",
    "which 80,000 records of OCR-VQA, TextCaps' form, the four copies of A-OKVQA, and the wording "
    "of region questions: not documented (trainers/convert)",
    "the format sentence follows every question; whether the published file has it on the first "
    "of a conversation only is not documented",
)


def make(variant: str = "", *, image_position: str = "first") -> Recipe:
    """Make the recipe.

    Args:
        variant: one of VARIANTS; "" is stage2.
        image_position: first, keep or random.

    Raises:
        UsageError: an unknown name.
    """
    variant = variant or "stage2"
    if variant not in VARIANTS:
        raise unknown("variant of llava15", variant, VARIANTS)
    if image_position not in ("first", "keep", "random"):
        raise unknown("image position", image_position, ("first", "keep", "random"))
    if variant.startswith("stage1"):
        made = _stage1(variant)
    elif variant == "lora":
        made = lora(_stage2("stage2", MIXTURE, "mlp", 336, "7b"), "llava15/lora")
    elif variant in RUNGS:
        mixture, connector, pixels, size, _ = RUNGS[variant]
        made = _stage2(variant, mixture, connector, pixels, size)
    elif variant.startswith("fraction"):
        half = _stage2(variant, MIXTURE, "mlp", 336, "7b")
        made = half.changed({"fraction": float(variant.partition("-")[2])})
    else:
        made = _stage2(variant, MIXTURE, "mlp", 336, "13b" if "13b" in variant else "7b")
    return made.changed({"images.position": image_position})


def parts(pixels: int, size: str, connector: str, **more: Any) -> dict[str, Any]:
    """Return builder options: the published shapes, to be replaced by directories of weights."""
    vision = "shapes:clip-l-14-336" if pixels == 336 else "shapes:clip-l-14"
    language = f"shapes:vicuna-{size}"
    return {"vision": vision, "language": language, "connector": connector, "kind": "llava"} | more


def _needs(pixels: int, connector: str) -> tuple[str, ...]:
    act = {"mlp": "gelu", "linear": "linear"}[connector]
    return (f"projector_hidden_act={act}", f"vision_config.image_size={pixels}")


def _stage1(variant: str) -> Recipe:
    pixels = 224 if variant.endswith("224") else 336
    size = "13b" if variant.endswith("13b") else "7b"
    connector = "linear" if "linear" in variant else "mlp"
    return recipe(
        name=f"llava15/{variant}",
        summary=VARIANTS[variant],
        paper=LLAVA15,
        builder="llava",
        builder_options=parts(pixels, size, connector),
        model_types=("llava",),
        needs=_needs(pixels, connector),
        trainable=(FIRST_LAYER if connector == "linear" else PROJECTOR,),
        mixture="llava15-lcs-558k",
        template="plain",
        images={"aspect": "square", "size": pixels},
        batch_size=256,
        micro_batch=32,
        epochs=1,
        lr=1e-3,
        sampler="random",
        parallel="zero2",
        a100_hours=HOURS["stage1", size] if pixels == 336 else None,
        sources=(
            f"{CODE}, scripts/v1_5/pretrain.sh: plain, 1e-3, batch 256, pictures not padded",
            f"{DISSERTATION}, section 4.3: about 6 h on 8 A100",
        ),
        unverified=() if pixels == 336 else ("stage 1 at 224 pixels: as at 336",),
        **SCHEDULE,
    )


def _stage2(variant: str, mixture: str, connector: str, pixels: int, size: str) -> Recipe:
    first = FIRST_LAYER if connector == "linear" else PROJECTOR
    whole = mixture == MIXTURE and not variant.startswith("fraction")
    return recipe(
        name=f"llava15/{variant}",
        summary=VARIANTS[variant],
        paper=LLAVA15,
        builder="llava",
        builder_options=parts(pixels, size, connector, connector_weights=REQUIRED),
        model_types=("llava",),
        needs=_needs(pixels, connector),
        trainable=(first, *LANGUAGE),
        mixture=mixture,
        template="v1",
        images={"aspect": "pad", "size": pixels},
        batch_size=128,
        micro_batch=16,
        epochs=1,
        lr=2e-5,
        sampler="modality",
        parallel="zero3",
        a100_hours=HOURS["stage2", size] if whole else None,
        targets=_targets(variant, size),
        sources=(
            f"{CODE}, scripts/v1_5/finetune.sh: v1, 2e-5, batch 128, padded, grouped by modality",
            f"{DISSERTATION}, section 4.3 and tables 4.2 to 4.4: about 20 h on 8 A100",
        ),
        unverified=UNVERIFIED,
        **SCHEDULE,
    )


def _targets(variant: str, size: str) -> tuple[Target, ...]:
    if variant in RUNGS:
        return rows("4.2", VARIANTS[variant], RUNGS[variant][-1], TASKS)
    if variant.startswith("fraction"):
        return ()
    return rows("4.3 and 4.4", f"LLaVA-1.5-{size.upper()}", FINAL[size], TASKS)
