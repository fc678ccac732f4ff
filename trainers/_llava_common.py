"""What the four LLaVA recipes share: names of weights, schedules, the sources they are taken from.

Parameter names are those of transformers' LLaVA classes. Imports trainers.recipe alone.
"""

from typing import Any

from trainers.recipe import Group, Lora, Recipe, Target, check

PROJECTOR = r"(.*\.)?multi_modal_projector\..*"
FIRST_LAYER = r"(.*\.)?multi_modal_projector\.linear_1\..*"
"""All of a linear connector that is trained: its second layer stays the identity."""
LANGUAGE = (r"(.*\.)?(language_model|lm_head)\..*",)
"""One pattern: where input and output embeddings are one tensor, there is no `lm_head`."""
NEWLINE = r"(.*\.)?image_newline"
TOWER = r"(.*\.)?vision_tower\..*"

DISSERTATION = "Liu, Steerable Visual Intelligence, dissertation, UW-Madison 2024"
CODE = "github haotian-liu/LLaVA"
LLAVA = "Liu et al. 2023, Visual Instruction Tuning (arXiv 2304.08485)"
LLAVA15 = "Liu et al. 2023, Improved Baselines with Visual Instruction Tuning (arXiv 2310.03744)"
NEXT = "Liu et al. 2024, LLaVA-NeXT: Improved reasoning, OCR, and world knowledge"

REQUIRED = "REQUIRED"
"""In builder options: the user must name it."""

SCHEDULE: dict[str, Any] = {
    "schedule": "cosine",
    "warmup": 0.03,
    "weight_decay": 0.0,
    "optimizer": "adamw_torch",
    "max_length": 2048,
    "precision": "bf16",
    "activation_checkpointing": True,
    "on_bad": "skip",
}
"""The same in all scripts of the repository."""


def recipe(**fields: Any) -> Recipe:
    """Return the recipe of these fields. Raises UsageError where one is wrong."""
    return check(Recipe, fields, f"recipe {fields['name']}")


def unused(layers: int, feature_layer: int = -2) -> tuple[str, ...]:
    """Return the pattern of the tower's weights that its shown features do not depend on.

    An optimizer that holds them waits for gradients that never come.

    Args:
        layers: of the tower.
        feature_layer: which hidden state is shown, from the end.
    """
    last = "|".join(str(layer) for layer in range(layers + 1 + feature_layer, layers))
    inner = rf".*\.layers?\.({last})\..*|" if last else ""
    after = r"(vision_model\.)?(post_layernorm|layernorm|head)\..*"
    return (rf"(.*\.)?vision_tower\.({inner}{after}|.*mask_token)",)


def lora(whole: Recipe, name: str) -> Recipe:
    """Return `whole` with the repository's adapters in place of the whole language model."""
    changes = {
        "name": name,
        "trainable": (FIRST_LAYER if FIRST_LAYER in whole.trainable else PROJECTOR,),
        "lora": Lora(r=128, alpha=256, dropout=0.05).model_dump(),
        "lr": 2e-4,
        "groups": (Group(name="connector", pattern="multi_modal_projector", lr=2e-5).model_dump(),),
        "sources": (*whole.sources, f"{CODE}, scripts/v1_5/finetune_lora.sh: r 128, alpha 256"),
        "a100_hours": None,
        "targets": (),
    }
    return whole.changed(changes)


def rows(
    table: str, row: str, values: dict[str, float], tasks: dict[str, str]
) -> tuple[Target, ...]:
    """Return one table row as targets, with our task for each metric that has one."""
    return tuple(
        Target(table=table, row=row, metric=metric, value=value, task=tasks.get(metric, ""))
        for metric, value in values.items()
    )
