"""LocVLM: a LLaVA that reads and writes places as text, tuned on Localize-Instruct-200K.

Ranasinghe et al. 2024 (arXiv 2404.07449). Stage 1 is LLaVA's; stage 2 trains connector and language
model on questions about places (trainers/locating.py); a third stage makes it read videos. `vid-b`
trains the connector alone, `vid-b-plus` all but the tower. Records: `sightline teach`
(docs/trainers/data.md). The bare name is b.

    sightline train locvlm/b-stage1 --data DATA --images IMAGES --out ONE --config parts.yaml
    sightline train locvlm/b --data DATA --images IMAGES --out TWO --model ONE

The paper's appendices are not public: what they would say is listed as unverified in each recipe.
"""

from typing import Any

from harness.errors import unknown
from trainers import llava, llava15
from trainers._llava_common import (
    CODE,
    FIRST_LAYER,
    LANGUAGE,
    PROJECTOR,
    REQUIRED,
    SCHEDULE,
    recipe,
    rows,
)
from trainers.recipe import Recipe, Target

VARIANTS = {
    "b-stage1": "B: the connector alone, captions of CC3M; LLaVA's stage 1",
    "l-stage1": "L: the same at 336 pixels with an MLP connector",
    "b": "B: linear connector, 224 pixels, 224 bins, 10 epochs; the same as 'locvlm'",
    "l": "L: MLP connector, 336 pixels, 336 bins, 10 epochs",
    "nfp": "table 2: places as fractions with 4 decimals",
    "ivb": "table 2: places as integers of 224 bins; the same records as b",
    "diga": "table 2: places as deviations from anchors of a grid",
    "locpred": "table 11: LocPred alone",
    "no-revloc": "table 11: LocPred and NegPred, without RevLoc",
    "no-negpred": "LocPred and RevLoc; not in the paper",
    "no-locpred": "NegPred and RevLoc; not in the paper",
    "point": "table 11: places as points",
    "bbox": "table 11: places as boxes",
    "no-pseudo": "table 11: boxes, category names in the place of captions by the model",
    "vid-b": "videos: the connector alone, ActivityNet instructions, 100 frames",
    "vid-b-plus": "videos: connector and language model, Localize-ActivityNet, 8 frames",
    "vid-locpred": "table 12: vid-b-plus with LocPred alone",
    "vid-no-revloc": "table 12: vid-b-plus without RevLoc",
}
LOCVLM = (
    "Ranasinghe et al. 2024, Learning to Localize Objects Improves Spatial Reasoning in "
    "Visual-LLMs (arXiv 2404.07449)"
)
VIDEO_CHATGPT = "github mbzuai-oryx/Video-ChatGPT"
RECORDS = "localize-instruct-200k"
TEACH = {
    "b": "--codec ivb --bins 224",
    "l": "--codec ivb --bins 336",
    "ivb": "--codec ivb --bins 224",
    "nfp": "--codec nfp",
    "diga": "--codec diga --bins 224 --grid 8",
    "locpred": "--objectives locpred",
    "no-revloc": "--objectives locpred,negpred",
    "no-negpred": "--objectives locpred,revloc",
    "no-locpred": "--objectives negpred,revloc",
    "point": "--location point",
    "bbox": "--location bbox",
    "no-pseudo": "--location bbox, and no --captions",
}
"""Stage-2 variant to the options of `sightline teach locate` that make its records."""
ABLATION_TASKS = {"GQA": "gqa", "RD": "refcoco", "A-QA": "video_qa"}
ABLATIONS: dict[str, tuple[str, str, dict[str, float]]] = {
    "nfp": ("2", "NFP", {"GQA": 46.1, "RD": 19.6, "A-QA": 37.1}),
    "ivb": ("2", "IVB", {"GQA": 47.3, "RD": 20.7, "A-QA": 37.4}),
    "diga": ("2", "DIGA", {"GQA": 47.0, "RD": 20.8, "A-QA": 37.3}),
    "locpred": ("11", "LocPred", {"GQA": 45.2, "RD": 12.2, "A-QA": 35.8}),
    "no-revloc": ("11", "LocPred, NegPred", {"GQA": 46.9, "RD": 12.5, "A-QA": 37.2}),
    "point": ("11", "Point, PD", {"GQA": 47.3, "RD": 20.6, "A-QA": 37.4}),
    "bbox": ("11", "Bounding Box, PD", {"GQA": 47.3, "RD": 20.7, "A-QA": 37.4}),
    "no-pseudo": ("11", "Bounding Box, no PD", {"GQA": 46.5, "RD": 11.6, "A-QA": 37.1}),
}
"""Table, row and numbers. RD is METEOR on RefCOCOg test; A-QA needs a video stage after it."""
SPATIAL = {
    "direct, left/right, all": 69.5,
    "direct, left": 79.7,
    "direct, right": 59.2,
    "direct, above/below, all": 65.4,
    "direct, above": 64.2,
    "direct, below": 65.9,
    "ICL, left/right, all": 76.5,
    "ICL, left": 90.4,
    "ICL, right": 61.5,
    "ICL, above/below, all": 74.1,
    "ICL, above": 73.5,
    "ICL, below": 74.4,
}
POPE = {
    "random": {"accuracy": 87.9, "precision": 83.6, "recall": 93.9, "F1": 88.5, "yes": 56.2},
    "popular": {"accuracy": 86.0, "precision": 79.7, "recall": 93.9, "F1": 86.3, "yes": 58.9},
    "adversarial": {"accuracy": 78.8, "precision": 76.6, "recall": 93.7, "F1": 84.3, "yes": 61.7},
}
"""Table 9. Precision and recall of balanced sets imply accuracies of 87.7, 85.0 and 82.5: the
printed 78.8 does not belong to the other numbers of its column."""
REGIONS = {
    "RefCOCO testB": 14.6,
    "RefCOCO+ testB": 15.2,
    "RefCOCOg val": 26.0,
    "RefCOCOg test": 26.2,
}
REGIONS_ZERO_SHOT = dict(zip(REGIONS, (11.0, 11.1, 20.6, 20.7), strict=True))
"""Table 10, METEOR."""
MIXES: dict[str, dict[str, Any]] = {
    "llava_80k": {
        "name": "llava-80k",
        "file": "llava_instruct_80k",
        "license": "CC BY-NC 4.0; written by GPT-4, so OpenAI's terms as well",
    },
    "mix665k": {
        "name": "mix665k",
        "file": "llava_v1_5_mix665k.json",
        "records": 665_298,
        "license": "CC BY-NC 4.0 and those of its sources (llava15-665k)",
    },
}
FRAMES = {"square": "pad", "crop": "square", "image": "pad"}
"""Frame of the codec to how pictures become squares."""
UNVERIFIED = (
    "learning rate: printed '2e5', read as 2e-5",
    "warm-up: printed 'warm-up ratio 0.3', read as 0.03 (LLaVA's); --set warmup=0.3 is the print",
    "language model: raw LLaMA or Vicuna, and whether stage 2 starts from LLaVA's weights; the "
    "tables pair it with LLaVA-v1 and v1.5, 7B",
    "the text template: Vicuna's v1",
    "frame of coordinates: the paper says image dimensions, the encoder sees a square; the padded "
    "square here (locvlm(frame=...), teach locate --frame)",
    "rounding of bins (floor, read back as the middle), DIGA's grid (8 x 8) and text, all prompts "
    "and replies: appendices A and B",
    "share of the three objectives (1:1:1), how absent categories are drawn (evenly), points and "
    "boxes (half each), prompts and filters of captions: appendices B and C",
    "whether LLaVA's instructions are mixed into stage 2: no by the text; mix_with=mix665k for the "
    "rows of L that are not zero-shot",
    "cost: not reported; 10 epochs of 200,000 records in batches of 64 are 31,250 steps",
)


