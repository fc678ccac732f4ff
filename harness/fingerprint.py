"""Content hashes: what was asked, of what pixels, and how it was scored.

Two runs are compared only where these agree. The item hash covers the prompt, the target, the
choices and the boxes; pixels are hashed after decoding, so the same picture in another container
still counts as the same.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.types import Image, Rubric, Sample, Task

_LENGTH = 16  # hex digits; 64 bits are plenty for telling the items of a benchmark apart


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str).encode


def digest(value: Any, length: int = _LENGTH) -> str:
    """Return the hash of any JSON-like value, independent of the order of its keys."""
    text = _encode(value)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def of_file(path: Path) -> str:
    """Return the sha256 of a file, in hex. Raises OSError."""
    with path.open("rb") as file:
        hashed = sha256()
        while block := file.read(1 << 20):
            hashed.update(block)
    return hashed.hexdigest()


def prompt_parts(sample: Sample) -> list[Any]:
    """Return the prompt as JSON: text as it is, an image as {"image": name}."""
    return [{"image": part.name} if isinstance(part, Image) else part for part in sample.prompt]


def item(sample: Sample) -> str:
    """Return the hash of what a sample asks and expects (without pixels)."""
    boxes = [[*region.box, region.label, region.image] for region in sample.regions]
    gold = [sample.target, *sample.relevance]
    return digest([sample.system, prompt_parts(sample), gold, sample.choices, boxes])


def pixels(image: Image) -> str:
    """Return the hash of the decoded RGB pixels. Raises OSError where it is not an image."""
    from io import BytesIO

    from PIL import Image as Pictures

    with Pictures.open(BytesIO(image.read())) as opened:
        rgb = opened.convert("RGB")
    return sha256(repr(rgb.size).encode() + rgb.tobytes()).hexdigest()[:_LENGTH]


def data(items: Iterable[str]) -> str:
    """Return one hash for a set of items, whatever their order."""
    return digest(sorted(items))


def rubric(found: Rubric) -> dict[str, Any]:
    """Return what identifies a rubric: a verdict is comparable only under the same one."""
    return {
        "name": found.name,
        "version": found.version,
        "files": dict(found.files),
        "decodings": [asdict(decoding) for decoding in found.decodings],
        "orders": list(found.orders),
        "sentinel": found.sentinel and asdict(found.sentinel),
    }


def of_run(task: Task, model: Mapping[str, Any], items: Iterable[str]) -> dict[str, str]:
    """Return the hashes that must agree for two runs to be comparable, and the model's own."""
    scorer: list[Any] = [task.scorer, task.version]
    if task.judge:  # the judge itself is added once it is known (harness/judging.py)
        scorer.append(rubric(task.judge))
    return {
        "data": data(items),
        "scorer": digest(scorer),
        "decoding": digest([task.ask, asdict(task.decoding)]),
        **of_model(model),
    }


RUN_FACTS = {
    "engine", "seen", "rank", "out_of_memory", "batch", "text", "images", "architecture", "dtype",
    "device", "attention", "parameters", "generation_settings_put_aside", "end_tokens",
}  # fmt: skip
"""Keys of a description that say how a model ran, or what loading found, and not which it is."""


def of_model(description: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes of a model: the same before and after it has run."""
    identity = {key: value for key, value in description.items() if key not in RUN_FACTS}
    return {"preprocessing": digest(description.get("preprocessing")), "model": digest(identity)}
