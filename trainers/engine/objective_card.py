"""The model card of a run with an objective: what it is, how it was made, what it was measured at.

As card.py, whose sections it has where they fit both. Texts of others (names, notes) are data and
go in as they are. Imports the standard library, trainers.recipe.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.engine import card
from trainers.recipe import ObjectiveRecipe


def write(
    recipe: ObjectiveRecipe, run: Mapping[str, Any], evals: Sequence[Mapping[str, Any]], model: Path
) -> str:
    """Return the card of a finished model.

    Args:
        recipe: What was carried out.
        run: The run's record, as in run.json.
        evals: Lines of the log that hold a benchmark's number.
        model: Its directory; the class is read from config.json.
    """
    head = ["---", "library_name: transformers", f"base_model: {run['base']}",
            "tags: [sightline]", "---"]  # fmt: skip
    parts = [
        "\n".join(head),
        f"# {recipe.name}\n\n{recipe.summary or 'Trained with Sightline.'}",
        card.section("How it was made", _facts(recipe, run)),
        card.section("Data", [f"- {key}: {value}" for key, value in _flat(run["data"])]),
        card.section("What changed", card.changes(run["manifest"])),
        card.section("Measured", card.measured(evals)),
        card.section("Published numbers this recipe is to move", card.targets(recipe)),
        card.section(
            "Not said in the paper, chosen here", [f"- {line}" for line in recipe.unverified]
        ),
        card.section("Sources", [f"- {line}" for line in recipe.sources]),
        _use(model),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(recipe: ObjectiveRecipe, run: Mapping[str, Any]) -> list[str]:
    rates = [f"{recipe.lr:g}", *(f"{group.name} {group.lr:g}" for group in recipe.groups)]
    options = ", ".join(f"{key} {value}" for key, value in recipe.options.items())
    chosen = {
        "base model": run["base"],
        "paper": recipe.paper,
        "objective": recipe.objective + (f" ({options})" if options else ""),
        "steps": f"{run['steps']:,}",
        "samples": f"{run['samples']:,}",
        "batch size": recipe.batch_size,
        "learning rate": ", ".join(rates),
        "schedule": f"{recipe.schedule}, warm-up {recipe.warmup:g}",
        "precision": recipe.precision,
        "final loss": f"{run['loss']:.4f}" if run.get("loss") is not None else "",
        "time": f"{run['seconds']:,.0f} s on {run['world']} x {run['device']}",
        "published cost": f"{recipe.a100_hours:g} A100 hours" if recipe.a100_hours else "",
        "commit": (run["environment"].get("git") or {}).get("commit", ""),
        "seed": recipe.seed,
    }
    return [f"- {name}: {value}" for name, value in chosen.items() if value not in ("", None)]


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            yield prefix + key, value


def _use(model: Path) -> str:
    """Return how the model is loaded, where its configuration names its class."""
    path = model / "config.json"
    found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    names = found.get("architectures") or []
    if not names:
        return ""
    return (
        f"## Use\n\n```python\nfrom transformers import AutoProcessor, {names[0]}\n\n"
        f'model = {names[0]}.from_pretrained("DIRECTORY")\n'
        'processor = AutoProcessor.from_pretrained("DIRECTORY")\n```\n\n'
        "To score it: `sightline run --model transformers:DIRECTORY --task TASK --data DATA`."
    )
