"""The model card: what the model is, how it was made, what it was measured at.

Markdown with the metadata block that model hubs read. Texts of others (names, notes) are data
and go in as they are. Imports the standard library, trainers.recipe.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from trainers.recipe import Common, Recipe


def write(recipe: Recipe, run: Mapping[str, Any], evals: Sequence[Mapping[str, Any]]) -> str:
    """Return the card of a finished model.

    Args:
        recipe: What was carried out.
        run: The run's record, as in run.json.
        evals: Lines of the log that hold a benchmark's number.
    """
    parts = [
        _head(run),
        f"# {recipe.name}\n\n{recipe.summary or 'Trained with Sightline.'}",
        section("How it was made", _facts(recipe, run)),
        section("Data", _data(run)),
        section("What changed", changes(run["manifest"])),
        section("Measured", measured(evals)),
        section("Published numbers this recipe is to move", targets(recipe)),
        section("Not said in the paper, chosen here", [f"- {line}" for line in recipe.unverified]),
        section("Sources", [f"- {line}" for line in recipe.sources]),
        "## Use\n\n```python\n"
        "from transformers import AutoModelForImageTextToText, AutoProcessor\n\n"
        'model = AutoModelForImageTextToText.from_pretrained("DIRECTORY")\n'
        'processor = AutoProcessor.from_pretrained("DIRECTORY")\n```\n\n'
        "The chat template and the image settings are those of training. To score it:\n"
        "`sightline run --model transformers:DIRECTORY --task pope --data POPE`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(run: Mapping[str, Any]) -> str:
    lines = ["---", "library_name: transformers", "pipeline_tag: image-text-to-text"]
    lines += [f"base_model: {run['base']}", "tags: [sightline]", "---"]
    return "\n".join(lines)


def section(title: str, lines: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(lines) if lines else ""


def _facts(recipe: Recipe, run: Mapping[str, Any]) -> list[str]:
    chosen = {
        "base model": run["base"],
        "paper": recipe.paper,
        "template": recipe.template,
        "images": recipe.images.aspect,
        "steps": f"{run['steps']:,}",
        "samples": f"{run['samples']:,}",
        "tokens": f"{run['tokens']:,}",
        "batch size": recipe.batch_size,
        "learning rate": ", ".join(
            [f"{recipe.lr:g}", *(f"{g.name} {g.lr:g}" for g in recipe.groups)]
        ),
        "schedule": f"{recipe.schedule}, warm-up {recipe.warmup:g}",
        "loss": recipe.loss_norm,
        "precision": recipe.precision,
        "final loss": f"{run['loss']:.4f}" if run.get("loss") is not None else "",
        "time": f"{run['seconds']:,.0f} s on {run['world']} x {run['device']}",
        "published cost": f"{recipe.a100_hours:g} A100 hours" if recipe.a100_hours else "",
        "commit": (run["environment"].get("git") or {}).get("commit", ""),
        "seed": recipe.seed,
    }
    return [f"- {name}: {value}" for name, value in chosen.items() if value not in ("", None)]


def _data(run: Mapping[str, Any]) -> list[str]:
    lines = ["| set | records | taken | licence | sha256 |", "|---|---|---|---|---|"]
    for one in run["data"]:
        licence = one["license"] or "not stated"
        row = (one["slot"], f"{one['records']:,}", f"{one['taken']:,}", licence, one["sha256"][:12])
        lines.append(f"| {' | '.join(row)} |")
    found = run["index"]
    lines += ["", f"Trained on {found['kept']:,} records; left out {sum(found['bad'].values()):,}."]
    lines += [f"- {reason}: {count:,}" for reason, count in found["bad"].items()]
    lines += [f"- shortened at the end: {found['cut']:,}"] if found["cut"] else []
    return lines + [f"- {note}" for note in run["notes"]]


def changes(manifest: Mapping[str, Any]) -> list[str]:
    lines = [f"{manifest['changed']} of {len(manifest['tensors'])} tensors changed; "
             f"{manifest['declared']} were declared trainable."]  # fmt: skip
    for name, title in (("undeclared_changes", "Changed without being declared"),
                        ("declared_unchanged", "Declared and unchanged")):  # fmt: skip
        if manifest[name]:
            lines.append(f"{title}: {', '.join(manifest[name])}")
    return lines


def measured(evals: Sequence[Mapping[str, Any]]) -> list[str]:
    if not evals:
        return []
    lines = ["| step | task | metric | value | 95 % interval | n |", "|---|---|---|---|---|---|"]
    for line in evals:
        one = line["eval"]
        if one.get("value") is None:
            lines.append(
                f"| {line['step']} | {one['task']} | {one.get('error', 'no value')} | | | |"
            )
            continue
        between = f"{one['low']:.1f} to {one['high']:.1f}" if one.get("low") is not None else ""
        lines.append(f"| {line['step']} | {one['task']} | {one['metric']} | {one['value']:.1f} | "
                     f"{between} | {one['n']} |")  # fmt: skip
    return lines


def targets(recipe: Common) -> list[str]:
    if not recipe.targets:
        return []
    lines = ["| table | row | metric | published |", "|---|---|---|---|"]
    return lines + [f"| {t.table} | {t.row} | {t.metric} | {t.value:g} |" for t in recipe.targets]