def make(
    variant: str = "", *, mix_with: str = "none", frame: str = "square", template: str = "v1"
) -> Recipe:
    """Make the recipe.

    Args:
        variant: one of VARIANTS; "" is b.
        mix_with: none, llava_80k or mix665k: LLaVA's instructions beside the 200K of stage 2.
        frame: square, crop or image: what the records' coordinates are fractions of. `square` and
            `image` pad pictures to a square, `crop` cuts the centre out.
        template: v1 or v0; of the stages after the first.

    Raises:
        UsageError: an unknown name.
    """
    variant = variant or "b"
    if variant not in VARIANTS:
        raise unknown("variant of locvlm", variant, VARIANTS)
    if mix_with != "none" and mix_with not in MIXES:
        raise unknown("mix_with", mix_with, ("none", *MIXES))
    if frame not in FRAMES:
        raise unknown("frame", frame, FRAMES)
    if template not in ("v0", "v1"):
        raise unknown("template of locvlm", template, ("v0", "v1"))
    if variant.endswith("stage1"):
        return _stage1(variant)
    if variant.startswith("vid"):
        return _video(variant, frame, template)
    return _stage2(variant, mix_with, frame, template)


def _stage1(variant: str) -> Recipe:
    """Return LLaVA's stage 1 on CC3M: the paper says its setup and no more."""
    large = variant == "l-stage1"
    base = llava15.make("stage1") if large else llava.make("stage1")
    return base.changed(
        {
            "name": f"locvlm/{variant}",
            "summary": VARIANTS[variant],
            "paper": LOCVLM,
            "mixture": "llava-cc3m-595k",
            "targets": (),
            "a100_hours": None,
            "sources": (f"{LOCVLM}, section 4.1: CC3M, the setup of LLaVA", *base.sources),
            "unverified": (
                "all figures: those of LLaVA's stage 1 (1.5's for L, with CC3M in the place of "
                "LCS-558K); how much of CC3M, and the template, are not said",
                "language model: raw LLaMA or Vicuna (LLaMA-2's family for L)",
            ),
        }
    )


