"""Small LLaVA records with pictures, for the training tests."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from tiny_models import picture

COLOURS = ("red", "green", "blue", "grey")


def write_pictures(folder: Path, count: int, first: int = 0) -> list[str]:
    """Write PNG files of different shapes; return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for i in range(first, first + count):
        name = f"{i:04d}.png"
        (folder / name).write_bytes(picture(i, (40 + 8 * (i % 3), 32 + 6 * (i % 4))))
        names.append(name)
    return names


def make_records(
    names: Sequence[str], count: int, *, text_only: float = 0.0, seed: int = 0
) -> list[dict[str, Any]]:
    """Return records of one to three rounds about `names`; a share of them has no picture."""
    draw = Random(seed)
    out = []
    for i in range(count):
        rounds = draw.randint(1, 3)
        turns = []
        for r in range(rounds):
            words = " ".join(draw.choice(COLOURS) for _ in range(draw.randint(1, 6)))
            turns.append({"from": "human", "value": f"What about {words}, round {r}?"})
            turns.append({"from": "gpt", "value": f"It is {draw.choice(COLOURS)} {words}."})
        record: dict[str, Any] = {"id": f"r{i}", "conversations": turns}
        if draw.random() >= text_only:
            record["image"] = names[i % len(names)]
            turns[0]["value"] = "<image>\n" + turns[0]["value"]
        out.append(record)
    return out


def write_records(path: Path, records: Sequence[Any]) -> Path:
    """Write records as .json or .jsonl, by the name of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    else:
        path.write_text(json.dumps(list(records)), encoding="utf-8")
    return path
