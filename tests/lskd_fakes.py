"""What the tests of LSKD's teacher side share: a model that says what it is told, small files."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tiny_encoders

from harness.types import Answer, Ask, Decoding, Failure, Reply, Sample
from trainers.localized import (
    regions,
)
from trainers.localized.verbal import Seen, Verbal

Says = Callable[[Sample, Decoding], str | Failure | Sequence[float]]


class Fake:
    """A model that says what a function says, and remembers what it was asked."""

    def __init__(self, says: Says, name: str = "fake") -> None:
        self.name, self.says = name, says
        self.asked: list[Sample] = []

    def describe(self) -> Mapping[str, str]:
        return {"kind": "fake", "name": self.name}

    def answer(self, samples: Sequence[Sample], ask: Ask, decoding: Decoding) -> Iterator[Reply]:
        for place, sample in enumerate(samples):
            self.asked.append(sample)
            said = self.says(sample, decoding)
            if isinstance(said, Failure):
                yield place, said
            elif isinstance(said, str):
                yield place, Answer(said)
            else:
                yield place, Answer(scores=tuple(said))


def picture(id: str = "1", count: int = 2, **more: Any) -> Verbal:
    seen = tuple(Seen(n, (n * 10.0, 5, n * 10 + 8, 25), "dog", f"a dog number {n}")
                 for n in range(count))  # fmt: skip
    facts: dict[str, Any] = {
        "places": ("a park",), "objects": ("grass",), "concepts": ("leisure",),
        "narratives": ("Two dogs run.",), "questions": (("How many dogs?", "two"),),
    }  # fmt: skip
    return Verbal(id, f"{id}.png", 40, 30, id * 64, "test", "train", seen, **{**facts, **more})


def block(n: int, who: str = "[0]") -> str:
    return (f"Question: What does {who} want in case {n}?\nAnswer: {who} wants food.\n"
            f"Rationale: {who} looks at a bowl.")  # fmt: skip


def good(sample: Sample, decoding: Decoding) -> str:
    """Three triples that no other round has."""
    number = sample.facts["round"] * 3
    who = "[0]" if sample.facts["style"] == "ids" else "[a dog number 1]"
    return "\n\n".join(block(number + n, who) for n in range(3))


def detections(**scores: float) -> dict[str, Any]:
    """Return an instances file: boxes by image, one of them twice, one too small."""
    rows = [(1, [0, 0, 20, 20], 0.9), (1, [1, 0, 20, 20], 0.8), (1, [20, 10, 30, 30], 0.95),
            (1, [0, 0, 1, 1], 0.99), (1, [5, 5, 20, 20], 0.2), (2, [0, 0, 30, 20], 0.7),
            (3, [2, 2, 20, 20], 0.7)]  # fmt: skip
    return {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 30}
                   for n in (1, 2, 3)],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"id": n, "image_id": image, "category_id": 1, "bbox": box, "score": score}
                        for n, (image, box, score) in enumerate(rows, 1)],
    }  # fmt: skip


def bare(images: Path) -> list[Verbal]:
    """Return pictures with regions and nothing said yet."""
    path = images.parent / "coco.json"
    path.write_text(json.dumps(detections()), encoding="utf-8")
    made = [regions.verbal(p, seen, images, "made", "train")[0]
            for p, seen in regions.read(path, None, regions.Filters())]  # fmt: skip
    return [one for one in made if one]


def write_pictures(folder: Path) -> Path:
    """Write three small pictures."""
    folder.mkdir()
    for n in (1, 2, 3):
        (folder / f"{n}.png").write_bytes(tiny_encoders.picture(n, 40, 30))
    return folder


def write_vcr(folder: Path) -> Path:
    """Write VCR's validation questions about one frame, with its boxes."""
    frames = folder / "vcr1images" / "film"
    frames.mkdir(parents=True)
    (frames / "one@0.png").write_bytes(tiny_encoders.picture(2, 40, 30))
    meta = {"boxes": [[0, 0, 20, 20, 1.0]], "names": ["person"], "width": 40, "height": 30}
    (frames / "one@0.json").write_text(json.dumps(meta), encoding="utf-8")
    four = [["He", "is", [0], str(n)] for n in range(4)]
    row = {"annot_id": "val-0", "img_fn": "film/one@0.png", "metadata_fn": "film/one@0.json",
           "movie": "film", "objects": ["person"], "question": ["Who", "is", [0], "?"],
           "answer_choices": four, "answer_label": 0, "rationale_choices": four,
           "rationale_label": 1}  # fmt: skip
    (folder / "val.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return folder