def _needs(pixels: int, connector: str) -> tuple[str, ...]:
    act = "gelu" if connector == "mlp" else "linear"
    return (f"projector_hidden_act={act}", f"vision_config.image_size={pixels}")


def _stage2(variant: str, mix_with: str, frame: str, template: str) -> Recipe:
    large = variant == "l"
    pixels, connector = (336, "mlp") if large else (224, "linear")
    slot: dict[str, Any] = {
        "name": RECORDS if variant == "b" else f"{RECORDS}-{variant}",
        "images": "coco/train2017" if mix_with == "mix665k" else "",
        "license": "COCO annotations CC BY 4.0, pictures Flickr's terms; captions by the model",
    }
    if variant in ("b", "l", "ivb", "point", "bbox"):
        slot["records"] = 200_000
    return recipe(
        name=f"locvlm/{variant}",
        summary=VARIANTS[variant],
        paper=LOCVLM,
        builder="llava",
        builder_options=llava15.parts(pixels, "7b", connector, connector_weights=REQUIRED),
        model_types=("llava",),
        needs=_needs(pixels, connector),
        trainable=(PROJECTOR if large else FIRST_LAYER, *LANGUAGE),
        data=(slot, *([MIXES[mix_with]] if mix_with != "none" else [])),
        template=template,
        images={"aspect": FRAMES[frame], "size": pixels},
        batch_size=64,
        micro_batch=8,
        epochs=10,
        lr=2e-5,
        sampler="random" if mix_with == "none" else "modality",
        parallel="zero3",
        targets=_targets(variant),
        sources=(
            f"{LOCVLM}, sections 3.1 and 4.1: 10 epochs, batch 64, AdamW, cosine, on 8 A100 of "
            "80 GB; connector and language model",
            f"records: sightline teach locate --frame {frame} {TEACH[variant]}",
            f"{CODE}: what is not said (no decay, betas)",
        ),
        unverified=UNVERIFIED,
        **SCHEDULE,
    )


def _video(variant: str, frame: str, template: str) -> Recipe:
    whole = variant != "vid-b"
    slot: dict[str, Any] = (
        {"name": "localize-activitynet" if variant == "vid-b-plus"
         else f"localize-activitynet-{variant}",
         "license": "ActivityNet's terms for its videos; boxes and labels by SEEM"}
        if whole
        else {"name": "activitynet-instruct", "file": "video_chatgpt_training",
              "license": "ActivityNet's terms for its videos; CC BY-SA 4.0 for the instructions"}
    )  # fmt: skip
    return recipe(
        name=f"locvlm/{variant}",
        summary=VARIANTS[variant],
        paper=LOCVLM,
        model_types=("llava",),
        needs=_needs(224, "linear"),
        trainable=(FIRST_LAYER, *LANGUAGE) if whole else (FIRST_LAYER,),
        data=(slot,),
        template=template,
        images={
            "aspect": FRAMES[frame],
            "size": 224,
            "video": 100,
            "frames": 8 if whole else 100,
            "position": "first" if whole else "keep",
        },
        batch_size=32,
        micro_batch=4,
        epochs=3,
        lr=2e-5,
        sampler="random",
        parallel="zero3" if whole else "zero2",
        targets=_video_targets(variant),
        sources=(
            f"{LOCVLM}, sections 3.5 and 4.4, table 7: from stage 2 of B"
            + (", 8 frames" if whole else ", connector alone, 100 frames"),
            f"{VIDEO_CHATGPT}: 3 epochs, 4 samples on each of 8 devices, 2e-5, 3 % warm-up; 100 "
            "tokens for moments, one for each of 256 patches",
        ),
        unverified=(
            "the paper's own hyper-parameters for videos: appendix D; Video-ChatGPT's here",
            "vid-b-plus: whether it starts from vid-b or from b, and whether 8 frames are padded "
            "to 100 moments; b and padded here",
            "what Localize-ActivityNet holds besides the three objectives: appendix D",
            *UNVERIFIED[2:5],
        ),
        **SCHEDULE,
    )


def _targets(variant: str) -> tuple[Target, ...]:
    if variant in ABLATIONS:
        table, row, values = ABLATIONS[variant]
        return rows(table, row, values, ABLATION_TASKS)
    if variant == "l":
        return (
            *_row("5", "LocVLM-L, zero-shot", {"GQA": 50.2, "VQA-V": 55.9, "VQA-T": 56.2}),
            *_row("5", "LocVLM-L", {"GQA": 63.5, "VQA-V": 78.2, "VQA-T": 78.6}),
            *_row("7", "LocVLM-L", {"ActivityNet-QA, 1 frame": 32.1}),
        )
    if variant != "b":
        return ()
    return (
        *rows("4", "Ours", SPATIAL, {name: _spatial(name) for name in SPATIAL}),
        *_row("5", "LocVLM-B, zero-shot", {"GQA": 47.3, "VQA-V": 50.3, "VQA-T": 50.8}),
        *_row("7", "LocVLM-B", {"ActivityNet-QA, 1 frame": 29.2}),
        *_row("8", "LocVLM-B", {"Hal-COCO": 88.3, "Hal-ADE": 75.2}),
        *(
            Target(table="9", row="Ours", metric=f"{kind}, {name}", value=value, task="pope")
            for kind, values in POPE.items()
            for name, value in values.items()
        ),
        *rows("10", "LocVLM-B", REGIONS, dict.fromkeys(REGIONS, "refcoco")),
        *rows("10", "LocVLM-B, zero-shot", REGIONS_ZERO_SHOT, dict.fromkeys(REGIONS, "refcoco")),
    )


def _spatial(metric: str) -> str:
    return "coco_spatial/icl" if metric.startswith("ICL") else "coco_spatial"


def _video_targets(variant: str) -> tuple[Target, ...]:
    if variant == "vid-b":
        table_6 = {"ActivityNet-QA": 37.4, "MSRVTT-QA": 51.2, "MSVD-QA": 66.1, "TGIF-QA": 51.8}
        return (*_row("6", "LocVLM-Vid-B", table_6), *_row("8", "LocVLM-Vid-B", {"Hal-Act": 68.7}))
    if variant == "vid-b-plus":
        return (
            *_row("7", "LocVLM-Vid-B+", {"ActivityNet-QA": 38.2}),
            *_row("8", "LocVLM-Vid-B+", {"Hal-Act": 72.4}),
        )
    row, value = {"vid-locpred": ("LocPred", 37.6), "vid-no-revloc": ("LocPred, NegPred", 38.2)}[
        variant
    ]
    return _row("12", row, {"ActivityNet-QA": value})


TASKS = {
    "GQA": "gqa",
    "VQA-V": "vqav2",
    "VQA-T": "vqav2",
    "ActivityNet-QA": "video_qa",
    "ActivityNet-QA, 1 frame": "video_qa",
    "MSRVTT-QA": "video_qa/msrvtt",
    "MSVD-QA": "video_qa/msvd",
    "TGIF-QA": "video_qa/tgif",
    "Hal-COCO": "hallucination",
    "Hal-ADE": "hallucination/ade",
    "Hal-Act": "hallucination/act",
}


def _row(table: str, row: str, values: dict[str, float]) -> tuple[Target, ...]:
    return rows(table, row, values, TASKS)
